//! Rows scaled by a learned vector (IA³, arXiv:2205.05638), and the gradients by the rows and by the vector.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static SCALE_ROWS: Kernel = Kernel {
    name: "scale_rows",
    wgsl: &[include_str!("../../shaders/scale_rows.wgsl")],
    params: &[("n_embd", U32), ("stride", U32), ("first", U32), ("l_at", U32)],
    args: &[("edits", In), ("strength", In), ("theta", In), ("h", InOut), ("before", Out)],
    weight: false,
    twin,
};

pub(super) static SCALE_ROWS_BACKWARD: Kernel = Kernel {
    name: "scale_rows_backward",
    wgsl: &[include_str!("../../shaders/scale_rows_backward.wgsl")],
    params: &[
        ("n_edits", U32),
        ("n_embd", U32),
        ("stride", U32),
        ("first", U32),
        ("l_at", U32),
        ("onto", U32),
    ],
    args: &[("edits", In), ("strength", In), ("theta", In), ("before", In), ("dh", InOut), ("grad", InOut)],
    weight: false,
    twin: twin_backward,
};

/// What rows are scaled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Width of what is edited, D.
    pub n_embd: usize,
    /// Its first column in a row of the buffer that it is a part of.
    pub first: usize,
    /// First element of l `[D]` in `theta`.
    pub l_at: usize,
}

/// Scales the rows of h [T, S] that `rows` [P, 2] names, as much as `strength` [P, 1] says; returns them as they were [P, D].
pub fn scale_rows(plan: &mut Plan, scale: &Scale, [rows, strength, theta]: [Buf; 3], h: Buf) -> Buf {
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(h);
    let Scale { n_embd, first, l_at } = *scale;
    plan.expect("scale_rows: strength", strength, &[n_edits, 1]);
    let before = plan.scratch("before", &[n_edits, n_embd]);
    let params = [n_embd, stride, first, l_at].map(Into::into);
    let grid = [n_embd.div_ceil(64), n_edits, 1];
    plan.dispatch(&SCALE_ROWS, &params, &[rows, strength, theta, h, before], grid);
    before
}

/// Takes dh [T, S] back through the scaling, in place, and writes the vector's gradient, or adds to it.
pub fn scale_rows_backward(
    plan: &mut Plan,
    scale: &Scale,
    [rows, strength, theta]: [Buf; 3],
    before: Buf,
    [dh, grad]: [Buf; 2],
    onto: bool,
) {
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(dh);
    let Scale { n_embd, first, l_at } = *scale;
    let params = [n_edits, n_embd, stride, first, l_at, onto.into()].map(Into::into);
    let args = [rows, strength, theta, before, dh, grad];
    plan.dispatch(&SCALE_ROWS_BACKWARD, &params, &args, [n_embd.div_ceil(64), 1, 1]);
}

fn twin(call: &Call<'_>) {
    let [n_embd, stride, first, l_at] = [0, 1, 2, 3].map(|i| call.usize(i));
    let (edits, strength, theta) = (call.u32(0), call.f32(1), call.f32(2));
    let (mut h, mut before) = (call.f32_mut(3), call.f32_mut(4));
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let h = &mut h[edit[0] as usize * stride + first..][..n_embd];
        before[p * n_embd..][..n_embd].copy_from_slice(h);
        for (h, l) in h.iter_mut().zip(&theta[l_at..]) {
            *h *= 1.0 + strength[p] * (l - 1.0);
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let [_, n_embd, stride, first, l_at] = [0, 1, 2, 3, 4].map(|i| call.usize(i));
    let (edits, strength, theta, before) = (call.u32(0), call.f32(1), call.f32(2), call.f32(3));
    let (mut dh, mut grad) = (call.f32_mut(4), call.f32_mut(5));
    let grad = &mut grad[l_at..][..n_embd];
    if !call.flag(5) {
        grad.fill(0.0);
    }
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let dh = &mut dh[edit[0] as usize * stride + first..][..n_embd];
        for (d, dh) in dh.iter_mut().enumerate() {
            let counted = edit[1] as f32 * *dh;
            grad[d] += strength[p] * before[p * n_embd + d] * counted;
            *dh = counted * (1.0 + strength[p] * (theta[l_at + d] - 1.0));
        }
    }
}
