//! The hidden state of another run is added. Nothing is trained.

use super::{Function, Kind};

pub(super) static ADDITION: Kind = Kind {
    name: "addition",
    equation: "h + s",
    class: "pyvene.models.interventions.AdditionIntervention",
    function: Function::Mix { keep: 1.0, gain: 1.0 },
};
