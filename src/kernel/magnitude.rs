//! Magnitudes of a weight matrix's rows (DoRA, arXiv:2402.09353): W₀ + s·B·A has rows of the lengths n, and is scaled to rows of
//! learned lengths m by g = m / n. W₀ is never expanded:
//!
//! ```text
//! n² = ‖W₀‖² + 2s·(B ∘ W₀Aᵀ) + s²·(B·AAᵀ ∘ B)      row by row, summed over the rank
//! ```
//!
//! In gradients n is a constant, as in the paper (section 4.3).

use super::copy::copy_from;
use super::dense::{Dense, Rows, dense_into};
use super::lowrank_edit::Edit;
use super::matmul::matmul;
use super::scale_rows::Scale;
use super::{REDUCE, dot};
use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Kernel, Matrix, Plan, Word};

pub(super) static MAGNITUDE: Kernel = Kernel {
    name: "magnitude",
    wgsl: &[include_str!("../../shaders/magnitude.wgsl")],
    params: &[
        ("n_embd", U32),
        ("rank", U32),
        ("first", U32),
        ("n_rows", U32),
        ("m_at", U32),
        ("p_at", U32),
        ("norms_at", U32),
        ("g_at", U32),
        ("scale", F32),
    ],
    args: &[("theta", In), ("base", In), ("wa", In), ("aa", In), ("rot", InOut)],
    weight: false,
    twin,
};

pub(super) static MAGNITUDE_BACKWARD: Kernel = Kernel {
    name: "magnitude_backward",
    wgsl: &[include_str!("../../shaders/magnitude_backward.wgsl")],
    params: &[("n_embd", U32), ("m_at", U32), ("g_at", U32)],
    args: &[("rot", In), ("drot", In), ("grad", InOut)],
    weight: false,
    twin: twin_backward,
};

pub(super) static ROW_NORMS: Kernel = Kernel {
    name: "row_norms",
    wgsl: &[REDUCE, include_str!("../../shaders/row_norms.wgsl")],
    params: &[("n_in", U32), ("from_row", U32), ("norms_at", U32)],
    args: &[("norms", InOut)],
    weight: true,
    twin: twin_norms,
};

/// Where the numbers of some rows' magnitudes lie, and what B·A is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Magnitude {
    /// What B·A is multiplied by, s.
    pub scale: f32,
    /// First element of m `[D]` in `theta`.
    pub m_at: usize,
    /// First element of ‖W₀‖ `[D]` in `base`.
    pub norms_at: usize,
    /// First of R elements in `base` that are s.
    pub scales_at: usize,
    /// First element of g `[D]` in `rot`; 1/n `[D]` lies behind it.
    pub g_at: usize,
}

impl Magnitude {
    /// The scaling of the rows that `edit` has changed.
    pub fn scaling(&self, edit: &Edit) -> Scale {
        Scale { n_embd: edit.n_embd, first: edit.first, l_at: self.g_at }
    }
}

/// How much of an edit is made in each dimension of the subspace [P, R], where `strength` [P, 1] says how much of all: s times that.
pub fn spread(plan: &mut Plan, it: &Magnitude, rank: usize, strength: Buf, base: Buf) -> Buf {
    let [n_edits, _] = plan.shape(strength);
    let spread = plan.scratch("spread", &[n_edits, rank]);
    let scales = Dense { n_in: 1, n_out: rank, w_at: it.scales_at, b_at: None };
    dense_into(plan, &scales, n_edits, [strength.into(), spread.into()], base);
    spread
}

/// Writes the lengths of `n_rows` rows of a matrix, from row `first` on, to `norms`.
pub fn row_norms(plan: &mut Plan, matrix: &Matrix, [first, n_rows]: [usize; 2], norms: Rows) {
    for slab in &matrix.slabs {
        let from = first.max(slab.first_row);
        let to = (first + n_rows).min(slab.first_row + slab.rows);
        let params = [matrix.cols, from - slab.first_row, norms.at + from - first].map(Into::into);
        plan.dispatch_weight(&ROW_NORMS, &params, &[norms.buf], slab, [to.saturating_sub(from), 1, 1]);
    }
}

/// Writes g and 1/n to `rot`, for the rows of `matrix` that `edit` changes.
pub fn magnitude(
    plan: &mut Plan,
    edit: &Edit,
    it: &Magnitude,
    matrix: &Matrix,
    [theta, base, rot]: [Buf; 3],
) {
    let Edit { n_embd, n_in, first, rank, w_at, p_at, .. } = *edit;
    let a = copy_from(plan, "a", Rows { buf: theta, at: w_at }, [rank, n_in]);
    let wa = plan.scratch("wa", &[rank, matrix.rows]);
    matmul(plan, a, matrix, wa, false);
    let aa = plan.scratch("aa", &[rank, rank]);
    let products = Dense { n_in, n_out: rank, w_at, b_at: None };
    dense_into(plan, &products, rank, [a.into(), aa.into()], theta);
    let counts = [n_embd, rank, first, matrix.rows, it.m_at, p_at, it.norms_at, it.g_at].map(Into::into);
    let params = [counts.as_slice(), &[Word::F32(it.scale)]].concat();
    plan.dispatch(&MAGNITUDE, &params, &[theta, base, wa, aa, rot], [n_embd.div_ceil(64), 1, 1]);
}

/// Writes dm to `grad` from dg in `drot`.
pub fn magnitude_backward(plan: &mut Plan, edit: &Edit, it: &Magnitude, [rot, drot, grad]: [Buf; 3]) {
    let params = [edit.n_embd, it.m_at, it.g_at].map(Into::into);
    plan.dispatch(&MAGNITUDE_BACKWARD, &params, &[rot, drot, grad], [edit.n_embd.div_ceil(64), 1, 1]);
}

fn twin(call: &Call<'_>) {
    let [n_embd, rank, first, n_rows] = [0, 1, 2, 3].map(|i| call.usize(i));
    let [m_at, p_at, norms_at, g_at] = [4, 5, 6, 7].map(|i| call.usize(i));
    let scale = call.real(8);
    let (theta, base) = (call.f32(0), call.f32(1));
    let (wa, aa, mut rot) = (call.f32(2), call.f32(3), call.f32_mut(4));
    for d in 0..n_embd {
        let p: Vec<f32> = (0..rank).map(|r| theta[p_at + r * n_embd + d]).collect();
        let mut added = 0.0;
        for (r, p_r) in p.iter().enumerate() {
            added += p_r * (2.0 * wa[r * n_rows + first + d] + scale * dot(&p, &aa[r * rank..][..rank]));
        }
        let norm = base[norms_at + d];
        let square = norm * norm + scale * added;
        let inverse = if square > 0.0 { square.sqrt().recip() } else { 0.0 };
        rot[g_at + d] = theta[m_at + d] * inverse;
        rot[g_at + n_embd + d] = inverse;
    }
}

fn twin_backward(call: &Call<'_>) {
    let [n_embd, m_at, g_at] = [0, 1, 2].map(|i| call.usize(i));
    let (rot, drot, mut grad) = (call.f32(0), call.f32(1), call.f32_mut(2));
    for d in 0..n_embd {
        grad[m_at + d] = drot[g_at + d] * rot[g_at + n_embd + d];
    }
}

fn twin_norms(call: &Call<'_>) {
    let [n_in, from_row, norms_at] = [0, 1, 2].map(|i| call.usize(i));
    let mut norms = call.f32_mut(0);
    let mut w = vec![0.0; n_in];
    for row in 0..call.groups(0) {
        call.weight_row(from_row + row, &mut w);
        norms[norms_at + row] = dot(&w, &w).sqrt();
    }
}
