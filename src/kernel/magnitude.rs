//! Magnitudes of a weight matrix's rows (DoRA, arXiv:2402.09353): W₀ + s·B·A has rows of the lengths n, and is scaled to rows of
//! learned lengths m by g = m / n. W₀ is never expanded:
//!
//! ```text
//! n² = ‖W₀‖² + 2s·(B ∘ W₀Aᵀ) + s²·(B·AAᵀ ∘ B)      row by row, summed over the rank
//! ```
//!
//! In gradients n is a constant, as in the paper (section 4.3).

use super::copy::copy_from;
use super::declare::kernel;
use super::dense::{Dense, Rows, dense_into};
use super::lowrank_edit::Edit;
use super::matmul::matmul;
use super::scale_rows::Scale;
use super::{REDUCE, dot};
use crate::plan::{Buf, Matrix, Plan};
use crate::quant::Weight;

kernel! {
    /// The factors that scale the rows of W₀ + s·B·A.
    MAGNITUDE: magnitude {
        wgsl: [wgsl!("magnitude.wgsl")],
        params {
            n_embd: usize,
            rank: usize,
            first: usize,
            n_rows: usize,
            m_at: usize,
            p_at: usize,
            norms_at: usize,
            g_at: usize,
            scale: f32,
        }
        args { theta: In<f32>, base: In<f32>, wa: In<f32>, aa: In<f32>, rot: InOut<f32> }
        twin: twin,
    }
}

kernel! {
    /// The gradient of `magnitude` by m.
    MAGNITUDE_BACKWARD: magnitude_backward {
        wgsl: [wgsl!("magnitude_backward.wgsl")],
        params { n_embd: usize, m_at: usize, g_at: usize }
        args { rot: In<f32>, drot: In<f32>, grad: InOut<f32> }
        twin: twin_backward,
    }
}

kernel! {
    /// The lengths of the rows of a weight matrix.
    ROW_NORMS: row_norms(weight) {
        wgsl: [REDUCE, wgsl!("row_norms.wgsl")],
        params { n_in: usize, from_row: usize, n_rows: usize, norms_at: usize }
        args { norms: InOut<f32> }
        twin: twin_norms,
    }
}

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
        let n_rows = to.saturating_sub(from);
        let params = row_norms::Params {
            n_in: matrix.cols,
            from_row: from - slab.first_row,
            n_rows,
            norms_at: norms.at + from - first,
        };
        plan.dispatch_weight(&ROW_NORMS, params, row_norms::Bufs { norms: norms.buf }, slab, [1, n_rows, 1]);
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
    let Magnitude { scale, m_at, norms_at, g_at, .. } = *it;
    let n_rows = matrix.rows;
    let params = magnitude::Params { n_embd, rank, first, n_rows, m_at, p_at, norms_at, g_at, scale };
    plan.dispatch(
        &MAGNITUDE,
        params,
        magnitude::Bufs { theta, base, wa, aa, rot },
        [n_embd.div_ceil(64), 1, 1],
    );
}

/// Writes dm to `grad` from dg in `drot`.
pub fn magnitude_backward(plan: &mut Plan, edit: &Edit, it: &Magnitude, [rot, drot, grad]: [Buf; 3]) {
    plan.dispatch(
        &MAGNITUDE_BACKWARD,
        magnitude_backward::Params { n_embd: edit.n_embd, m_at: it.m_at, g_at: it.g_at },
        magnitude_backward::Bufs { rot, drot, grad },
        [edit.n_embd.div_ceil(64), 1, 1],
    );
}

fn twin(p: &magnitude::Params, a: magnitude::Args<'_>) {
    let magnitude::Params { n_embd, rank, first, n_rows, m_at, p_at, norms_at, g_at, scale } = *p;
    let magnitude::Args { theta, base, wa, aa, rot } = a;
    for d in 0..n_embd {
        let p: Vec<f32> = (0..rank).map(|r| theta[p_at + r * n_embd + d]).collect();
        let mut added = 0.0f64;
        for (r, p_r) in p.iter().enumerate() {
            let of_rank = 2.0 * wa[r * n_rows + first + d] + scale * dot(&p, &aa[r * rank..][..rank]);
            added += f64::from(p_r * of_rank);
        }
        let norm = base[norms_at + d];
        let square = norm * norm + scale * added as f32;
        let inverse = if square > 0.0 { square.sqrt().recip() } else { 0.0 };
        rot[g_at + d] = theta[m_at + d] * inverse;
        rot[g_at + n_embd + d] = inverse;
    }
}

fn twin_backward(p: &magnitude_backward::Params, a: magnitude_backward::Args<'_>) {
    let magnitude_backward::Params { n_embd, m_at, g_at } = *p;
    let magnitude_backward::Args { rot, drot, grad } = a;
    for d in 0..n_embd {
        grad[m_at + d] = drot[g_at + d] * rot[g_at + n_embd + d];
    }
}

fn twin_norms(p: &row_norms::Params, a: row_norms::Args<'_>, w: Weight<'_>) {
    let row_norms::Params { n_in, from_row, n_rows, norms_at } = *p;
    let row_norms::Args { norms } = a;
    let mut values = vec![0.0; n_in];
    for row in 0..n_rows {
        w.row(from_row + row, &mut values);
        norms[norms_at + row] = dot(&values, &values).sqrt();
    }
}
