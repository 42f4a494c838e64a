//! The whole hidden state is swapped for that of another run. Nothing is trained.

use super::{Function, Kind};

pub(super) static INTERCHANGE: Kind = Kind {
    name: "interchange",
    equation: "s",
    class: "pyvene.models.interventions.VanillaIntervention",
    function: Function::Mix { keep: 0.0, gain: 1.0 },
};
