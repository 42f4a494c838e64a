//! Distributed interchange in the first dimensions of a whole turned space (Geiger et al. 2023, arXiv:2303.02536).
//!
//! Trained is X [D, D], from which R [D, D] = B·expm(tril(X) − tril(X)ᵀ) follows; R₀ are its first `rank` rows; s is a row of a run of
//! the same model on another text. The same function as `dii_lowrank`, by another road: what is not edited is trained, too.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static DII_ROTATED: Kind = Kind {
    name: "dii_rotated",
    equation: "h + R₀ᵀ(R₀·s − R₀·h)",
    class: "pyvene.models.interventions.RotatedSpaceIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Square,
        learned: Learned::Source,
        bias: false,
        subtracts: true,
    },
};
