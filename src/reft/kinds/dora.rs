//! DoRA (Liu et al. 2024, arXiv:2402.09353): a LoRA of W₀ whose rows are then given learned lengths. With V = W₀ + s·Pᵀ·W, s as
//! LoRA has it, the matrix becomes g ∘ V, where gⱼ = mⱼ / ‖Vⱼ‖. The bias b₀ of the matrix, where it has one, is not scaled. In
//! gradients ‖Vⱼ‖ is a constant, as in the paper and in peft. A row of V that is 0 has 0 for g.
//!
//! Trained are W [R, I] and P [R, D] as for LoRA, and m `[D]`, peft's `lora_magnitude_vector`, which starts as the lengths of W₀'s
//! rows. Dropout drops numbers of the x that W reads; in peft W₀ reads that x, too, where it is scaled by g − 1.

use super::{Function, Kind, Learned, Projection, Usual};

pub(super) static DORA: Kind = Kind {
    name: "dora",
    equation: "b₀ + g ∘ (y − b₀ + alpha/rank · Pᵀ·W·x)",
    class: "peft.tuners.lora.dora.DoraLinearLayer",
    usual: Usual { components: &["query_output", "value_output"], positions: "all", ..Usual::REFT },
    function: Function::LowRank {
        projection: Projection::WithMagnitude,
        learned: Learned::Input,
        bias: false,
        subtracts: false,
    },
};
