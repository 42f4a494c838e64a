//! Distributed interchange: the subspace is set to what it is in another run (Geiger et al. 2023, arXiv:2303.02536). With R trained on
//! counterfactual pairs this is distributed alignment search.
//!
//! Trained is X [R, D], from which R [R, D] = B·Q(X) follows; s is a row of a run of the same model on another text.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static DII_LOWRANK: Kind = Kind {
    name: "dii_lowrank",
    equation: "h + Rᵀ(R·s − R·h)",
    class: "pyvene.models.interventions.LowRankRotatedSpaceIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Orthonormal,
        learned: Learned::Source,
        bias: false,
        subtracts: true,
    },
};
