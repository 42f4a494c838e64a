//! P-tuning (Liu et al. 2021, arXiv:2103.10385): virtual tokens before the prompt, whose embeddings follow from trained ones by a trained
//! network, peft's `PromptEncoder` with its MLP.
//!
//! Trained are the embedding Z [N, D], N `virtualTokens`, and three matrices with biases, to width `encoder` (D if it is 0), to the same
//! again, and back to D. `rank` says nothing here.

use super::{Activation, Encoded, Function, Kind, Usual};

pub(super) static P_TUNING: Kind = Kind {
    name: "p_tuning",
    equation: "L₃(relu(L₂(relu(L₁(Z)))))",
    class: "peft.tuners.p_tuning.PromptEncoder",
    usual: Usual { layers: "first", components: &["block_input"], positions: "f1", ..Usual::REFT },
    function: Function::Rows { encoder: Encoded::By(3, Activation::Relu), placed: true },
};
