//! The loop over epochs and batches, one call a step.

use super::{PendingLoss, Schedule, Sequence, Task, Trainer, reference};
use crate::error::{Error, Result};
use crate::kernel::{Hyper, Optimizer};
use crate::model::Model;
use crate::reft::{Reft, Trained};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// `adamw`, `adam` or `sgd`.
    pub optimizer: String,
    /// Weight decay; a rotation's fixed parts never decay.
    pub weight_decay: f64,
    /// The gradient is made no longer than this; 0 leaves it as it is.
    pub max_grad_norm: f64,
    /// Examples that go through the model at once, where a whole step's find no room; 0 takes all of them. Gradients are summed.
    pub at_once: usize,
    /// How fast a difference counts in learning from preferences (DPO's beta).
    pub beta: f32,
    /// `constant`, `linear` or `cosine`.
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
            optimizer: Optimizer::default().name().to_owned(),
            weight_decay: 0.0,
            max_grad_norm: 0.0,
            at_once: 0,
            beta: 0.1,
            schedule: "constant".to_owned(),
            warmup_steps: 0,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// As JSON, in the fewest digits that read back as the same numbers.
    fn json(&self) -> Value {
        let text = serde_json::to_string(self).expect("plain data");
        serde_json::from_str(&text).expect("just written")
    }
}

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
    /// The length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Tokens of the batch.
    pub tokens: usize,
}

/// A step that is submitted and not reported.
pub(super) enum Pending {
    /// Its loss is on its way.
    OnItsWay(TrainStep, PendingLoss),
    /// Its loss is known.
    Known(TrainStep),
}

impl Pending {
    /// The step's report.
    pub(super) async fn report(self) -> Result<TrainStep> {
        match self {
            Pending::Known(step) => Ok(step),
            Pending::OnItsWay(step, loss) => {
                let loss = loss.report().await?;
                Ok(TrainStep { loss: loss.mean, grad_norm: loss.grad_norm, ..step })
            }
        }
    }
}

/// A training under way.
pub struct Training {
    pub(super) sequences: Vec<Sequence>,
    task: Task,
    /// Sequences that stay together: the two of a pair, or one.
    group: usize,
    optimizer: Optimizer,
    is_prepared: bool,
    pub(super) options: TrainOptions,
    schedule: Schedule,
    pub(super) random: ChaCha8Rng,
    pub(super) order: Vec<usize>,
    pub(super) n_done: usize,
    pub(super) pending: Option<Pending>,
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
        if options.epochs == 0 {
            return Err(Error::input("epochs: expected at least 1"));
        }
        check_rate(options.learning_rate)?;
        let optimizer =
            Optimizer::ALL.into_iter().find(|it| it.name() == options.optimizer).ok_or_else(|| {
                Error::not_known("optimizer", &options.optimizer, Optimizer::ALL.map(Optimizer::name))
            })?;
        for (name, value) in [("weightDecay", options.weight_decay), ("maxGradNorm", options.max_grad_norm)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::input(format!("{name} {value}: expected 0 or more")));
            }
        }
        let group = if matches!(task, Task::Reward | Task::Preference { .. }) { 2 } else { 1 };
        let n_groups = sequences.len() / group;
        let mut options = options.clone();
        if options.batch_size == 0 || options.batch_size > n_groups {
            options.batch_size = n_groups;
        }
        let steps = options.epochs * n_groups.div_ceil(options.batch_size);
        let schedule = Schedule::named(&options.schedule, options.warmup_steps, steps)?;
        let random = ChaCha8Rng::seed_from_u64(options.seed);
        Ok(Training {
            sequences,
            task,
            group,
            optimizer,
            is_prepared: false,
            options,
            schedule,
            random,
            order: Vec::new(),
            n_done: 0,
            pending: None,
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
            seed,
        } = &self.options;
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
        let epoch = |_| {
            self.shuffle();
            self.order.clone()
        };
        (0..n_epochs).map(epoch).collect()
    }

    /// Steps in all.
    pub fn n_steps(&self) -> usize {
        self.options.epochs * self.steps_an_epoch()
    }

    fn steps_an_epoch(&self) -> usize {
        self.n_groups().div_ceil(self.options.batch_size)
    }

    fn n_groups(&self) -> usize {
        self.sequences.len() / self.group
    }

    /// Submits the next step and reports the one before it, so that the device never waits for a report; none at the end. Whoever
    /// stops asking leaves one more step made than was reported.
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
        self.pending = self.submit(model, reft, trainer)?;
        let step = pending.report().await?;
        self.note(reft, trainer, step.loss);
        Ok(Some(step))
    }

    /// Tells the interventions how they were trained so far.
    fn note(&self, reft: &Reft, trainer: &Trainer, loss: f64) {
        reft.note(Trained {
            options: self.options.json(),
            examples: self.n_groups(),
            steps: trainer.n_steps,
            loss: Some(loss).filter(|loss| loss.is_finite()),
        });
    }

    /// Tells the trainer what is learned, and asks the bare model what it says where that is the measure.
    async fn prepare(&mut self, model: &Model, reft: &Reft, trainer: &mut Trainer) -> Result<()> {
        trainer.task = self.task;
        trainer.at_once = self.options.at_once * self.group;
        if matches!(self.task, Task::Preference { .. }) {
            for sequence in &mut self.sequences {
                sequence.reference = reference(model, &[sequence]).await?[0];
            }
        }
        for sequence in &mut self.sequences {
            sequence.collect_source(model, reft).await?;
        }
        if self.options.epochs > 1 {
            trainer.keep_states(model, reft, &mut self.sequences)?;
        }
        self.is_prepared = true;
        Ok(())
    }

    fn submit(&mut self, model: &Model, reft: &Reft, trainer: &mut Trainer) -> Result<Option<Pending>> {
        if self.n_done == self.n_steps() {
            return Ok(None);
        }
        let at = self.n_done % self.steps_an_epoch() * self.options.batch_size;
        if at == 0 {
            self.shuffle();
        }
        let end = (at + self.options.batch_size).min(self.n_groups());
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
            loss: f64::NAN, // known when it is read, as is the next
            grad_norm: f64::NAN,
            learning_rate: rate,
            tokens: batch.iter().map(|sequence| sequence.tokens.len()).sum(),
        };
        Ok(Some(Pending::OnItsWay(report, loss)))
    }

    /// A new order of the examples (Fisher and Yates).
    fn shuffle(&mut self) {
        self.order = (0..self.n_groups()).collect();
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
