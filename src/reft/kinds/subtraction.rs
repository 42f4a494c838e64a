//! The hidden state of another run is taken away. Nothing is trained.

use super::{Function, Kind, Usual};

pub(super) static SUBTRACTION: Kind = Kind {
    name: "subtraction",
    equation: "h − s",
    class: "pyvene.models.interventions.SubtractionIntervention",
    usual: Usual::REFT,
    function: Function::Mix { keep: 1.0, gain: -1.0 },
};
