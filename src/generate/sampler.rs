//! The state of sampling on the device: the tokens chosen last, which are the next step's input, and the settings.

use super::GenerateOptions;
use crate::backend::{Backend, Control, Prepared};
use crate::error::Result;
use crate::kernel::{self, Choice, SampleSettings};
use crate::plan::{Buf, Plan, Record};
use crate::tensor::{Readback, Tensor};

pub(super) struct Sampler {
    /// The token of each sequence `[B]`.
    pub(super) tokens: Tensor,
    settings: Tensor,
    choice: Choice,
    n_drawn: u32,
}

impl Sampler {
    pub(super) fn new(backend: &Backend, n_sequences: usize, options: &GenerateOptions) -> Result<Sampler> {
        let GenerateOptions { temperature, top_k, top_p, min_p, seed, .. } = *options;
        Ok(Sampler {
            tokens: backend.tensor("tokens", &[n_sequences])?,
            settings: backend.tensor("settings", &[n_sequences, SampleSettings::WORDS])?,
            choice: Choice { temperature, top_k, top_p, min_p, seed },
            n_drawn: 0,
        })
    }

    /// Appends the choice of a token of each sequence by its logits [B, V].
    pub(super) fn plan(&self, plan: &mut Plan, logits: Buf) {
        let [settings, tokens] = [&self.settings, &self.tokens].map(|tensor| plan.tensor(tensor));
        kernel::sample(plan, logits, settings, tokens);
    }

    /// Runs a plan that chooses tokens, and returns them. A run that fails draws nothing.
    pub(super) async fn draw(&mut self, prepared: &Prepared, control: &dyn Control) -> Result<Readback> {
        self.write_settings();
        let mut read = prepared.run_with(&[&self.tokens], control).await?;
        self.n_drawn += 1;
        Ok(read.pop().expect("one tensor is read"))
    }

    /// Writes the settings of the next draw; the same in every sequence, so that answers differ by their edits alone.
    fn write_settings(&self) {
        let words = self.choice.settings(self.n_drawn).words();
        let n_sequences = self.tokens.shape()[0];
        self.settings.write(0, &words.repeat(n_sequences));
    }

    /// Takes so many draws back: the next step reads these tokens again.
    pub(super) fn take_back(&mut self, n_draws: u32, tokens: &[u32]) {
        self.n_drawn -= n_draws;
        self.tokens.write(0, tokens);
    }
}
