//! The hidden state is set to zero. Nothing is trained.

use super::{Function, Kind, Usual};

pub(super) static ZERO: Kind = Kind {
    name: "zero",
    equation: "0",
    class: "pyvene.models.interventions.ZeroIntervention",
    usual: Usual::REFT,
    function: Function::Mix { keep: 0.0, gain: 0.0 },
};
