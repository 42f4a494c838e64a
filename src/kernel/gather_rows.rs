//! Picks rows by index: labelled tokens forward, and with the inverse index their gradients back. And puts rows by index.

use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// Row i of y is row index[i] of x, or zeros for NONE.
    GATHER_ROWS: gather_rows {
        wgsl: [wgsl!("gather_rows.wgsl")],
        params { n_embd: usize }
        args { index: In<u32>, x: In<f32>, y: Out<f32> }
        twin: twin,
    }
}

kernel! {
    /// Row index[i] of y is row i of x.
    PUT_ROWS: put_rows {
        wgsl: [wgsl!("put_rows.wgsl")],
        params { n_embd: usize }
        args { index: In<u32>, x: In<f32>, y: InOut<f32> }
        twin: twin_put,
    }
}

/// The index that stands for a row of zeros.
pub const NONE: u32 = u32::MAX;

/// Rows `index [M]` of x [T, D], as [M, D].
pub fn gather_rows(plan: &mut Plan, label: &str, index: Buf, x: Buf) -> Buf {
    let [n_rows] = plan.shape(index);
    let [_, n_embd] = plan.shape(x);
    let y = plan.scratch(label, &[n_rows, n_embd]);
    plan.dispatch(
        &GATHER_ROWS,
        gather_rows::Params { n_embd },
        gather_rows::Bufs { index, x, y },
        [1, n_rows, 1],
    );
    y
}

/// Puts the rows of x [M, D] at rows `index [M]` of y [N, D].
pub fn put_rows(plan: &mut Plan, index: Buf, x: Buf, y: Buf) {
    let [n_rows, n_embd] = plan.shape(x);
    plan.expect("put_rows: index", index, &[n_rows]);
    plan.dispatch(&PUT_ROWS, put_rows::Params { n_embd }, put_rows::Bufs { index, x, y }, [1, n_rows, 1]);
}

fn twin_put(p: &put_rows::Params, a: put_rows::Args<'_>) {
    let put_rows::Params { n_embd } = *p;
    let put_rows::Args { index, x, y } = a;
    for (&row, x) in index.iter().zip(x.chunks_exact(n_embd)) {
        y[row as usize * n_embd..][..n_embd].copy_from_slice(x);
    }
}

fn twin(p: &gather_rows::Params, a: gather_rows::Args<'_>) {
    let gather_rows::Params { n_embd } = *p;
    let gather_rows::Args { index, x, y } = a;
    for (&row, y) in index.iter().zip(y.chunks_exact_mut(n_embd)) {
        match row {
            NONE => y.fill(0.0),
            row => y.copy_from_slice(&x[row as usize * n_embd..][..n_embd]),
        }
    }
}
