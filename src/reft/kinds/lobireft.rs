//! LobiReFT: a constant is added along R, a steering vector of low rank.
//!
//! Trained are b `[R]` and X [R, D], from which R [R, D] = B·Q(X) follows.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static LOBIREFT: Kind = Kind {
    name: "lobireft",
    equation: "h + Rᵀ·b",
    class: "pyreft.interventions.LobireftIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Orthonormal,
        learned: Learned::Bias,
        bias: true,
        subtracts: false,
    },
};
