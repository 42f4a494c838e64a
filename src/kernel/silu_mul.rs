//! The gate of a SwiGLU feed-forward layer (Shazeer 2020, arXiv:2002.05202), forward and backward.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static SILU_MUL: Kernel = Kernel {
    name: "silu_mul",
    wgsl: &[include_str!("../../shaders/silu_mul.wgsl")],
    params: &[("n_ff", U32)],
    args: &[("gate_up", In), ("y", Out)],
    weight: false,
    twin,
};

pub(super) static SILU_MUL_BACKWARD: Kernel = Kernel {
    name: "silu_mul_backward",
    wgsl: &[include_str!("../../shaders/silu_mul_backward.wgsl")],
    params: &[("n_ff", U32)],
    args: &[("gate_up", In), ("dy", In), ("dgate_up", Out)],
    weight: false,
    twin: twin_backward,
};

/// silu(gate) ∘ up [T, F] of gate and up side by side [T, 2F].
pub fn silu_mul(plan: &mut Plan, gate_up: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    let y = plan.scratch("act", &[n_tokens, n_ff]);
    plan.dispatch(&SILU_MUL, &[n_ff.into()], &[gate_up, y], [n_ff.div_ceil(256), n_tokens, 1]);
    y
}

/// Gradient of [`silu_mul`] by gate and up.
pub fn silu_mul_backward(plan: &mut Plan, gate_up: Buf, dy: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    plan.expect("silu_mul_backward: dy", dy, &[n_tokens, n_ff]);
    let d = plan.scratch("dgate_up", &[n_tokens, width]);
    plan.dispatch(&SILU_MUL_BACKWARD, &[n_ff.into()], &[gate_up, dy, d], [n_ff.div_ceil(256), n_tokens, 1]);
    d
}

fn twin(call: &Call<'_>) {
    let n_ff = call.usize(0);
    let (gate_up, mut y) = (call.f32(0), call.f32_mut(1));
    for (gate_up, y) in gate_up.chunks_exact(2 * n_ff).zip(y.chunks_exact_mut(n_ff)) {
        let (gate, up) = gate_up.split_at(n_ff);
        for i in 0..n_ff {
            y[i] = up[i] * gate[i] / (1.0 + (-gate[i]).exp());
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let n_ff = call.usize(0);
    let (gate_up, dy, mut d) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let rows = gate_up.chunks_exact(2 * n_ff).zip(dy.chunks_exact(n_ff)).zip(d.chunks_exact_mut(2 * n_ff));
    for ((gate_up, dy), d) in rows {
        let (gate, up) = gate_up.split_at(n_ff);
        let (dgate, dup) = d.split_at_mut(n_ff);
        for i in 0..n_ff {
            let sigma = 1.0 / (1.0 + (-gate[i]).exp());
            dgate[i] = dy[i] * up[i] * sigma * (1.0 + gate[i] * (1.0 - sigma));
            dup[i] = dy[i] * gate[i] * sigma;
        }
    }
}
