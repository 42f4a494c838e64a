//! LoRA (Hu et al. 2021, arXiv:2106.09685): what a weight matrix W₀ gives, y = W₀·x, is changed as if W₀ were. An edit of y that reads
//! x; the edit is multiplied by `alpha` / rank, or with `rslora` by alpha / √rank.
//!
//! Trained are W [R, I], peft's `lora_A`, and P [R, D], peft's `lora_B` transposed, which starts at 0.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static LORA: Kind = Kind {
    name: "lora",
    equation: "y + alpha/rank · Pᵀ·W·x",
    class: "peft.tuners.lora.Linear",
    usual: Usual { components: &["query_output", "value_output"], positions: "all", ..Usual::REFT },
    function: Function::LowRank {
        projection: Projection::FromZero,
        learned: Learned::Input,
        bias: false,
        subtracts: false,
    },
};
