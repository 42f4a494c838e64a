//! An orthonormal R from free parameters, and the gradient back to them, on the device: torch's Householder map; and for square
//! ones its map by a matrix exponential, of which [`super::matrix_exp`] has the kernels.

use super::declare::kernel;
use super::matrix_exp::{matrix_exp, matrix_exp_backward};
use super::{REDUCE, add_scaled, dot};
use crate::plan::{Buf, Plan, record};

kernel! {
    /// R from its free parameters: the Householder map of torch.
    ROTATION: rotation {
        wgsl: [REDUCE, wgsl!("rotation.wgsl")],
        params Reflected
        args { theta: In<f32>, base: In<f32>, rot: InOut<f32> }
        twin: twin,
    }
}

kernel! {
    /// The gradient of `rotation` by its free parameters.
    ROTATION_BACKWARD: rotation_backward {
        wgsl: [REDUCE, wgsl!("rotation_backward.wgsl")],
        params {
            n_embd: usize,
            n_reflections: usize,
            base_at: usize,
            x_at: usize,
            r_at: usize,
            rank: usize,
            span_only: bool,
        }
        args { theta: In<f32>, base: In<f32>, drot: In<f32>, grad: InOut<f32>, work: Out<f32> }
        twin: twin_backward,
    }
}

/// How an orthonormal R follows from free parameters; torch's `orthogonal_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrthogonalMap {
    /// By reflections: R has `rank` rows.
    Householder {
        /// Reflections that make up the base.
        n_reflections: usize,
    },
    /// By expm of a skew-symmetric matrix: R has D rows, of which an edit takes the first.
    MatrixExp,
}

/// One rotation as the kernels see it: where its numbers lie in the flat buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Width of the hidden state.
    pub n_embd: usize,
    /// Rows of X and of R: dimensions of the subspace, or D.
    pub rank: usize,
    /// How R follows from X.
    pub map: OrthogonalMap,
    /// First element of the base in `base`: [M + 1, D] of reflections and signs, or [D, D], transposed.
    pub base_at: usize,
    /// First element of X [R, D] in `theta` and `grad`.
    pub x_at: usize,
    /// First element of R [R, D] in `rot` and `drot`.
    pub r_at: usize,
}

record! {
    /// A rotation by reflections: [`Rotation`], and how many reflections its base has.
    struct Reflected {
        n_embd: usize,
        n_reflections: usize,
        base_at: usize,
        x_at: usize,
        r_at: usize,
        rank: usize,
    }
}

impl Reflected {
    fn new(rotation: &Rotation, n_reflections: usize) -> Reflected {
        let Rotation { n_embd, rank, base_at, x_at, r_at, .. } = *rotation;
        Reflected { n_embd, n_reflections, base_at, x_at, r_at, rank }
    }

    /// The base: unit vectors, then signs.
    fn base<'a>(&self, base: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        base[self.base_at..][..(self.n_reflections + 1) * self.n_embd]
            .split_at(self.n_reflections * self.n_embd)
    }

    /// v_k, and 2 / |v_k|².
    fn reflector(&self, theta: &[f32], k: usize) -> (Vec<f32>, f32) {
        let mut v = theta[self.x_at + k * self.n_embd..][..self.n_embd].to_vec();
        v[..k].fill(0.0);
        v[k] = 1.0;
        let tau = 2.0 / dot(&v, &v);
        (v, tau)
    }

    /// H₀ … H_{R−1}·e_j
    fn column(&self, theta: &[f32], j: usize) -> Vec<f32> {
        let mut z = vec![0.0; self.n_embd];
        z[j] = 1.0;
        (0..self.rank).rev().for_each(|k| self.reflect(theta, k, &mut z));
        z
    }

    /// y ← H_k·y
    fn reflect(&self, theta: &[f32], k: usize, y: &mut [f32]) {
        let (v, tau) = self.reflector(theta, k);
        let pull = -tau * dot(&v, y);
        add_scaled(y, pull, &v);
    }

    /// Removes from g what lies in the span of Q: the first R elements of H_{R−1} … H₀·g.
    fn leave_span(&self, theta: &[f32], g: &mut [f32]) {
        (0..self.rank).for_each(|k| self.reflect(theta, k, g));
        g[..self.rank].fill(0.0);
        (0..self.rank).rev().for_each(|k| self.reflect(theta, k, g));
    }

    /// int(X[j, j])
    fn sign(&self, theta: &[f32], j: usize) -> f32 {
        theta[self.x_at + j * self.n_embd + j].trunc()
    }
}

/// Writes R [R, D] from X in `theta` and the fixed base.
pub fn rotation(plan: &mut Plan, rotation: &Rotation, [theta, base, rot]: [Buf; 3]) {
    match rotation.map {
        OrthogonalMap::Householder { n_reflections } => {
            let params = Reflected::new(rotation, n_reflections);
            plan.dispatch(&ROTATION, params, rotation::Bufs { theta, base, rot }, [rotation.rank, 1, 1]);
        }
        OrthogonalMap::MatrixExp => matrix_exp(plan, rotation, [theta, base, rot]),
    }
}

