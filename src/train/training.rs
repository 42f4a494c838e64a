//! The loop over epochs and batches, one call a step.

use super::validation::{Shown, hold_back};
use super::{Loss, PendingLoss, Schedule, Sequence, Task, TrainOptions, Trainer, reference};
use crate::error::{Error, Result};
use crate::kernel::{Dropout, Hyper, Optimizer};
use crate::model::Model;
use crate::reft::{Reft, Trained};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainStep {
    /// Counted from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Counted from 1.
    pub epoch: usize,
    /// Whether it is the last of its epoch.
    pub epoch_ends: bool,
    /// Mean over the batch's labels, sequences or pairs before the step; in nats for tokens.
    pub loss: f64,
    /// Of these the share that was right: tokens that were the likeliest, classes, pairs; none for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Tokens of the batch.
    pub tokens: usize,
    /// The loss of what is held back, after the step; where the step ends an epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// The share of it that is right, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
}

/// A step that is submitted and not reported.
pub(super) enum Pending {
    /// Its loss is on its way, and that of the validation after it, if there is one.
    OnItsWay(TrainStep, PendingLoss, Option<PendingLoss>),
    /// Its loss is known.
    Known(TrainStep),
}

impl Pending {
    /// The step's report.
    pub(super) async fn report(self) -> Result<TrainStep> {
        match self {
            Pending::Known(step) => Ok(step),
            Pending::OnItsWay(step, loss, validation) => {
                let Loss { mean: loss, accuracy, grad_norm } = loss.report().await?;
                let step = TrainStep { loss, accuracy, grad_norm, ..step };
                let Some(validation) = validation else { return Ok(step) };
                let shown = validation.report().await?;
                let (validation_loss, validation_accuracy) = (Some(shown.mean), shown.accuracy);
                Ok(TrainStep { validation_loss, validation_accuracy, ..step })
            }
        }
    }

    /// Whether a validation comes after it, on which it hangs what comes next.
    fn is_validated(&self) -> bool {
        match self {
            Pending::Known(step) => step.validation_loss.is_some(),
            Pending::OnItsWay(_, _, validation) => validation.is_some(),
        }
    }
}

/// A training under way.
pub struct Training {
    /// Those that are learned, then those that are held back.
    pub(super) sequences: Vec<Sequence>,
    /// Groups that are learned.
    n_learned: usize,
    task: Task,
    /// Sequences that stay together: the two of a pair, or one.
    group: usize,
    optimizer: Optimizer,
    is_prepared: bool,
    pub(super) options: TrainOptions,
    /// The options as the interventions' file tells them.
    told: Value,
    schedule: Schedule,
    pub(super) random: ChaCha8Rng,
    pub(super) order: Vec<usize>,
    pub(super) n_done: usize,
    pub(super) pending: Option<Pending>,
    pub(super) shown: Shown,
}

impl Training {
    /// A training on these sequences; nothing is run yet. Where the task is about pairs, they stand two by two.
    ///
    /// # Errors
    /// `Input` if there are no sequences, or an option makes no sense.
    pub fn new(sequences: Vec<Sequence>, task: Task, options: &TrainOptions) -> Result<Training> {
        if sequences.is_empty() {
            return Err(Error::input("examples: expected at least one"));
        }
        let optimizer = options.check()?;
        let group = if matches!(task, Task::Reward | Task::Preference { .. }) { 2 } else { 1 };
        let (sequences, n_learned) = hold_back(sequences, group, options)?;
        let mut options = options.clone();
        if options.batch_size == 0 || options.batch_size > n_learned {
            options.batch_size = n_learned;
        }
        let steps = options.epochs * n_learned.div_ceil(options.batch_size);
        let schedule = Schedule::named(&options.schedule, options.warmup_steps, steps)?;
        let random = ChaCha8Rng::seed_from_u64(options.seed);
        Ok(Training {
            sequences,
            n_learned,
            task,
            group,
            optimizer,
            is_prepared: false,
            told: options.json(),
            options,
            schedule,
            random,
            order: Vec::new(),
            n_done: 0,
            pending: None,
            shown: Shown::default(),
        })
    }

    /// The options as a script for another library reads them.
    ///
    /// # Errors
    /// `Unsupported` for a task other than next tokens.
    pub(crate) fn script_settings(&self) -> Result<Value> {
        if self.task != Task::Language {
            let task = self.task;
            return Err(Error::unsupported(format!("{task:?}: a script for pyreft learns next tokens only")));
        }
        // All of them are named: a new option does not compile until the script does what it says, or refuses it.
        let TrainOptions {
            epochs,
            batch_size,
            learning_rate,
            optimizer,
            weight_decay,
            max_grad_norm,
            at_once: _, // memory, and not what is learned
            beta: _,    // of another task
            schedule,
            warmup_steps,
            validation,
            patience: _,  // nothing without a validation
            keep_best: _, // nor this
            dropout,
            seed,
        } = &self.options;
        if *validation > 0.0 || *dropout > 0.0 {
            return Err(Error::unsupported(
                "validation and dropout: a script for pyreft learns from all examples, and all of their numbers",
            ));
        }
        Ok(json!({
            "epochs": epochs,
            "batchSize": batch_size,
            "learningRate": learning_rate,
            "optimizer": optimizer,
            "weightDecay": weight_decay,
            "maxGradNorm": max_grad_norm,
            "schedule": schedule,
            "warmupSteps": warmup_steps,
            "seed": seed,
        }))
    }

