//! The loop over epochs and batches, one call a step.

use super::{PendingLoss, Schedule, Sequence, Trainer};
use crate::error::{Error, Result};
use crate::kernel::Hyper;
use crate::model::Model;
use crate::reft::Reft;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Times that every example is seen.
    pub epochs: usize,
    /// Examples in a step; 0 takes all of them.
    pub batch_size: usize,
    /// The learning rate at its highest.
    pub learning_rate: f64,
    /// `constant` or `linear`.
    pub schedule: String,
    /// Steps over which the rate rises from 0.
    pub warmup_steps: usize,
    /// Where the order of the examples comes from.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            epochs: 20,
            batch_size: 0,
            learning_rate: 4e-3,
            schedule: "constant".to_owned(),
            warmup_steps: 0,
            seed: 0,
        }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainStep {
    /// Counted from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the batch's labels before the step, in nats.
    pub loss: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Tokens of the batch.
    pub tokens: usize,
}

/// A training under way.
pub struct Training {
    sequences: Vec<Sequence>,
    options: TrainOptions,
    schedule: Schedule,
    random: ChaCha8Rng,
    order: Vec<usize>,
    n_done: usize,
    pending: Option<(TrainStep, PendingLoss)>,
}

impl Training {
    /// A training on these sequences; nothing is run yet.
    ///
    /// # Errors
    /// `Input` if there are no sequences, or an option makes no sense.
    pub fn new(sequences: Vec<Sequence>, options: &TrainOptions) -> Result<Training> {
        if sequences.is_empty() {
            return Err(Error::input("examples: expected at least one"));
        }
        if options.epochs == 0 {
            return Err(Error::input("epochs: expected at least 1"));
        }
        check_rate(options.learning_rate)?;
        let mut options = options.clone();
        if options.batch_size == 0 || options.batch_size > sequences.len() {
            options.batch_size = sequences.len();
        }
        let steps = options.epochs * sequences.len().div_ceil(options.batch_size);
        let schedule = Schedule::named(&options.schedule, options.warmup_steps, steps)?;
        let random = ChaCha8Rng::seed_from_u64(options.seed);
        Ok(Training { sequences, options, schedule, random, order: Vec::new(), n_done: 0, pending: None })
    }

    /// Steps in all.
    pub fn n_steps(&self) -> usize {
        self.options.epochs * self.steps_an_epoch()
    }

    fn steps_an_epoch(&self) -> usize {
        self.sequences.len().div_ceil(self.options.batch_size)
    }

    /// Submits the next step and reports the one before it, so that the device never waits for a report; none at the end.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn next(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
    ) -> Result<Option<TrainStep>> {
        if self.pending.is_none() {
            self.pending = self.submit(model, reft, trainer)?;
        }
        let Some((report, loss)) = self.pending.take() else { return Ok(None) };
        self.pending = self.submit(model, reft, trainer)?;
        Ok(Some(TrainStep { loss: loss.mean().await?, ..report }))
    }

    fn submit(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
    ) -> Result<Option<(TrainStep, PendingLoss)>> {
        if self.n_done == self.n_steps() {
            return Ok(None);
        }
        let at = self.n_done % self.steps_an_epoch() * self.options.batch_size;
        if at == 0 {
            self.shuffle();
        }
        let end = (at + self.options.batch_size).min(self.sequences.len());
        let batch: Vec<&Sequence> = self.order[at..end].iter().map(|i| &self.sequences[*i]).collect();
        let rate = self.options.learning_rate * self.schedule.factor(self.n_done);
        let loss = trainer.step(model, reft, &batch, &Hyper::with_rate(rate))?;
        self.n_done += 1;
        let report = TrainStep {
            step: self.n_done,
            steps: self.n_steps(),
            epoch: (self.n_done - 1) / self.steps_an_epoch() + 1,
            loss: f64::NAN, // known when it is read
            learning_rate: rate,
            tokens: batch.iter().map(|sequence| sequence.tokens.len()).sum(),
        };
        Ok(Some((report, loss)))
    }

    /// A new order of the examples (Fisher and Yates).
    fn shuffle(&mut self) {
        self.order = (0..self.sequences.len()).collect();
        for i in (1..self.order.len()).rev() {
            let j = (self.random.next_u64() % (i as u64 + 1)) as usize;
            self.order.swap(i, j);
        }
    }
}

/// Fails unless a learning rate is a number above 0.
pub(crate) fn check_rate(rate: f64) -> Result<()> {
    match rate.is_finite() && rate > 0.0 {
        true => Ok(()),
        false => Err(Error::input(format!("learning rate {rate}: expected a number above 0"))),
    }
}
