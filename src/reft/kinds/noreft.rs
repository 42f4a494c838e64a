//! NoReFT: LoReFT whose projection need not be orthonormal.
//!
//! Trained are P [R, D], W [R, D], b `[R]`, and with `addBias` c `[R]`.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static NOREFT: Kind = Kind {
    name: "noreft",
    equation: "h + Pᵀ(act(W·h + b) − (P·h + c))",
    class: "pyreft.interventions.NoreftIntervention",
    usual: Usual::REFT,
    function: Function::LowRank {
        projection: Projection::Free,
        learned: Learned::State,
        bias: true,
        subtracts: true,
    },
};
