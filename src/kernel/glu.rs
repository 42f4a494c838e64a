//! The gate of a feed-forward layer: SwiGLU, GEGLU (Shazeer 2020, arXiv:2002.05202), forward and backward.

use super::Pool;
use super::activate::{ACTIVATION, Activation};
use super::declare::kernel;
use crate::plan::{Buf, Plan};
use webreft_simd::rows::{self, Gate};

kernel! {
    /// y = act(gate) ∘ up.
    GLU: glu {
        wgsl: [ACTIVATION, wgsl!("glu.wgsl")],
        params { n_ff: usize, act: Activation }
        args { gate_up: In<f32>, y: Out<f32> }
        twin: twin,
        fast: fast,
    }
}

kernel! {
    /// The gradient of `glu` by gate and up.
    GLU_BACKWARD: glu_backward {
        wgsl: [ACTIVATION, wgsl!("glu_backward.wgsl")],
        params { n_ff: usize, act: Activation }
        args { gate_up: In<f32>, dy: In<f32>, dgate_up: Out<f32> }
        twin: twin_backward,
        fast: fast_backward,
    }
}

/// act(gate) ∘ up [T, F] of gate and up side by side [T, 2F].
pub fn glu(plan: &mut Plan, act: Activation, gate_up: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    let y = plan.scratch("act", &[n_tokens, n_ff]);
    plan.dispatch(
        &GLU,
        glu::Params { n_ff, act },
        glu::Bufs { gate_up, y },
        [n_ff.div_ceil(256), n_tokens, 1],
    );
    y
}

/// Gradient of [`glu`] by gate and up.
pub fn glu_backward(plan: &mut Plan, act: Activation, gate_up: Buf, dy: Buf) -> Buf {
    let [n_tokens, width] = plan.shape(gate_up);
    let n_ff = width / 2;
    plan.expect("glu_backward: dy", dy, &[n_tokens, n_ff]);
    let d = plan.scratch("dgate_up", &[n_tokens, width]);
    plan.dispatch(
        &GLU_BACKWARD,
        glu_backward::Params { n_ff, act },
        glu_backward::Bufs { gate_up, dy, dgate_up: d },
        [n_ff.div_ceil(256), n_tokens, 1],
    );
    d
}

fn twin(p: &glu::Params, a: glu::Args<'_>) {
    let glu::Params { n_ff, act } = *p;
    let glu::Args { gate_up, y } = a;
    for (gate_up, y) in gate_up.chunks_exact(2 * n_ff).zip(y.chunks_exact_mut(n_ff)) {
        let (gate, up) = gate_up.split_at(n_ff);
        for i in 0..n_ff {
            y[i] = act.times(up[i], gate[i]);
        }
    }
}

fn twin_backward(p: &glu_backward::Params, a: glu_backward::Args<'_>) {
    let glu_backward::Params { n_ff, act } = *p;
    let glu_backward::Args { gate_up, dy, dgate_up: d } = a;
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

impl Activation {
    /// The gate, if the CPU's fast code has it.
    fn fast(self) -> Option<Gate> {
        match self {
            Activation::Silu => Some(Gate::Silu),
            Activation::GeluTanh => Some(Gate::GeluTanh),
            _ => None,
        }
    }
}

fn fast(p: &glu::Params, a: glu::Args<'_>, pool: &Pool) {
    match p.act.fast() {
        Some(gate) => rows::glu(pool, gate, a.gate_up, a.y, p.n_ff),
        None => twin(p, a),
    }
}

fn fast_backward(p: &glu_backward::Params, a: glu_backward::Args<'_>, pool: &Pool) {
    match p.act.fast() {
        Some(gate) => rows::glu_backward(pool, gate, [a.gate_up, a.dy], a.dgate_up, p.n_ff),
        None => twin_backward(p, a),
    }
}
