//! DiReFT as pyreft has it: the learned source is added along R, whatever is there already. The paper's DiReFT, without orthonormal
//! rows, is pyreft's and our `nodireft`.
//!
//! Trained are W [R, D], b `[R]` and X [R, D], from which R [R, D] = B·Q(X) follows.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static DIREFT: Kind = Kind {
    name: "direft",
    equation: "h + Rᵀ·act(W·h + b)",
    class: "pyreft.interventions.DireftIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Orthonormal,
        learned: Learned::State,
        bias: true,
        subtracts: false,
    },
};
