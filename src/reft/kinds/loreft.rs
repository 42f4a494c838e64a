//! LoReFT: the subspace that R spans is set to what W and b say (Wu et al. 2024, arXiv:2404.03592, eq. 2).
//!
//! Trained are W [R, D], b `[R]` and X [R, D], from which R [R, D] = B·Q(X) follows.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static LOREFT: Kind = Kind {
    name: "loreft",
    equation: "h + Rᵀ(act(W·h + b) − R·h)",
    class: "pyreft.interventions.LoreftIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Orthonormal,
        learned: Learned::State,
        bias: true,
        subtracts: true,
    },
};
