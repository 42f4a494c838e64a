//! The kinds of intervention, a file each. Nearly all are one low-rank edit
//!
//! ```text
//! h + Pᵀ(act(z) − (P·h + c))
//! ```
//!
//! with different P (orthonormal, or free), different z, and with or without what is subtracted. A kind is a line in
//! [`KINDS`]; its parameters, files, options and documentation follow from it.

mod addition;
mod consreft;
mod dii_lowrank;
mod direft;
mod interchange;
mod lobireft;
mod lora;
mod loreft;
mod nodireft;
mod noreft;
mod subtraction;
mod zero;

pub use crate::kernel::Learned;

/// Every kind there is. A new one is a file and a line.
pub static KINDS: [&Kind; 12] = [
    &loreft::LOREFT,
    &direft::DIREFT,
    &noreft::NOREFT,
    &nodireft::NODIREFT,
    &consreft::CONSREFT,
    &lobireft::LOBIREFT,
    &dii_lowrank::DII_LOWRANK,
    &lora::LORA,
    &interchange::INTERCHANGE,
    &addition::ADDITION,
    &subtraction::SUBTRACTION,
    &zero::ZERO,
];

/// What an intervention does to a hidden state h.
#[derive(Debug, PartialEq)]
pub struct Kind {
    /// The name in options and files.
    pub name: &'static str,
    /// h ↦
    pub equation: &'static str,
    /// pyreft's, pyvene's or peft's class.
    pub class: &'static str,
    /// Its arithmetic.
    pub function: Function,
}

/// The arithmetic of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// h + Pᵀ(act(z) − (P·h + c))
    LowRank {
        /// What P is.
        projection: Projection,
        /// What z is made of.
        learned: Learned,
        /// Whether z has b.
        bias: bool,
        /// Whether P·h + c is taken away.
        subtracts: bool,
    },
    /// keep · h + gain · s; nothing is trained.
    Mix {
        /// What stays of the row.
        keep: f32,
        /// What comes of the other run's.
        gain: f32,
    },
}

/// What P [R, D] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// R = B·Q(X), whose rows are orthonormal at every step.
    Orthonormal,
    /// Trained as it is; c `[R]` may stand beside it.
    Free,
}

impl Kind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.into_iter().find(|kind| kind.name == name)
    }

    /// Whether it reads hidden states of another run.
    pub fn reads_source(&self) -> bool {
        match self.function {
            Function::LowRank { learned, .. } => learned == Learned::Source,
            Function::Mix { gain, .. } => gain != 0.0,
        }
    }

    /// The positions it has where none are asked for.
    pub fn usual_positions(&self) -> &'static str {
        match self.function {
            Function::LowRank { learned: Learned::Input, .. } => "all",
            _ => "f1+l1",
        }
    }

    /// Whether it has parameters to be trained.
    pub fn is_trained(&self) -> bool {
        matches!(self.function, Function::LowRank { .. })
    }
}
