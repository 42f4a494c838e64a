//! A learned boundary between the dimensions of a subspace that are edited and those that are not, and its gradient.

use super::declare::kernel;
use super::{EditGradient, EditTrace, REDUCE};
use crate::plan::{Buf, Plan};

const SIGMOID: &str = wgsl!("lib/sigmoid.wgsl");

kernel! {
    /// Applies the learned boundary to the strengths of edits.
    BOUNDARY: boundary {
        wgsl: [SIGMOID, wgsl!("boundary.wgsl")],
        params { n_embd: usize, at: usize }
        args { strength: In<f32>, theta: In<f32>, masked: Out<f32> }
        twin: twin,
    }
}

kernel! {
    /// The gradient of the boundary, summed over all edits.
    BOUNDARY_BACKWARD: boundary_backward {
        wgsl: [REDUCE, SIGMOID, wgsl!("boundary_backward.wgsl")],
        params { n_edits: usize, n_embd: usize, at: usize, onto: bool }
        args {
            edits: In<u32>,
            masked: In<f32>,
            trace: In<f32>,
            dtrace: In<f32>,
            theta: In<f32>,
            grad: InOut<f32>,
        }
        twin: twin_backward,
    }
}

/// `strength` [P, D] with the boundary at `at` in `theta` drawn into it: a new buffer.
pub fn boundary(plan: &mut Plan, at: usize, strength: Buf, theta: Buf) -> Buf {
    let [n_edits, n_embd] = plan.shape(strength);
    let masked = plan.scratch("masked", &[n_edits, n_embd]);
    let grid = [(n_edits * n_embd).div_ceil(64), 1, 1];
    plan.dispatch(
        &BOUNDARY,
        boundary::Params { n_embd, at },
        boundary::Bufs { strength, theta, masked },
        grid,
    );
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
    plan.dispatch(
        &BOUNDARY_BACKWARD,
        boundary_backward::Params { n_edits, n_embd, at, onto },
        boundary_backward::Bufs { edits: rows, masked, trace: trace.trace, dtrace, theta, grad },
        [1, 1, 1],
    );
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x.clamp(-80.0, 80.0)).exp())
}

fn twin(p: &boundary::Params, a: boundary::Args<'_>) {
    let boundary::Params { n_embd: n, at } = *p;
    let boundary::Args { strength, theta, masked } = a;
    let (edge, temperature) = (theta[at].clamp(1e-3, 1.0) * n as f32, theta[at + 1]);
    for (i, (masked, strength)) in masked.iter_mut().zip(strength.iter()).enumerate() {
        let j = (i % n) as f32;
        *masked = strength * sigmoid(j / temperature) * sigmoid((edge - j) / temperature);
    }
}

fn twin_backward(p: &boundary_backward::Params, a: boundary_backward::Args<'_>) {
    let boundary_backward::Params { n_edits, n_embd: n, at, onto } = *p;
    let boundary_backward::Args { edits, masked, trace, dtrace, theta, grad } = a;
    let (beta, temperature) = (theta[at], theta[at + 1]);
    let mut sum = 0.0f64;
    for i in (0..n_edits * n).filter(|i| masked[*i] != 0.0) {
        let (p, j) = (i / n, i % n);
        let second = 2 * p * n + n + j;
        let open = sigmoid((j as f32 - beta * n as f32) / temperature);
        sum += f64::from(edits[2 * p + 1] as f32 * trace[second] * (dtrace[second] / masked[i]) * open);
    }
    let is_held = !(1e-3..=1.0).contains(&beta);
    let slope = if is_held { 0.0 } else { sum as f32 * n as f32 / temperature };
    grad[at] = slope + if onto { grad[at] } else { 0.0 };
    grad[at + 1] = 0.0;
}
