//! The hidden state of another run is added. Nothing is trained.

use super::{Function, Kind, Usual};

pub(super) static ADDITION: Kind = Kind {
    name: "addition",
    equation: "h + s",
    class: "pyvene.models.interventions.AdditionIntervention",
    usual: Usual::REFT,
    function: Function::Mix { keep: 1.0, gain: 1.0 },
};
