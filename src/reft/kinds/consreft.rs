//! ConsReFT: the subspace is set to a constant.
//!
//! Trained are b `[R]` and X [R, D], from which R [R, D] = B·Q(X) follows.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static CONSREFT: Kind = Kind {
    name: "consreft",
    equation: "h + Rᵀ(b − R·h)",
    class: "pyreft.interventions.ConsreftIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Orthonormal,
        learned: Learned::Bias,
        bias: true,
        subtracts: true,
    },
};
