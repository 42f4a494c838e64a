//! (IA)³ (Liu et al. 2022, arXiv:2205.05638): keys, values and what the feed-forward layer's gate lets through are scaled by learned
//! vectors. To scale what the gate lets through is to scale the input of `down_proj`, as peft does.
//!
//! Trained is l `[D]`, which starts at 1. `rank` says nothing here.

use super::{Function, Kind, Usual};

pub(super) static IA3: Kind = Kind {
    name: "ia3",
    equation: "y ∘ l",
    class: "peft.tuners.ia3.Linear",
    usual: Usual {
        components: &["key_output", "value_output", "up_output"],
        positions: "all",
        ..Usual::REFT
    },
    function: Function::Scale,
};
