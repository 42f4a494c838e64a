//! Learned lengths of the rows of a weight matrix, and what scales the rows to them.

use crate::kernel::{self, Edit, Magnitude, Rows};
use crate::plan::{Buf, Matrix, Plan};

/// The rows of one matrix of the model that a low-rank edit changes.
pub(super) struct Magnitudes {
    edit: Edit,
    it: Magnitude,
    matrix: Matrix,
}

impl Magnitudes {
    pub(super) fn new(edit: Edit, it: Magnitude, matrix: Matrix) -> Magnitudes {
        Magnitudes { edit, it, matrix }
    }

    /// Appends what writes the lengths of the model's own rows to `base`.
    pub(super) fn plan_norms(&self, plan: &mut Plan, base: Buf) {
        self.norms(plan, Rows { buf: base, at: self.it.norms_at });
    }

    /// Appends what sets the learned lengths in `theta` to those of the model's own rows.
    pub(super) fn plan_start(&self, plan: &mut Plan, theta: Buf) {
        self.norms(plan, Rows { buf: theta, at: self.it.m_at });
    }

    fn norms(&self, plan: &mut Plan, to: Rows) {
        kernel::row_norms(plan, &self.matrix, [self.edit.first, self.edit.n_embd], to);
    }

    /// Appends what writes the factors to `rot`.
    pub(super) fn plan(&self, plan: &mut Plan, bufs: [Buf; 3]) {
        kernel::magnitude(plan, &self.edit, &self.it, &self.matrix, bufs);
    }

    /// Appends what takes the factors' gradient in `drot` to that of the learned lengths in `grad`.
    pub(super) fn plan_backward(&self, plan: &mut Plan, bufs: [Buf; 3]) {
        kernel::magnitude_backward(plan, &self.edit, &self.it, bufs);
    }
}
