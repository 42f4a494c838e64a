//! Rows set to learned ones, and the gradient of those: prompt tuning and prefix tuning.

use super::add_scaled;
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static LEARNED_ROWS: Kernel = Kernel {
    name: "learned_rows",
    wgsl: &[include_str!("../../shaders/learned_rows.wgsl")],
    params: &[("n_embd", U32), ("stride", U32), ("first", U32), ("rows_at", U32), ("row_stride", U32)],
    args: &[("edits", In), ("strength", In), ("learned", In), ("h", InOut)],
    weight: false,
    twin,
};

pub(super) static LEARNED_ROWS_BACKWARD: Kernel = Kernel {
    name: "learned_rows_backward",
    wgsl: &[include_str!("../../shaders/learned_rows_backward.wgsl")],
    params: &[
        ("n_edits", U32),
        ("n_embd", U32),
        ("stride", U32),
        ("first", U32),
        ("rows_at", U32),
        ("row_stride", U32),
    ],
    args: &[("edits", In), ("strength", In), ("dh", InOut), ("grad", InOut)],
    weight: false,
    twin: twin_backward,
};

/// Learned rows as the kernels see them: a part of the columns of a matrix E.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedRows {
    /// Width of what is set, D.
    pub n_embd: usize,
    /// Its first column in a row of the buffer that it is a part of.
    pub first: usize,
    /// Rows of E.
    pub n_rows: usize,
    /// First element of E's part: in `theta`, or where they follow from an encoder in `rot`.
    pub rows_at: usize,
    /// Elements of a whole row of E.
    pub row_stride: usize,
    /// Whether they follow from an encoder.
    pub encoded: bool,
}

/// Sets the rows of h [T, S] that `rows` [P, 2] names, as much as `strength` [P, 1] says, to the rows of E in `learned` that it tells.
pub fn learned_rows(plan: &mut Plan, it: &LearnedRows, [rows, strength, learned]: [Buf; 3], h: Buf) {
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(h);
    plan.expect("learned_rows: strength", strength, &[n_edits, 1]);
    let params = [it.n_embd, stride, it.first, it.rows_at, it.row_stride].map(Into::into);
    plan.dispatch(
        &LEARNED_ROWS,
        &params,
        &[rows, strength, learned, h],
        [it.n_embd.div_ceil(64), n_edits, 1],
    );
}

/// Takes dh [T, S] back through the setting, in place, and writes the gradient of E's part.
pub fn learned_rows_backward(
    plan: &mut Plan,
    it: &LearnedRows,
    [rows, strength]: [Buf; 2],
    [dh, grad]: [Buf; 2],
) {
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(dh);
    let params = [n_edits, it.n_embd, stride, it.first, it.rows_at, it.row_stride].map(Into::into);
    let grid = [it.n_embd.div_ceil(64), it.n_rows, 1];
    plan.dispatch(&LEARNED_ROWS_BACKWARD, &params, &[rows, strength, dh, grad], grid);
}

fn twin(call: &Call<'_>) {
    let [n_embd, stride, first, rows_at, row_stride] = [0, 1, 2, 3, 4].map(|i| call.usize(i));
    let (edits, strength) = (call.u32(0), call.f32(1));
    let (learned, mut h) = (call.f32(2), call.f32_mut(3));
    for (edit, m) in edits.chunks_exact(2).zip(strength.iter()) {
        let h = &mut h[edit[0] as usize * stride + first..][..n_embd];
        h.iter_mut().for_each(|h| *h *= 1.0 - m);
        add_scaled(h, *m, &learned[rows_at + edit[1] as usize * row_stride..][..n_embd]);
    }
}

fn twin_backward(call: &Call<'_>) {
    let [n_embd, stride, first, rows_at, row_stride] = [1, 2, 3, 4, 5].map(|i| call.usize(i));
    let n_rows = call.groups(1);
    let (edits, strength) = (call.u32(0), call.f32(1));
    let (mut dh, mut grad) = (call.f32_mut(2), call.f32_mut(3));
    for i in 0..n_rows {
        grad[rows_at + i * row_stride..][..n_embd].fill(0.0);
    }
    for (edit, m) in edits.chunks_exact(2).zip(strength.iter()) {
        let dh = &mut dh[edit[0] as usize * stride + first..][..n_embd];
        add_scaled(&mut grad[rows_at + edit[1] as usize * row_stride..][..n_embd], *m, dh);
        dh.iter_mut().for_each(|d| *d *= 1.0 - m);
    }
}
