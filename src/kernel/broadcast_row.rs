//! Writes one row into every row: a bias, before a product is added to it.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static BROADCAST_ROW: Kernel = Kernel {
    name: "broadcast_row",
    wgsl: &[include_str!("../../shaders/broadcast_row.wgsl")],
    params: &[("n_embd", U32)],
    args: &[("x", In), ("y", Out)],
    weight: false,
    twin,
};

/// Every row of y [T, D] becomes x `[D]`.
pub fn broadcast_row(plan: &mut Plan, x: Buf, y: Buf) {
    let [n_tokens, n_embd] = plan.shape(y);
    plan.expect("broadcast_row: x", x, &[n_embd]);
    plan.dispatch(&BROADCAST_ROW, &[n_embd.into()], &[x, y], [n_tokens, 1, 1]);
}

fn twin(call: &Call<'_>) {
    let n_embd = call.usize(0);
    let (x, mut y) = (call.f32(0), call.f32_mut(1));
    for y in y.chunks_exact_mut(n_embd) {
        y.copy_from_slice(&x[..n_embd]);
    }
}
