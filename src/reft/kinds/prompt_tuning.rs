//! Prompt tuning (Lester et al. 2021, arXiv:2104.08691): virtual tokens before the prompt, whose embeddings are trained.
//!
//! Trained is E [N, D], N `virtualTokens`; it starts as the embeddings of N random tokens. `rank` says nothing here.

use super::{Encoded, Function, Kind, Usual};

pub(super) static PROMPT_TUNING: Kind = Kind {
    name: "prompt_tuning",
    equation: "E",
    class: "peft.tuners.prompt_tuning.PromptEmbedding",
    usual: Usual { layers: "first", components: &["block_input"], positions: "f1", ..Usual::REFT },
    function: Function::Rows { encoder: Encoded::No, placed: true },
};
