//! A trained head: what a classifier, a regression or a reward model reads off the last hidden states.
//!
//! scores = W·norm(h) + b, h the last token's hidden state after all layers; Transformers' `score` of a
//! `…ForSequenceClassification`, which has no b. Or in place of norm(h) the mean of it over all tokens.

use super::rotation::normal;
use crate::error::{Error, Result};
use crate::kernel::Dense;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// What a head reads of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The last token.
    #[default]
    Last,
    /// The mean of all tokens.
    Mean,
}

/// A head as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeadConfig {
    /// Scores it gives: classes, numbers, or one reward.
    pub outputs: usize,
    /// Whether it has b.
    #[serde(default)]
    pub bias: bool,
    /// What it reads of a sequence.
    #[serde(default)]
    pub pooling: Pooling,
    /// Where the random start comes from.
    #[serde(default)]
    pub seed: u64,
}

/// The numbers of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadParams {
    /// W [N, D].
    pub weight: Vec<f32>,
    /// b `[N]`, empty where there is none.
    pub bias: Vec<f32>,
}

/// A head of some interventions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// As it was asked for.
    pub config: HeadConfig,
    /// Where its numbers lie.
    pub dense: Dense,
}

impl HeadConfig {
    pub(super) fn check(&self) -> Result<()> {
        match self.outputs {
            1..=65_536 => Ok(()),
            n => Err(Error::input(format!("head of {n} outputs: expected 1 to 65536"))),
        }
    }

    /// A random start: W normal with deviation 0.02, as Transformers', b 0.
    pub(super) fn random(&self, n_embd: usize) -> HeadParams {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let weight = (0..self.outputs * n_embd).map(|_| (0.02 * normal(&mut random)) as f32).collect();
        HeadParams { weight, bias: vec![0.0; if self.bias { self.outputs } else { 0 }] }
    }

    /// The head whose numbers begin at `at`.
    pub(super) fn place(self, n_embd: usize, at: usize) -> Head {
        let b_at = self.bias.then_some(at + self.outputs * n_embd);
        Head { config: self, dense: Dense { n_in: n_embd, n_out: self.outputs, w_at: at, b_at } }
    }
}

impl Head {
    /// Its numbers in a flat buffer.
    pub fn numbers(&self, theta: &[f32]) -> HeadParams {
        let Dense { n_in, n_out, w_at, b_at } = self.dense;
        HeadParams {
            weight: theta[w_at..][..n_in * n_out].to_vec(),
            bias: b_at.map_or(Vec::new(), |at| theta[at..][..n_out].to_vec()),
        }
    }
}
