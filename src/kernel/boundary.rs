//! A learned boundary between the dimensions of a subspace that are edited and those that are not, and its gradient.

use super::{EditGradient, EditTrace, REDUCE};
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

const SIGMOID: &str = include_str!("../../shaders/lib/sigmoid.wgsl");

pub(super) static BOUNDARY: Kernel = Kernel {
    name: "boundary",
    wgsl: &[SIGMOID, include_str!("../../shaders/boundary.wgsl")],
    params: &[("n_embd", U32), ("at", U32)],
    args: &[("strength", In), ("theta", In), ("masked", Out)],
    weight: false,
    twin,
};

pub(super) static BOUNDARY_BACKWARD: Kernel = Kernel {
    name: "boundary_backward",
    wgsl: &[REDUCE, SIGMOID, include_str!("../../shaders/boundary_backward.wgsl")],
    params: &[("n_edits", U32), ("n_embd", U32), ("at", U32), ("onto", U32)],
    args: &[("edits", In), ("masked", In), ("trace", In), ("dtrace", In), ("theta", In), ("grad", InOut)],
    weight: false,
    twin: twin_backward,
};

/// `strength` [P, D] with the boundary at `at` in `theta` drawn into it: a new buffer.
pub fn boundary(plan: &mut Plan, at: usize, strength: Buf, theta: Buf) -> Buf {
    let [n_edits, n_embd] = plan.shape(strength);
    let masked = plan.scratch("masked", &[n_edits, n_embd]);
    let grid = [(n_edits * n_embd).div_ceil(64), 1, 1];
    plan.dispatch(&BOUNDARY, &[n_embd.into(), at.into()], &[strength, theta, masked], grid);
    masked
}

/// Writes the boundary's gradient from those of the edits that were made with `masked`, or adds to it.
pub fn boundary_backward(
    plan: &mut Plan,
    at: usize,
    [rows, masked, theta, grad]: [Buf; 4],
    trace: &EditTrace,
    EditGradient(dtrace): EditGradient,
    onto: bool,
) {
    let [n_edits, n_embd] = plan.shape(masked);
    let params = [n_edits.into(), n_embd.into(), at.into(), onto.into()];
    let args = [rows, masked, trace.trace, dtrace, theta, grad];
    plan.dispatch(&BOUNDARY_BACKWARD, &params, &args, [1, 1, 1]);
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x.clamp(-80.0, 80.0)).exp())
}

fn twin(call: &Call<'_>) {
    let (n, at) = (call.usize(0), call.usize(1));
    let (strength, theta, mut masked) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let (edge, temperature) = (theta[at].clamp(1e-3, 1.0) * n as f32, theta[at + 1]);
    for (i, (masked, strength)) in masked.iter_mut().zip(strength.iter()).enumerate() {
        let j = (i % n) as f32;
        *masked = strength * sigmoid(j / temperature) * sigmoid((edge - j) / temperature);
    }
}

fn twin_backward(call: &Call<'_>) {
    let [n_edits, n, at] = [0, 1, 2].map(|i| call.usize(i));
    let (edits, masked, trace) = (call.u32(0), call.f32(1), call.f32(2));
    let (dtrace, theta, mut grad) = (call.f32(3), call.f32(4), call.f32_mut(5));
    let (beta, temperature) = (theta[at], theta[at + 1]);
    let mut sum = 0.0;
    for i in (0..n_edits * n).filter(|i| masked[*i] != 0.0) {
        let (p, j) = (i / n, i % n);
        let second = 2 * p * n + n + j;
        let open = sigmoid((j as f32 - beta * n as f32) / temperature);
        sum += edits[2 * p + 1] as f32 * trace[second] * (dtrace[second] / masked[i]) * open;
    }
    let is_held = !(1e-3..=1.0).contains(&beta);
    let slope = if is_held { 0.0 } else { sum * n as f32 / temperature };
    grad[at] = slope + if call.flag(3) { grad[at] } else { 0.0 };
    grad[at + 1] = 0.0;
}
