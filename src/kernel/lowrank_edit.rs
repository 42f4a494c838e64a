//! Low-rank edit of hidden states, the arithmetic under every ReFT kind (Wu et al. 2024, arXiv:2404.03592, eq. 2), and
//! its gradients by the hidden states and by the parameters.

use super::{REDUCE, add_scaled, dot};
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

const ACTIVATION: &str = include_str!("../../shaders/lib/activation.wgsl");

pub(super) static LOWRANK_EDIT: Kernel = Kernel {
    name: "lowrank_edit",
    wgsl: &[REDUCE, ACTIVATION, include_str!("../../shaders/lowrank_edit.wgsl")],
    params: &[("n_embd", U32), ("rank", U32), ("w_at", U32), ("b_at", U32), ("r_at", U32), ("act", U32)],
    args: &[("edits", In), ("theta", In), ("rot", In), ("h", InOut), ("before", Out), ("z", Out), ("u", Out)],
    weight: false,
    twin,
};

pub(super) static LOWRANK_EDIT_BACKWARD: Kernel = Kernel {
    name: "lowrank_edit_backward",
    wgsl: &[REDUCE, ACTIVATION, include_str!("../../shaders/lowrank_edit_backward.wgsl")],
    params: &[("n_embd", U32), ("rank", U32), ("w_at", U32), ("r_at", U32), ("act", U32)],
    args: &[
        ("edits", In),
        ("theta", In),
        ("rot", In),
        ("z", In),
        ("dh", InOut),
        ("after", Out),
        ("du", Out),
        ("dz", Out),
    ],
    weight: false,
    twin: twin_backward,
};

pub(super) static LOWRANK_EDIT_PARAMS: Kernel = Kernel {
    name: "lowrank_edit_params",
    wgsl: &[include_str!("../../shaders/lowrank_edit_params.wgsl")],
    params: &[("n_edits", U32), ("n_embd", U32), ("rank", U32), ("w_at", U32), ("b_at", U32), ("r_at", U32)],
    args: &[
        ("edits", In),
        ("before", In),
        ("after", In),
        ("u", In),
        ("du", In),
        ("dz", In),
        ("grad", InOut),
        ("drot", InOut),
    ],
    weight: false,
    twin: twin_params,
};

/// The function around W·h + b, by the names of Transformers' `ACT2FN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// x
    #[default]
    Linear,
    /// x · Φ(x), exact
    Gelu,
    /// max(x, 0)
    Relu,
    /// x / (1 + e⁻ˣ)
    Silu,
    /// tanh x
    Tanh,
}

impl Activation {
    /// Every function there is, in the order of the shader's codes.
    pub const ALL: [Activation; 5] =
        [Activation::Linear, Activation::Gelu, Activation::Relu, Activation::Silu, Activation::Tanh];

    /// The name in options and files.
    pub fn name(self) -> &'static str {
        ["linear", "gelu", "relu", "silu", "tanh"][self as usize]
    }

    fn of(call: &Call<'_>, index: usize) -> Activation {
        Activation::ALL[call.usize(index)]
    }

    fn apply(self, x: f32) -> f32 {
        match self {
            Activation::Linear => x,
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            Activation::Relu => x.max(0.0),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    fn slope(self, x: f32) -> f32 {
        match self {
            Activation::Linear => 1.0,
            Activation::Gelu => {
                let density = (-0.5 * x * x).exp()
                    * 0.5
                    * std::f32::consts::FRAC_2_SQRT_PI
                    * std::f32::consts::FRAC_1_SQRT_2;
                0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density
            }
            Activation::Relu => f32::from(x > 0.0),
            Activation::Silu => {
                let sigma = 1.0 / (1.0 + (-x).exp());
                sigma * (1.0 + x * (1.0 - sigma))
            }
            Activation::Tanh => 1.0 - x.tanh() * x.tanh(),
        }
    }
}

/// Abramowitz and Stegun 7.1.26; within 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = [1.061_405_4, -1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6];
    let poly = poly.into_iter().fold(0.0, |sum, factor| t * (sum + factor));
    x.signum() * (1.0 - poly * (-x * x).exp())
}

/// One intervention as the kernels see it: where its parameters lie in the flat buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Width of the hidden state.
    pub n_embd: usize,
    /// Dimensions of the subspace.
    pub rank: usize,
    /// First element of W [R, D] in `theta`.
    pub w_at: usize,
    /// First element of b `[R]` in `theta`.
    pub b_at: usize,
    /// First element of R [R, D] in `rot`.
    pub r_at: usize,
    /// The function around W·h + b.
    pub act: Activation,
}