/// Writes dX into `grad` from dR in `drot`.
///
/// `span_only` says that the loss depends on the span of R's rows alone, that is on RᵀR. Then the part of dR within that span,
/// dR·Rᵀ·R, adds nothing to dX:
///
/// ```text
/// every change of X changes R by   ΩR + N      Ω skew-symmetric, N·Rᵀ = 0, for R stays orthonormal
/// ⟨dR, ΩR⟩ = ⟨dR·Rᵀ, Ω⟩ = 0                    R and exp(Ω)·R have one span; so dR·Rᵀ is symmetric
/// ⟨dR·Rᵀ·R, N⟩ = 0                             N·Rᵀ = 0
/// ```
///
/// In f32 it adds rounding noise, also where dX is 0, and Adam scales noise to whole steps. So it is removed: exactly where the
/// span is that of unit vectors, as it is at the start (X = −1), and up to rounding elsewhere.
pub fn rotation_backward(
    plan: &mut Plan,
    rotation: &Rotation,
    span_only: bool,
    [theta, base, drot, grad]: [Buf; 4],
) {
    let OrthogonalMap::Householder { n_reflections } = rotation.map else {
        return matrix_exp_backward(plan, rotation, [theta, base, drot, grad]);
    };
    let work = plan.scratch("zg", &[2, rotation.n_embd]);
    let Reflected { n_embd, n_reflections, base_at, x_at, r_at, rank } =
        Reflected::new(rotation, n_reflections);
    let params = rotation_backward::Params { n_embd, n_reflections, base_at, x_at, r_at, rank, span_only };
    let bufs = rotation_backward::Bufs { theta, base, drot, grad, work };
    plan.dispatch(&ROTATION_BACKWARD, params, bufs, [1, 1, 1]);
}

fn twin(it: &Reflected, a: rotation::Args<'_>) {
    let rotation::Args { theta, base, rot } = a;
    let (reflections, signs) = it.base(base);
    for j in 0..it.rank {
        let mut y = it.column(theta, j);
        let sign = it.sign(theta, j);
        y.iter_mut().zip(signs).for_each(|(y, s)| *y *= sign * s);
        for g in reflections.chunks_exact(it.n_embd).rev() {
            let pull = -2.0 * dot(g, &y);
            add_scaled(&mut y, pull, g);
        }
        rot[it.r_at + j * it.n_embd..][..it.n_embd].copy_from_slice(&y);
    }
}

fn twin_backward(p: &rotation_backward::Params, a: rotation_backward::Args<'_>) {
    let rotation_backward::Params { n_embd, n_reflections, base_at, x_at, r_at, rank, span_only } = *p;
    let it = Reflected { n_embd, n_reflections, base_at, x_at, r_at, rank };
    let rotation_backward::Args { theta, base, drot, grad, work } = a;
    let (reflections, signs) = it.base(base);
    let grad = &mut grad[it.x_at..][..it.rank * it.n_embd];
    grad.fill(0.0);
    for j in 0..it.rank {
        let mut z = it.column(theta, j);
        let mut g = drot[it.r_at + j * it.n_embd..][..it.n_embd].to_vec();
        for unit in reflections.chunks_exact(it.n_embd) {
            let pull = -2.0 * dot(unit, &g);
            add_scaled(&mut g, pull, unit);
        }
        let sign = it.sign(theta, j);
        g.iter_mut().zip(signs).for_each(|(g, s)| *g *= sign * s);
        if span_only {
            it.leave_span(theta, &mut g);
        }
        for (k, dx) in grad.chunks_exact_mut(it.n_embd).enumerate() {
            let (v, tau) = it.reflector(theta, k);
            let pull = -tau * dot(&v, &z);
            add_scaled(&mut z, pull, &v);
            let (vz, vg) = (dot(&v, &z), dot(&v, &g));
            for d in k + 1..it.n_embd {
                dx[d] += tau * (tau * vg * vz * v[d] - vg * z[d] - vz * g[d]);
            }
            add_scaled(&mut g, -tau * vg, &v);
        }
        work[..it.n_embd].copy_from_slice(&z);
        work[it.n_embd..2 * it.n_embd].copy_from_slice(&g);
    }
}

#[cfg(test)]
mod tests {
    use super::{Reflected, dot, rotation, twin};

    /// R·Rᵀ = 1, whatever the free parameters.
    #[test]
    fn rows_are_orthonormal() {
        for (n_embd, rank, n_reflections) in [(4, 4, 0), (12, 1, 3), (40, 8, 5)] {
            let it = Reflected { n_embd, n_reflections, base_at: 0, x_at: 0, r_at: 0, rank };
            let mut theta: Vec<f32> = (0..rank * n_embd).map(|i| (i as f32 * 1.7).sin()).collect();
            (0..rank).for_each(|j| theta[j * n_embd + j] = if j % 2 == 0 { 1.0 } else { -1.0 });
            let unit = (n_embd as f32).sqrt().recip();
            let base = [vec![unit; n_reflections * n_embd], vec![-1.0; n_embd]].concat();
            let mut rot = vec![0.0; rank * n_embd];
            twin(&it, rotation::Args { theta: &theta, base: &base, rot: &mut rot });
            let row = |j: usize| &rot[j * n_embd..][..n_embd];
            for (i, j) in (0..rank).flat_map(|i| (0..rank).map(move |j| (i, j))) {
                let want = if i == j { 1.0 } else { 0.0 };
                assert!((dot(row(i), row(j)) - want).abs() < 1e-5, "rows {i} and {j} of {rank} in {n_embd}");
            }
        }
    }
}
