//! ReFT-r1: one direction that detects and steers (Wu et al. 2025, arXiv:2501.17148; AxBench's `LsReFT`).
//!
//! In training each sequence is steered as strongly as it has the direction: with aᵢ = ReLU(w·hᵢ)
//!
//! ```text
//! h ← h + (1/k · Σ top-k a) · w        loss = cross-entropy + λ·Σ (mean of the a that are not among the top k), a sum over sequences
//! ```
//!
//! A step reports the cross-entropy alone. k is 8; λ rises from 0 to 0.005 over the training. Before each step w is made a unit vector,
//! and its gradient loses what is along w. After training every token is steered by the highest a of the last step: h + b·w, times the
//! strength. The first token, which is most models' begin token and unlike all others, is neither read nor edited.
//!
//! Trained is w, as P [1, D]; b `[1]` follows, and λ `[1]` is beside them.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static REFT_R1: Kind = Kind {
    name: "reft_r1",
    equation: "h + b·w",
    class: "axbench.models.LsReFT",
    usual: Usual { positions: "all", ..Usual::REFT },
    function: Function::LowRank {
        projection: Projection::Detecting,
        learned: Learned::Bias,
        bias: true,
        subtracts: false,
    },
};
