//! The paper's DiReFT (Wu et al. 2024, eq. 3): a low-rank map of h is added, as a LoRA on the hidden state would.
//!
//! Trained are P [R, D], W [R, D] and b `[R]`. With `addBias` there is c `[R]`, too, which pyreft counts and saves, and never uses.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static NODIREFT: Kind = Kind {
    name: "nodireft",
    equation: "h + Pᵀ·act(W·h + b)",
    class: "pyreft.interventions.NodireftIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Free,
        learned: Learned::State,
        bias: true,
        subtracts: false,
    },
};
