//! Prefix tuning (Li and Liang 2021, arXiv:2101.00190; P-tuning v2, arXiv:2110.07602): virtual tokens before the prompt, whose keys and
//! values in every layer are trained. They have no position: keys are as trained, not turned.
//!
//! Trained is E [N, 2·L·G·K], N `virtualTokens`, each row keys and values of layer after layer, as peft has them; or, where `encoder`
//! gives a width, what E follows from: Z [N, G·K] and two matrices with biases and tanh between them. `rank` says nothing here.

use super::{Activation, Encoded, Function, Kind, Usual};

pub(super) static PREFIX_TUNING: Kind = Kind {
    name: "prefix_tuning",
    equation: "E, or L₂(tanh(L₁(Z)))",
    class: "peft.tuners.prefix_tuning.PrefixEncoder",
    usual: Usual { components: &["key_output", "value_output"], positions: "f1", ..Usual::REFT },
    function: Function::Rows { encoder: Encoded::IfAsked(2, Activation::Tanh), placed: false },
};
