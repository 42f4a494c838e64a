//! The two halves of [`super::glu`], for what stands between them: pyvene's `mlp_activation`.

use super::activate::{ACTIVATION, Activation};
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static GLU_GATE: Kernel = Kernel {
    name: "glu_gate",
    wgsl: &[ACTIVATION, include_str!("../../shaders/glu_gate.wgsl")],
    params: &[("n_ff", U32), ("act", U32)],
    args: &[("gate_up", In), ("g", Out)],
    weight: false,
    twin,
};

pub(super) static MUL_UP: Kernel = Kernel {
    name: "mul_up",
    wgsl: &[include_str!("../../shaders/mul_up.wgsl")],
    params: &[("n_ff", U32)],
    args: &[("g", In), ("gate_up", In), ("y", Out)],
    weight: false,
    twin: twin_mul_up,
};

pub(super) static GLU_GATE_BACKWARD: Kernel = Kernel {
    name: "glu_gate_backward",
    wgsl: &[ACTIVATION, include_str!("../../shaders/glu_gate_backward.wgsl")],
    params: &[("n_ff", U32), ("act", U32)],
    args: &[("gate_up", In), ("g", In), ("dy", In), ("dg", In), ("dgate_up", Out)],
    weight: false,
    twin: twin_backward,
};

/// g = act(gate) [T, F] of gate and up side by side [T, 2F].
pub fn glu_gate(plan: &mut Plan, act: Activation, gate_up: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    let g = plan.scratch("gate", &[n_tokens, n_ff]);
    let params = [n_ff.into(), (act as usize).into()];
    plan.dispatch(&GLU_GATE, &params, &[gate_up, g], [n_ff.div_ceil(256), n_tokens, 1]);
    g
}

/// g ∘ up [T, F]; with the gradient of that in place of g, the gradient by g.
pub fn mul_up(plan: &mut Plan, label: &str, g: Buf, gate_up: Buf) -> Buf {
    let [n_tokens, n_ff] = plan.shape(g);
    plan.expect("mul_up: gate_up", gate_up, &[n_tokens, 2 * n_ff]);
    let y = plan.scratch(label, &[n_tokens, n_ff]);
    plan.dispatch(&MUL_UP, &[n_ff.into()], &[g, gate_up, y], [n_ff.div_ceil(256), n_tokens, 1]);
    y
}

/// The gradient by gate and up [T, 2F] of [`mul_up`] of [`glu_gate`], from that of its result and that of g before its edit.
pub fn glu_gate_backward(
    plan: &mut Plan,
    act: Activation,
    [gate_up, g]: [Buf; 2],
    [dy, dg]: [Buf; 2],
) -> Buf {
    let [n_tokens, n_ff] = plan.shape(g);
    let d = plan.scratch("dgate_up", &[n_tokens, 2 * n_ff]);
    let args = [gate_up, g, dy, dg, d];
    let params = [n_ff.into(), (act as usize).into()];
    plan.dispatch(&GLU_GATE_BACKWARD, &params, &args, [n_ff.div_ceil(256), n_tokens, 1]);
    d
}

fn twin(call: &Call<'_>) {
    let (n_ff, act) = (call.usize(0), Activation::of(call, 1));
    let (gate_up, mut g) = (call.f32(0), call.f32_mut(1));
    for (gate_up, g) in gate_up.chunks_exact(2 * n_ff).zip(g.chunks_exact_mut(n_ff)) {
        for (gate, g) in gate_up.iter().zip(g) {
            *g = act.apply(*gate);
        }
    }
}

fn twin_mul_up(call: &Call<'_>) {
    let n_ff = call.usize(0);
    let (g, gate_up, mut y) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let rows = g.chunks_exact(n_ff).zip(gate_up.chunks_exact(2 * n_ff)).zip(y.chunks_exact_mut(n_ff));
    for ((g, gate_up), y) in rows {
        for ((g, up), y) in g.iter().zip(&gate_up[n_ff..]).zip(y) {
            *y = g * up;
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let (n_ff, act) = (call.usize(0), Activation::of(call, 1));
    let (gate_up, g, dy, dg) = (call.f32(0), call.f32(1), call.f32(2), call.f32(3));
    let mut d = call.f32_mut(4);
    for (t, d) in d.chunks_exact_mut(2 * n_ff).enumerate().take(g.len() / n_ff) {
        let [g, dy, dg] = [&g, &dy, &dg].map(|x| &x[t * n_ff..][..n_ff]);
        let (dgate, dup) = d.split_at_mut(n_ff);
        for (i, gate) in gate_up[2 * t * n_ff..][..n_ff].iter().enumerate() {
            dgate[i] = dg[i] * act.slope(*gate);
            dup[i] = dy[i] * g[i];
        }
    }
}
