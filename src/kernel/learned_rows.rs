//! Rows set to learned ones, and the gradient of those: prompt tuning and prefix tuning.

use super::declare::kernel;
use super::{Sums, add_scaled};
use crate::plan::{Buf, Plan};

kernel! {
    /// Sets rows to learned ones.
    LEARNED_ROWS: learned_rows {
        wgsl: [wgsl!("learned_rows.wgsl")],
        params { n_embd: usize, stride: usize, first: usize, rows_at: usize, row_stride: usize }
        args { edits: In<u32>, strength: In<f32>, learned: In<f32>, h: InOut<f32> }
        twin: twin,
    }
}

kernel! {
    /// The gradients of `learned_rows`.
    LEARNED_ROWS_BACKWARD: learned_rows_backward {
        wgsl: [wgsl!("learned_rows_backward.wgsl")],
        params {
            n_edits: usize,
            n_rows: usize,
            n_embd: usize,
            stride: usize,
            first: usize,
            rows_at: usize,
            row_stride: usize,
        }
        args { edits: In<u32>, strength: In<f32>, dh: InOut<f32>, grad: InOut<f32> }
        twin: twin_backward,
    }
}

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
    plan.dispatch(
        &LEARNED_ROWS,
        learned_rows::Params {
            n_embd: it.n_embd,
            stride,
            first: it.first,
            rows_at: it.rows_at,
            row_stride: it.row_stride,
        },
        learned_rows::Bufs { edits: rows, strength, learned, h },
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
    let grid = [it.n_embd.div_ceil(64), it.n_rows, 1];
    plan.dispatch(
        &LEARNED_ROWS_BACKWARD,
        learned_rows_backward::Params {
            n_edits,
            n_rows: it.n_rows,
            n_embd: it.n_embd,
            stride,
            first: it.first,
            rows_at: it.rows_at,
            row_stride: it.row_stride,
        },
        learned_rows_backward::Bufs { edits: rows, strength, dh, grad },
        grid,
    );
}

fn twin(p: &learned_rows::Params, a: learned_rows::Args<'_>) {
    let learned_rows::Params { n_embd, stride, first, rows_at, row_stride } = *p;
    let learned_rows::Args { edits, strength, learned, h } = a;
    for (edit, m) in edits.chunks_exact(2).zip(strength.iter()) {
        let h = &mut h[edit[0] as usize * stride + first..][..n_embd];
        h.iter_mut().for_each(|h| *h *= 1.0 - m);
        add_scaled(h, *m, &learned[rows_at + edit[1] as usize * row_stride..][..n_embd]);
    }
}

fn twin_backward(p: &learned_rows_backward::Params, a: learned_rows_backward::Args<'_>) {
    let learned_rows_backward::Params { n_rows, n_embd, stride, first, rows_at, row_stride, .. } = *p;
    let learned_rows_backward::Args { edits, strength, dh, grad } = a;
    let mut sums: Vec<Sums> = (0..n_rows).map(|_| Sums::zeros(n_embd)).collect();
    for (edit, m) in edits.chunks_exact(2).zip(strength.iter()) {
        let dh = &mut dh[edit[0] as usize * stride + first..][..n_embd];
        sums[edit[1] as usize].add_scaled(*m, dh);
        dh.iter_mut().for_each(|d| *d *= 1.0 - m);
    }
    for (i, sums) in sums.iter().enumerate() {
        sums.store(&mut grad[rows_at + i * row_stride..][..n_embd]);
    }
}
