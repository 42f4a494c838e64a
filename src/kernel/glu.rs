//! The gate of a feed-forward layer: SwiGLU, GEGLU (Shazeer 2020, arXiv:2002.05202), forward and backward.

use super::activate::{ACTIVATION, Activation};
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static GLU: Kernel = Kernel {
    name: "glu",
    wgsl: &[ACTIVATION, include_str!("../../shaders/glu.wgsl")],
    params: &[("n_ff", U32), ("act", U32)],
    args: &[("gate_up", In), ("y", Out)],
    weight: false,
    twin,
};

pub(super) static GLU_BACKWARD: Kernel = Kernel {
    name: "glu_backward",
    wgsl: &[ACTIVATION, include_str!("../../shaders/glu_backward.wgsl")],
    params: &[("n_ff", U32), ("act", U32)],
    args: &[("gate_up", In), ("dy", In), ("dgate_up", Out)],
    weight: false,
    twin: twin_backward,
};

/// act(gate) ∘ up [T, F] of gate and up side by side [T, 2F].
pub fn glu(plan: &mut Plan, act: Activation, gate_up: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    let y = plan.scratch("act", &[n_tokens, n_ff]);
    let params = [n_ff.into(), (act as usize).into()];
    plan.dispatch(&GLU, &params, &[gate_up, y], [n_ff.div_ceil(256), n_tokens, 1]);
    y
}

/// Gradient of [`glu`] by gate and up.
pub fn glu_backward(plan: &mut Plan, act: Activation, gate_up: Buf, dy: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    plan.expect("glu_backward: dy", dy, &[n_tokens, n_ff]);
    let d = plan.scratch("dgate_up", &[n_tokens, width]);
    let params = [n_ff.into(), (act as usize).into()];
    plan.dispatch(&GLU_BACKWARD, &params, &[gate_up, dy, d], [n_ff.div_ceil(256), n_tokens, 1]);
    d
}

fn twin(call: &Call<'_>) {
    let (n_ff, act) = (call.usize(0), Activation::of(call, 1));
    let (gate_up, mut y) = (call.f32(0), call.f32_mut(1));
    for (gate_up, y) in gate_up.chunks_exact(2 * n_ff).zip(y.chunks_exact_mut(n_ff)) {
        let (gate, up) = gate_up.split_at(n_ff);
        for i in 0..n_ff {
            y[i] = act.times(up[i], gate[i]);
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let (n_ff, act) = (call.usize(0), Activation::of(call, 1));
    let (gate_up, dy, mut d) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let rows = gate_up.chunks_exact(2 * n_ff).zip(dy.chunks_exact(n_ff)).zip(d.chunks_exact_mut(2 * n_ff));
    for ((gate_up, dy), d) in rows {
        let (gate, up) = gate_up.split_at(n_ff);
        let (dgate, dup) = d.split_at_mut(n_ff);
        for i in 0..n_ff {
            dgate[i] = dy[i] * up[i] * act.slope(gate[i]);
            dup[i] = dy[i] * act.apply(gate[i]);
        }
    }
}
