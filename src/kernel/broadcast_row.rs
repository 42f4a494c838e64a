//! Writes one row into every row: a bias, before a product is added to it.

use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// Every row of y becomes x.
    BROADCAST_ROW: broadcast_row {
        wgsl: [wgsl!("broadcast_row.wgsl")],
        params { n_embd: usize }
        args { x: In<f32>, y: Out<f32> }
        twin: twin,
    }
}

/// Every row of y [T, D] becomes x `[D]`.
pub fn broadcast_row(plan: &mut Plan, x: Buf, y: Buf) {
    let [n_tokens, n_embd] = plan.shape(y);
    plan.expect("broadcast_row: x", x, &[n_embd]);
    plan.dispatch(
        &BROADCAST_ROW,
        broadcast_row::Params { n_embd },
        broadcast_row::Bufs { x, y },
        [1, n_tokens, 1],
    );
}

fn twin(p: &broadcast_row::Params, a: broadcast_row::Args<'_>) {
    let broadcast_row::Params { n_embd } = *p;
    let broadcast_row::Args { x, y } = a;
    for y in y.chunks_exact_mut(n_embd) {
        y.copy_from_slice(&x[..n_embd]);
    }
}
