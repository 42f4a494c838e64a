//! Rows scaled by a learned vector (IA³, arXiv:2205.05638), or around a bias (DoRA, arXiv:2402.09353), and the gradients by the rows and
//! by the vector.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static SCALE_ROWS: Kernel = Kernel {
    name: "scale_rows",
    wgsl: &[include_str!("../../shaders/scale_rows.wgsl")],
    params: &[("n_embd", U32), ("stride", U32), ("first", U32), ("l_at", U32), ("biased", U32)],
    args: &[("edits", In), ("strength", In), ("theta", In), ("bias", In), ("h", InOut), ("before", Out)],
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
        ("biased", U32),
        ("onto", U32),
    ],
    args: &[
        ("edits", In),
        ("strength", In),
        ("theta", In),
        ("bias", In),
        ("before", In),
        ("dh", InOut),
        ("grad", InOut),
    ],
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
    /// First element of l `[D]`.
    pub l_at: usize,
}

/// What a scaling reads.
#[derive(Clone, Copy)]
pub struct ScaleInputs {
    /// Row, and how often it counts in gradients [P, 2]; no row twice.
    pub rows: Buf,
    /// How much of the scaling is made [P, 1].
    pub strength: Buf,
    /// Holds l.
    pub theta: Buf,
    /// The row `[S]` that the scaling leaves as it is, if it is not 0.
    pub bias: Option<Buf>,
}

/// Scales the rows of h [T, S] that `rows` names around the bias; returns them as they were [P, D].
pub fn scale_rows(plan: &mut Plan, scale: &Scale, inputs: &ScaleInputs, h: Buf) -> Buf {
    let ScaleInputs { rows, strength, theta, bias } = *inputs;
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(h);
    let Scale { n_embd, first, l_at } = *scale;
    plan.expect("scale_rows: strength", strength, &[n_edits, 1]);
    bias.iter().for_each(|bias| plan.expect("scale_rows: bias", *bias, &[stride]));
    let before = plan.scratch("before", &[n_edits, n_embd]);
    let params = [n_embd, stride, first, l_at, bias.is_some().into()].map(Into::into);
    let args = [rows, strength, theta, bias.unwrap_or(theta), h, before];
    plan.dispatch(&SCALE_ROWS, &params, &args, [n_embd.div_ceil(64), n_edits, 1]);
    before
}

/// Takes dh [T, S] back through the scaling, in place, and writes the vector's gradient, or adds to it.
pub fn scale_rows_backward(
    plan: &mut Plan,
    scale: &Scale,
    inputs: &ScaleInputs,
    before: Buf,
    [dh, grad]: [Buf; 2],
    onto: bool,
) {
    let ScaleInputs { rows, strength, theta, bias } = *inputs;
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(dh);
    let Scale { n_embd, first, l_at } = *scale;
    let flags = [bias.is_some(), onto].map(usize::from);
    let params = [n_edits, n_embd, stride, first, l_at, flags[0], flags[1]].map(Into::into);
    let args = [rows, strength, theta, bias.unwrap_or(theta), before, dh, grad];
    plan.dispatch(&SCALE_ROWS_BACKWARD, &params, &args, [n_embd.div_ceil(64), 1, 1]);
}

/// The bias of the scaled columns, 0 where there is none.
fn bias_of(call: &Call<'_>, biased: bool, first: usize, n_embd: usize) -> Vec<f32> {
    if biased { call.f32(3)[first..][..n_embd].to_vec() } else { vec![0.0; n_embd] }
}

fn twin(call: &Call<'_>) {
    let [n_embd, stride, first, l_at] = [0, 1, 2, 3].map(|i| call.usize(i));
    let bias = bias_of(call, call.flag(4), first, n_embd);
    let (edits, strength, theta) = (call.u32(0), call.f32(1), call.f32(2));
    let (mut h, mut before) = (call.f32_mut(4), call.f32_mut(5));
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let h = &mut h[edit[0] as usize * stride + first..][..n_embd];
        before[p * n_embd..][..n_embd].copy_from_slice(h);
        for ((h, l), c) in h.iter_mut().zip(&theta[l_at..]).zip(&bias) {
            *h += strength[p] * (l - 1.0) * (*h - c);
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let [_, n_embd, stride, first, l_at] = [0, 1, 2, 3, 4].map(|i| call.usize(i));
    let bias = bias_of(call, call.flag(5), first, n_embd);
    let (edits, strength, theta, before) = (call.u32(0), call.f32(1), call.f32(2), call.f32(4));
    let (mut dh, mut grad) = (call.f32_mut(5), call.f32_mut(6));
    let grad = &mut grad[l_at..][..n_embd];
    if !call.flag(6) {
        grad.fill(0.0);
    }
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let dh = &mut dh[edit[0] as usize * stride + first..][..n_embd];
        for (d, dh) in dh.iter_mut().enumerate() {
            let counted = edit[1] as f32 * *dh;
            grad[d] += strength[p] * (before[p * n_embd + d] - bias[d]) * counted;
            *dh = counted * (1.0 + strength[p] * (theta[l_at + d] - 1.0));
        }
    }
}