/// What an edit leaves for its gradient.
#[derive(Clone, Copy)]
pub struct EditTrace {
    before: Buf,
    z: Buf,
    u: Buf,
}

/// Edits the rows of h [T, D] that `edits` [P, 2] names, in place.
pub fn lowrank_edit(plan: &mut Plan, edit: &Edit, edits: Buf, [theta, rot]: [Buf; 2], h: Buf) -> EditTrace {
    let [n_edits, _] = plan.shape(edits);
    let Edit { n_embd, rank, w_at, b_at, r_at, act } = *edit;
    let before = plan.scratch("before", &[n_edits, n_embd]);
    let [z, u] = ["z", "u"].map(|name| plan.scratch(name, &[n_edits, rank]));
    let params = [n_embd, rank, w_at, b_at, r_at, act as usize].map(Into::into);
    plan.dispatch(&LOWRANK_EDIT, &params, &[edits, theta, rot, h, before, z, u], [n_edits, 1, 1]);
    EditTrace { before, z, u }
}

/// Takes dh [T, D] back through the edit, in place, and writes the parameters' gradients.
pub fn lowrank_edit_backward(
    plan: &mut Plan,
    edit: &Edit,
    edits: Buf,
    [theta, rot]: [Buf; 2],
    trace: &EditTrace,
    dh: Buf,
    [grad, drot]: [Buf; 2],
) {
    let [n_edits, _] = plan.shape(edits);
    let Edit { n_embd, rank, w_at, b_at, r_at, act } = *edit;
    let after = plan.scratch("after", &[n_edits, n_embd]);
    let [du, dz] = ["du", "dz"].map(|name| plan.scratch(name, &[n_edits, rank]));
    let params = [n_embd, rank, w_at, r_at, act as usize].map(Into::into);
    let args = [edits, theta, rot, trace.z, dh, after, du, dz];
    plan.dispatch(&LOWRANK_EDIT_BACKWARD, &params, &args, [n_edits, 1, 1]);
    let params = [n_edits, n_embd, rank, w_at, b_at, r_at].map(Into::into);
    let args = [edits, trace.before, after, trace.u, du, dz, grad, drot];
    plan.dispatch(&LOWRANK_EDIT_PARAMS, &params, &args, [n_embd.div_ceil(64), rank, 1]);
}

fn twin(call: &Call<'_>) {
    let [n_embd, rank, w_at, b_at, r_at] = [0, 1, 2, 3, 4].map(|i| call.usize(i));
    let act = Activation::of(call, 5);
    let (edits, theta, rot) = (call.u32(0), call.f32(1), call.f32(2));
    let (mut h, mut before, mut z, mut u) =
        (call.f32_mut(3), call.f32_mut(4), call.f32_mut(5), call.f32_mut(6));
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let h = &mut h[edit[0] as usize * n_embd..][..n_embd];
        before[p * n_embd..][..n_embd].copy_from_slice(h);
        let (z, u) = (&mut z[p * rank..][..rank], &mut u[p * rank..][..rank]);
        for j in 0..rank {
            z[j] = dot(&theta[w_at + j * n_embd..][..n_embd], h) + theta[b_at + j];
            u[j] = act.apply(z[j]) - dot(&rot[r_at + j * n_embd..][..n_embd], h);
        }
        for j in 0..rank {
            add_scaled(h, u[j], &rot[r_at + j * n_embd..][..n_embd]);
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let [n_embd, rank, w_at, r_at] = [0, 1, 2, 3].map(|i| call.usize(i));
    let act = Activation::of(call, 4);
    let (edits, theta, rot, z) = (call.u32(0), call.f32(1), call.f32(2), call.f32(3));
    let (mut dh, mut after, mut du, mut dz) =
        (call.f32_mut(4), call.f32_mut(5), call.f32_mut(6), call.f32_mut(7));
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let dh = &mut dh[edit[0] as usize * n_embd..][..n_embd];
        after[p * n_embd..][..n_embd].copy_from_slice(dh);
        for j in 0..rank {
            let at = p * rank + j;
            du[at] = dot(&rot[r_at + j * n_embd..][..n_embd], dh);
            dz[at] = act.slope(z[at]) * du[at];
        }
        for j in 0..rank {
            let at = p * rank + j;
            add_scaled(dh, dz[at], &theta[w_at + j * n_embd..][..n_embd]);
            add_scaled(dh, -du[at], &rot[r_at + j * n_embd..][..n_embd]);
        }
        dh.iter_mut().for_each(|d| *d *= edit[1] as f32);
    }
}