    /// The order of the examples in each epoch, of a training that has not begun.
    pub(crate) fn orders(mut self) -> Vec<Vec<usize>> {
        let n_epochs = self.options.epochs;
        (0..n_epochs).map(|_| shuffled(self.n_learned, &mut self.random)).collect()
    }

    /// Steps in all, if validation does not end the training before.
    pub fn n_steps(&self) -> usize {
        self.options.epochs * self.steps_an_epoch()
    }

    fn steps_an_epoch(&self) -> usize {
        self.n_learned.div_ceil(self.options.batch_size)
    }

    /// Whether no step is left, or validation has ended the training.
    fn is_over(&self) -> bool {
        self.n_done == self.n_steps() || self.shown.is_out_of(self.options.patience)
    }

    /// Submits the next step and reports the one before it, so that the device never waits for a report; none at the end. Whoever
    /// stops asking leaves one more step made than was reported, but after a validation, which says whether there is a next step.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn next(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
    ) -> Result<Option<TrainStep>> {
        if !self.is_prepared {
            self.prepare(model, reft, trainer).await?;
        }
        if self.pending.is_none() {
            self.pending = self.submit(model, reft, trainer)?;
        }
        let Some(pending) = self.pending.take() else { return Ok(None) };
        if !pending.is_validated() {
            self.pending = self.submit(model, reft, trainer)?;
        }
        let step = pending.report().await?;
        self.note(reft, trainer, step.loss);
        if let Some(loss) = step.validation_loss {
            self.shown.take_in(loss, self.options.keep_best, reft).await?;
            if self.is_over() {
                self.shown.restore(reft);
            }
        }
        Ok(Some(step))
    }

    /// Tells the interventions how they were trained so far.
    fn note(&self, reft: &Reft, trainer: &Trainer, loss: f64) {
        reft.note(Trained {
            options: self.told.clone(),
            examples: self.n_learned,
            steps: trainer.n_steps,
            loss: Some(loss).filter(|loss| loss.is_finite()),
        });
    }

    /// Tells the trainer what is learned, and asks the bare model what it says where that is the measure.
    async fn prepare(&mut self, model: &Model, reft: &Reft, trainer: &mut Trainer) -> Result<()> {
        trainer.task = self.task;
        trainer.at_once = self.options.at_once * self.group;
        trainer.set_dropout(Dropout { rate: self.options.dropout, seed: self.options.seed });
        if matches!(self.task, Task::Preference { .. }) {
            for sequence in &mut self.sequences {
                sequence.reference = reference(model, &[sequence]).await?[0];
            }
        }
        for sequence in &mut self.sequences {
            sequence.collect_source(model).await?;
        }
        if self.options.epochs > 1 {
            trainer.keep_states(model, reft, &mut self.sequences)?;
        }
        self.is_prepared = true;
        Ok(())
    }

    fn submit(&mut self, model: &Model, reft: &Reft, trainer: &mut Trainer) -> Result<Option<Pending>> {
        if self.is_over() {
            return Ok(None);
        }
        let at = self.n_done % self.steps_an_epoch() * self.options.batch_size;
        if at == 0 {
            self.order = shuffled(self.n_learned, &mut self.random);
        }
        let end = (at + self.options.batch_size).min(self.n_learned);
        let groups = self.order[at..end].iter().map(|i| &self.sequences[i * self.group..][..self.group]);
        let batch: Vec<&Sequence> = groups.flatten().collect();
        let rate = self.options.learning_rate * self.schedule.factor(self.n_done);
        let TrainOptions { weight_decay: decay, max_grad_norm: clip, .. } = self.options;
        let hyper = Hyper { optimizer: self.optimizer, decay, clip, ..Hyper::with_rate(rate) };
        reft.anneal(self.n_done as f32 / (self.n_steps() - 1).max(1) as f32);
        let loss = trainer.step(model, reft, &batch, &hyper)?;
        self.n_done += 1;
        let report = TrainStep {
            step: self.n_done,
            steps: self.n_steps(),
            epoch: (self.n_done - 1) / self.steps_an_epoch() + 1,
            epoch_ends: self.n_done.is_multiple_of(self.steps_an_epoch()),
            loss: f64::NAN, // known when it is read, as are the next
            accuracy: None,
            grad_norm: f64::NAN,
            learning_rate: rate,
            tokens: batch.iter().map(|sequence| sequence.tokens.len()).sum(),
            validation_loss: None,
            validation_accuracy: None,
        };
        let validation = match report.epoch_ends {
            true => self.validate(model, reft, trainer)?,
            false => None,
        };
        Ok(Some(Pending::OnItsWay(report, loss, validation)))
    }

    /// Asks how what is held back fares, if anything is; as many at once as in a step.
    fn validate(&self, model: &Model, reft: &Reft, trainer: &mut Trainer) -> Result<Option<PendingLoss>> {
        let held: Vec<&Sequence> = self.sequences[self.n_learned * self.group..].iter().collect();
        let batches = held.chunks(self.options.batch_size * self.group);
        let losses = batches.map(|batch| trainer.evaluate(model, reft, batch));
        losses.reduce(|all, more| Ok(all?.join(more?))).transpose()
    }
}

/// The numbers below `n` in a new order (Fisher and Yates).
pub(super) fn shuffled(n: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let j = (random.next_u64() % (i as u64 + 1)) as usize;
        order.swap(i, j);
    }
    order
}
