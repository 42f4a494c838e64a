//! The kinds of intervention, a file each. Nearly all are one low-rank edit
//!
//! ```text
//! h + Pᵀ(act(z) − (P·h + c))
//! ```
//!
//! with different P (orthonormal, or free), different z, and with or without what is subtracted. A kind is a line in
//! [`KINDS`]; its parameters, files, options and documentation follow from it.

mod addition;
mod boundless_das;
mod consreft;
mod dii_lowrank;
mod dii_rotated;
mod direft;
mod dora;
mod ia3;
mod interchange;
mod lobireft;
mod lora;
mod loreft;
mod nodireft;
mod noreft;
mod p_tuning;
mod parallel_adapter;
mod prefix_tuning;
mod prompt_tuning;
mod reft_r1;
mod series_adapter;
mod steering_vector;
mod subtraction;
mod zero;

pub use crate::kernel::{Activation, Learned};

/// Every kind there is. A new one is a file and a line.
pub static KINDS: [&Kind; 23] = [
    &loreft::LOREFT,
    &direft::DIREFT,
    &noreft::NOREFT,
    &nodireft::NODIREFT,
    &consreft::CONSREFT,
    &lobireft::LOBIREFT,
    &dii_lowrank::DII_LOWRANK,
    &dii_rotated::DII_ROTATED,
    &boundless_das::BOUNDLESS_DAS,
    &lora::LORA,
    &dora::DORA,
    &series_adapter::SERIES_ADAPTER,
    &parallel_adapter::PARALLEL_ADAPTER,
    &ia3::IA3,
    &prompt_tuning::PROMPT_TUNING,
    &p_tuning::P_TUNING,
    &prefix_tuning::PREFIX_TUNING,
    &steering_vector::STEERING_VECTOR,
    &reft_r1::REFT_R1,
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
    /// Where it stands if nothing is said.
    pub usual: Usual,
    /// Its arithmetic.
    pub function: Function,
}

/// Where a kind stands and what is around z, as options say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// The layers: `all`, or `first`.
    pub layers: &'static str,
    /// The parts of a layer.
    pub components: &'static [&'static str],
    /// The edited tokens.
    pub positions: &'static str,
    /// The function around z.
    pub act: &'static str,
}

impl Usual {
    /// pyreft's: the first and the last token of the prompt, at the output of every layer.
    const REFT: Usual =
        Usual { layers: "all", components: &["block_output"], positions: "f1+l1", act: "linear" };
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
    /// h ∘ l
    Scale,
    /// A learned row in place of a virtual token's.
    Rows {
        /// The network that the rows follow from, where they do.
        encoder: Encoded,
        /// Whether virtual tokens have positions as others have.
        placed: bool,
    },
}

/// Whether learned rows follow from others by a network, of as many layers, with a function between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// They are trained as they are.
    No,
    /// Always.
    By(usize, Activation),
    /// Where the option `encoder` gives its width.
    IfAsked(usize, Activation),
}

/// What P [R, D] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// R = B·Q(X), whose rows are orthonormal at every step.
    Orthonormal,
    /// The first rows of a square rotation R [D, D] = B·expm(X − Xᵀ).
    Square,
    /// All of a square rotation, with a learned boundary between the dimensions that are edited and those that are not.
    Boundless,
    /// Trained as it is; c `[R]` may stand beside it.
    Free,
    /// Trained as it is, from 0 on: at the start nothing is changed.
    FromZero,
    /// The same beside learned magnitudes m `[D]`: the lengths of the rows of the matrix that is changed.
    WithMagnitude,
    /// A unit row, trained as it is. While it is trained, its products with hidden states say how strong edits are.
    Detecting,
}

impl Projection {
    /// Whether its rows are orthonormal.
    pub fn is_orthonormal(self) -> bool {
        matches!(self, Projection::Orthonormal | Projection::Square | Projection::Boundless)
    }

    /// Whether it starts at 0.
    pub fn is_from_zero(self) -> bool {
        matches!(self, Projection::FromZero | Projection::WithMagnitude)
    }

    /// Whether it is made from as many rows as columns.
    pub fn is_square(self) -> bool {
        matches!(self, Projection::Square | Projection::Boundless)
    }
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
            Function::Scale | Function::Rows { .. } => false,
        }
    }

    /// Whether it learns the lengths of a matrix's rows.
    pub fn has_magnitude(&self) -> bool {
        matches!(self.function, Function::LowRank { projection: Projection::WithMagnitude, .. })
    }

    /// Whether it edits virtual tokens, which come before the prompt.
    pub fn is_virtual(&self) -> bool {
        matches!(self.function, Function::Rows { .. })
    }

    /// Whether it detects its direction while it is trained.
    pub fn detects(&self) -> bool {
        matches!(self.function, Function::LowRank { projection: Projection::Detecting, .. })
    }

    /// Whether it has parameters to be trained.
    pub fn is_trained(&self) -> bool {
        !matches!(self.function, Function::Mix { .. })
    }
}
