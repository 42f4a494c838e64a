//! The two halves of [`super::glu`], for what stands between them: pyvene's `mlp_activation`.

use super::activate::{ACTIVATION, Activation};
use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// g = act(gate), the first half of `glu`.
    GLU_GATE: glu_gate {
        wgsl: [ACTIVATION, wgsl!("glu_gate.wgsl")],
        params { n_ff: usize, act: Activation }
        args { gate_up: In<f32>, g: Out<f32> }
        twin: twin,
    }
}

kernel! {
    /// y = g ∘ up, the second half of `glu`.
    MUL_UP: mul_up {
        wgsl: [wgsl!("mul_up.wgsl")],
        params { n_ff: usize }
        args { g: In<f32>, gate_up: In<f32>, y: Out<f32> }
        twin: twin_mul_up,
    }
}

kernel! {
    /// The gradient of both halves by gate and up.
    GLU_GATE_BACKWARD: glu_gate_backward {
        wgsl: [ACTIVATION, wgsl!("glu_gate_backward.wgsl")],
        params { n_ff: usize, act: Activation }
        args { gate_up: In<f32>, g: In<f32>, dy: In<f32>, dg: In<f32>, dgate_up: Out<f32> }
        twin: twin_backward,
    }
}

/// g = act(gate) [T, F] of gate and up side by side [T, 2F].
pub fn glu_gate(plan: &mut Plan, act: Activation, gate_up: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    let g = plan.scratch("gate", &[n_tokens, n_ff]);
    plan.dispatch(
        &GLU_GATE,
        glu_gate::Params { n_ff, act },
        glu_gate::Bufs { gate_up, g },
        [n_ff.div_ceil(256), n_tokens, 1],
    );
    g
}

/// g ∘ up [T, F]; with the gradient of that in place of g, the gradient by g.
pub fn mul_up(plan: &mut Plan, label: &str, g: Buf, gate_up: Buf) -> Buf {
    let [n_tokens, n_ff] = plan.shape(g);
    plan.expect("mul_up: gate_up", gate_up, &[n_tokens, 2 * n_ff]);
    let y = plan.scratch(label, &[n_tokens, n_ff]);
    plan.dispatch(
        &MUL_UP,
        mul_up::Params { n_ff },
        mul_up::Bufs { g, gate_up, y },
        [n_ff.div_ceil(256), n_tokens, 1],
    );
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
    plan.dispatch(
        &GLU_GATE_BACKWARD,
        glu_gate_backward::Params { n_ff, act },
        glu_gate_backward::Bufs { gate_up, g, dy, dg, dgate_up: d },
        [n_ff.div_ceil(256), n_tokens, 1],
    );
    d
}

fn twin(p: &glu_gate::Params, a: glu_gate::Args<'_>) {
    let glu_gate::Params { n_ff, act } = *p;
    let glu_gate::Args { gate_up, g } = a;
    for (gate_up, g) in gate_up.chunks_exact(2 * n_ff).zip(g.chunks_exact_mut(n_ff)) {
        for (gate, g) in gate_up.iter().zip(g) {
            *g = act.apply(*gate);
        }
    }
}

fn twin_mul_up(p: &mul_up::Params, a: mul_up::Args<'_>) {
    let mul_up::Params { n_ff } = *p;
    let mul_up::Args { g, gate_up, y } = a;
    let rows = g.chunks_exact(n_ff).zip(gate_up.chunks_exact(2 * n_ff)).zip(y.chunks_exact_mut(n_ff));
    for ((g, gate_up), y) in rows {
        for ((g, up), y) in g.iter().zip(&gate_up[n_ff..]).zip(y) {
            *y = g * up;
        }
    }
}

fn twin_backward(p: &glu_gate_backward::Params, a: glu_gate_backward::Args<'_>) {
    let glu_gate_backward::Params { n_ff, act } = *p;
    let glu_gate_backward::Args { gate_up, g, dy, dg, dgate_up: d } = a;
    for (t, d) in d.chunks_exact_mut(2 * n_ff).enumerate().take(g.len() / n_ff) {
        let [g, dy, dg] = [&g, &dy, &dg].map(|x| &x[t * n_ff..][..n_ff]);
        let (dgate, dup) = d.split_at_mut(n_ff);
        for (i, gate) in gate_up[2 * t * n_ff..][..n_ff].iter().enumerate() {
            dgate[i] = dg[i] * act.slope(*gate);
            dup[i] = dy[i] * g[i];
        }
    }
}
