//! The whole hidden state is swapped for that of another run. Nothing is trained.

use super::{Function, Kind, Usual};

pub(super) static INTERCHANGE: Kind = Kind {
    name: "interchange",
    equation: "s",
    class: "pyvene.models.interventions.VanillaIntervention",
    usual: Usual::REFT,
    function: Function::Mix { keep: 0.0, gain: 1.0 },
};
