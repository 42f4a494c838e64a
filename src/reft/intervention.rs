//! One intervention of a set: where it stands, what it does, and where its numbers lie.

use super::kinds::{Function, Kind, Learned, Projection};
use super::{CountedRow, Part, Positions, Sizes};
use crate::error::{Error, Result};
use crate::kernel::{Activation, Detection, Edit, LearnedRows, Magnitude, Mix, Rotation, Scale};
use crate::model::{Place, Window};

/// One intervention: where it stands, what it edits, and where its numbers lie.
#[derive(Clone, Debug)]
pub struct Intervention {
    /// What it does.
    pub kind: &'static Kind,
    /// Layer and component.
    pub place: Place,
    /// The head it stands in, where it stands in one.
    pub head: Option<usize>,
    /// The layer of the other run that it reads, where its kind reads one.
    pub source_layer: usize,
    /// Which tokens it edits.
    pub positions: Positions,
    /// Its arithmetic.
    pub arithmetic: Arithmetic,
    /// What each edit is multiplied by; 1 for a DoRA, whose magnitudes know its scale.
    pub scale: f32,
    /// The intervention whose parameters it has: itself, unless they are shared.
    pub owner: usize,
    /// How many numbers its parameters are.
    pub sizes: Sizes,
    /// Where they begin in `theta`.
    pub theta_at: usize,
}

/// The arithmetic of an intervention, as kernels take it.
#[derive(Clone, Copy, Debug)]
pub enum Arithmetic {
    /// A low-rank edit.
    LowRank {
        /// The edit itself.
        edit: Edit,
        /// The rotation that it turns by, where it has one.
        rotation: Option<Rotation>,
        /// Where in `theta` the boundary of its subspace lies, where one is learned.
        boundary: Option<usize>,
        /// Where the magnitudes of the matrix's rows lie, where they are learned.
        magnitude: Option<Magnitude>,
        /// Where the numbers of its detection lie, where it detects while it is trained.
        detection: Option<Detection>,
    },
    /// A row mixed with one of another run.
    Mix(Mix),
    /// A row scaled by a learned vector.
    Scale(Scale),
    /// A virtual token's row, which is learned.
    Rows(LearnedRows),
}

/// What an intervention drops in training with dropout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Numbers of the edited rows.
    Row,
    /// Numbers of the input that it reads.
    Input,
}

impl Intervention {
    /// The low-rank edit, if it is one.
    pub fn edit(&self) -> Option<&Edit> {
        match &self.arithmetic {
            Arithmetic::LowRank { edit, .. } => Some(edit),
            _ => None,
        }
    }

    /// The rotation, if it has one.
    pub fn rotation(&self) -> Option<&Rotation> {
        match &self.arithmetic {
            Arithmetic::LowRank { rotation, .. } => rotation.as_ref(),
            _ => None,
        }
    }

    /// Whether an edit that is as strong in all dimensions of the subspace depends on nothing but the span of R's rows, as
    /// h + Rᵀ(R·s − R·h) does.
    pub(super) fn sees_only_span(&self) -> bool {
        self.edit().is_some_and(|edit| {
            let is_plain = edit.act == Activation::Linear && edit.b_at.is_none() && edit.c_at.is_none();
            edit.learned == Learned::Source && edit.subtracts && is_plain
        })
    }

    /// Where its magnitudes lie, if it has any.
    pub fn magnitude(&self) -> Option<&Magnitude> {
        match &self.arithmetic {
            Arithmetic::LowRank { magnitude, .. } => magnitude.as_ref(),
            _ => None,
        }
    }

    /// Where the numbers of its detection lie, if it has one.
    pub fn detection(&self) -> Option<Detection> {
        match &self.arithmetic {
            Arithmetic::LowRank { detection, .. } => *detection,
            _ => None,
        }
    }

    /// The columns it edits.
    pub fn window(&self) -> Window {
        let first = match &self.arithmetic {
            Arithmetic::LowRank { edit, .. } => edit.first,
            Arithmetic::Mix(mix) => mix.first,
            Arithmetic::Scale(scale) => scale.first,
            Arithmetic::Rows(rows) => rows.first,
        };
        Window { first, width: self.sizes.n_embd }
    }

    /// Numbers that say how much of an edit of one row is made: one for each dimension of the subspace, or one; a DoRA's is whole.
    pub fn strengths(&self) -> usize {
        self.edit().filter(|_| self.magnitude().is_none()).map_or(1, |edit| edit.rank)
    }

    /// The rows that it edits of a sequence of `n_tokens`, the first `n_prompt` of which are the prompt, behind `n_virtual` virtual
    /// tokens: row, and how often it counts in gradients; of virtual tokens row, and which of them it is.
    pub fn rows(&self, n_virtual: usize, n_prompt: usize, n_tokens: usize) -> Vec<CountedRow> {
        let n_own = self.sizes.n_virtual as u32;
        match self.kind.is_virtual() {
            true => (0..n_own).map(|row| [row, row]).collect(),
            false => {
                let rows = self.positions.rows(n_prompt, n_tokens).into_iter();
                rows.filter(|[row, _]| *row > 0 || !self.kind.detects())
                    .map(|[row, count]| [row + n_virtual as u32, count])
                    .collect()
            }
        }
    }

    /// What dropout is for: the edited rows of pyreft's kinds, the input that a LoRA or a parallel adapter reads, nothing of the others.
    pub(crate) fn drops(&self) -> Option<Dropped> {
        match self.kind.function {
            Function::LowRank { learned: Learned::Input | Learned::SublayerInput, .. } => {
                Some(Dropped::Input)
            }
            Function::LowRank { projection: Projection::FromZero | Projection::Detecting, .. } => None,
            Function::LowRank { learned: Learned::Bias | Learned::State, .. } => Some(Dropped::Row),
            _ => None,
        }
    }

    /// Fails unless `got` numbers are the hidden states of another run that edits of so many rows read.
    pub(crate) fn check_source(&self, n_rows: usize, got: usize) -> Result<()> {
        let expected = if self.kind.reads_source() { n_rows * self.sizes.n_embd } else { got };
        match got == expected {
            true => Ok(()),
            false => Err(Error::input(format!(
                "{} reads hidden states of another run: expected {expected} numbers for {n_rows} rows, got {got}",
                self.kind.name
            ))),
        }
    }

    /// Where its parameters lie in `theta`, by name.
    pub fn parts(&self) -> Vec<Part> {
        self.sizes.parts(self.theta_at)
    }
}