fn twin_params(call: &Call<'_>) {
    let [n_edits, n_embd, rank, w_at, b_at, r_at] = [0, 1, 2, 3, 4, 5].map(|i| call.usize(i));
    let (edits, before, after) = (call.u32(0), call.f32(1), call.f32(2));
    let (u, du, dz) = (call.f32(3), call.f32(4), call.f32(5));
    let (mut grad, mut drot) = (call.f32_mut(6), call.f32_mut(7));
    grad[w_at..w_at + rank * n_embd].fill(0.0);
    grad[b_at..b_at + rank].fill(0.0);
    drot[r_at..r_at + rank * n_embd].fill(0.0);
    for p in 0..n_edits {
        let count = edits[2 * p + 1] as f32;
        let (h, dh) = (&before[p * n_embd..][..n_embd], &after[p * n_embd..][..n_embd]);
        for j in 0..rank {
            let at = p * rank + j;
            add_scaled(&mut grad[w_at + j * n_embd..][..n_embd], count * dz[at], h);
            grad[b_at + j] += count * dz[at];
            add_scaled(&mut drot[r_at + j * n_embd..][..n_embd], count * u[at], dh);
            add_scaled(&mut drot[r_at + j * n_embd..][..n_embd], -count * du[at], h);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, Edit, dot, lowrank_edit};
    use crate::backend::Backend;
    use crate::plan::{Plan, Target};
    use pollster::block_on;

    const N_EMBD: usize = 6;

    /// h before and after an edit of rows 3 and 0 of five by W, b and two orthonormal rows of R.
    fn edited(w: &[f32], b: [f32; 2]) -> [Vec<f32>; 2] {
        let mut plan = Plan::new("edit", Target::Software);
        let rows = Backend::Cpu.tensor_of("edits", &[2, 2], &[3, 1, 0, 1]).unwrap();
        let rows = plan.tensor(&rows);
        let mut values = |label, shape: &[usize], values: &[f32]| {
            let tensor = Backend::Cpu.tensor(label, shape).unwrap();
            tensor.write_f32(values);
            plan.tensor(&tensor)
        };
        let h: Vec<f32> = (0..5 * N_EMBD).map(|i| (i as f32).cos()).collect();
        let theta = [w, &b].concat();
        let params = [values("theta", &[theta.len()], &theta), values("rot", &[2 * N_EMBD], &R)];
        let edited = values("h", &[5, N_EMBD], &h);
        let act = Activation::Linear;
        let edit = Edit { n_embd: N_EMBD, rank: 2, w_at: 0, b_at: w.len(), r_at: 0, act };
        lowrank_edit(&mut plan, &edit, rows, params, edited);
        let done = Backend::Cpu.prepare(plan).unwrap();
        done.run().unwrap();
        let after = block_on(done.tensor(edited).read().f32()).unwrap();
        [h, after]
    }

    const R: [f32; 2 * N_EMBD] = [0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];

    #[test]
    fn rows_that_no_edit_names_keep_their_bits() {
        let [before, after] = edited(&[0.3; 2 * N_EMBD], [1.0, -2.0]);
        let kept = [1, 2, 4].map(|row| row * N_EMBD..(row + 1) * N_EMBD);
        kept.into_iter().for_each(|row| assert_eq!(before[row.clone()], after[row]));
    }

    /// R·h′ = W·h + b: the subspace is set to what W and b say.
    #[test]
    fn the_subspace_takes_the_learned_source() {
        let w: Vec<f32> = (0..2 * N_EMBD).map(|i| (i as f32 * 0.9).sin()).collect();
        let [before, after] = edited(&w, [0.5, -0.25]);
        for row in [0, 3] {
            let [h, edited] = [&before, &after].map(|h| &h[row * N_EMBD..][..N_EMBD]);
            for (j, b) in [0.5, -0.25].into_iter().enumerate() {
                let inside = dot(&R[j * N_EMBD..][..N_EMBD], edited);
                assert!((inside - dot(&w[j * N_EMBD..][..N_EMBD], h) - b).abs() < 1e-5, "row {row}, {j}");
            }
        }
    }
}
