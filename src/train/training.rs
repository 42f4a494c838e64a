//! The loop over epochs and batches, one call a step.

use super::checkpoint::fingerprints;
use super::reference::reference_with;
use super::reps;
use super::validation::{Shown, hold_back};
use super::watch::{NoWatch, Phase, Watch, Watched};
use super::{Loss, PendingLoss, Schedule, Sequence, Task, TrainOptions, Trainer};
use crate::backend::{Backend, Part};
use crate::clock;
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
    /// Its loss is on its way; it was submitted at this time.
    OnItsWay(TrainStep, PendingLoss, f64),
    /// Its loss is known, and how long it took.
    Known(TrainStep, StepTime),
}

impl Pending {
    fn step(&self) -> &TrainStep {
        let (Pending::Known(step, _) | Pending::OnItsWay(step, ..)) = self;
        step
    }
}

/// How long a step took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTime {
    /// Seconds in which the device computed it.
    pub seconds: f64,
    /// Tokens of its batch in a second.
    pub tokens_per_second: f64,
}

/// Tokens of a pass that keep every machine busy: more of them take more memory, and are no faster each.
const ENOUGH_TOKENS: usize = 2048;

/// A step that took longer is reported before the next one is submitted: waiting costs little then, and reports are in time.
const SHORT_SECONDS: f64 = 0.1;

/// A training under way.
pub struct Training {
    /// Those that are learned, then those that are held back.
    pub(super) sequences: Vec<Sequence>,
    /// What tells each example from others, in the order in which they were given.
    pub(super) examples: Vec<String>,
    /// Groups that are learned.
    n_learned: usize,
    task: Task,
    /// Sequences that stay together: the two of a pair, or one.
    group: usize,
    optimizer: Optimizer,
    is_prepared: bool,
    pub(super) options: TrainOptions,
    /// Examples in a step, no more than are learned.
    batch_size: usize,
    /// The options as the interventions' file tells them.
    told: Value,
    schedule: Schedule,
    pub(super) random: ChaCha8Rng,
    pub(super) order: Vec<usize>,
    pub(super) n_done: usize,
    pub(super) pending: Option<Pending>,
    pub(super) shown: Shown,
    /// How long the step reported last took.
    time: Option<StepTime>,
    /// When the step that is known to be done last was done.
    done: Option<f64>,
    /// Why the training ended before its end, where a number was not finite.
    pub(super) diverged: Option<Error>,
    warnings: Vec<String>,
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
        let group = task.sequences_an_example();
        let examples = fingerprints(&sequences, group);
        let (sequences, n_learned) = hold_back(sequences, group, options)?;
        let batch_size = match options.batch_size {
            0 => n_learned,
            asked => asked.min(n_learned),
        };
        let steps = options.epochs * n_learned.div_ceil(batch_size);
        let schedule = Schedule::named(&options.schedule, options.warmup_steps, steps)?;
        let random = ChaCha8Rng::seed_from_u64(options.seed);
        Ok(Training {
            sequences,
            examples,
            n_learned,
            task,
            group,
            optimizer,
            is_prepared: false,
            told: TrainOptions { batch_size, ..options.clone() }.json(),
            options: options.clone(),
            batch_size,
            schedule,
            random,
            order: Vec::new(),
            n_done: 0,
            pending: None,
            shown: Shown::default(),
            time: None,
            done: None,
            diverged: None,
            warnings: Vec::new(),
        })
    }

    /// The same with what the caller should hear about the examples.
    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Training {
        self.warnings = warnings;
        self
    }

    /// What the caller should hear about the examples: turns that a chat template changes, for example.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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
            batch_size: _, // what it comes to is in a field of its own
            learning_rate,
            optimizer,
            weight_decay,
            max_grad_norm,
            at_once: _, // memory, and not what is learned
            beta: _,    // of another task, as are the next
            preference_loss: _,
            strengths: _,
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
            "batchSize": self.batch_size,
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
        self.n_learned.div_ceil(self.batch_size)
    }

    /// Whether no step is left, or validation has ended the training.
    fn is_over(&self) -> bool {
        self.n_done == self.n_steps() || self.shown.is_out_of(self.options.patience)
    }

    /// How long the step that was reported last took.
    pub fn step_time(&self) -> Option<StepTime> {
        self.time
    }

    /// As [`Training::next_with`], with nobody watching.
    ///
    /// # Errors
    /// As [`Training::next_with`].
    pub async fn next(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
    ) -> Result<Option<TrainStep>> {
        self.next_with(model, reft, trainer, &NoWatch).await
    }

    /// Makes a step and reports it; none at the end. Where steps are short, a GPU gets the next one before this one is reported, so that
    /// it never waits: whoever stops asking then leaves one more step made than was reported.
    ///
    /// # Errors
    /// `Device` if the device was lost, `Aborted` if `watch` ended the call. After that the training stands where its last whole step
    /// left it; asked again, it goes on. `Input` if a loss, a gradient or a parameter is not finite: that ends the training, and the
    /// interventions get back their last parameters with a finite loss, or with `keep_best` the best ones.
    pub async fn next_with(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
        watch: &dyn Watch,
    ) -> Result<Option<TrainStep>> {
        if let Some(error) = &self.diverged {
            return Err(error.clone());
        }
        if !self.is_prepared {
            self.prepare(model, reft, trainer, watch).await?;
        }
        if self.pending.is_none() {
            self.pending = self.submit(model, reft, trainer, watch).await?;
        }
        let Some(pending) = self.pending.take() else {
            let theta = reft.theta.read().f32().await?;
            return self.check_theta(model, reft, trainer, &theta).await.map(|()| None);
        };
        if self.is_ahead(model, &pending) {
            match self.submit(model, reft, trainer, watch).await {
                Ok(next) => self.pending = next,
                Err(error) => {
                    self.pending = Some(pending);
                    return Err(error);
                }
            }
        }
        let (step, time) = self.report(pending).await?;
        self.time = Some(time);
        self.check_step(model, reft, trainer, &step).await?;
        trainer.has_moved = true;
        self.note(reft, trainer, step.loss);
        let step = self.validated(model, reft, trainer, watch, step, time).await?;
        self.check_step(model, reft, trainer, &step).await?;
        Ok(Some(step))
    }

    /// Whether the step after this one is submitted before this one is reported.
    fn is_ahead(&self, model: &Model, pending: &Pending) -> bool {
        let is_short = self.time.is_some_and(|time| time.seconds < SHORT_SECONDS);
        matches!(model.backend, Backend::Gpu(_)) && is_short && !self.wants_validation(pending.step())
    }

    /// Whether what is held back is evaluated after a step, on which it hangs what comes next.
    fn wants_validation(&self, step: &TrainStep) -> bool {
        step.epoch_ends && self.sequences.len() > self.n_learned * self.group
    }

    /// A step's report, and how long it took: the device is the step's own from its submit on, or from the end of the step before it.
    pub(super) async fn report(&mut self, pending: Pending) -> Result<(TrainStep, StepTime)> {
        let (step, loss, submitted) = match pending {
            Pending::Known(step, time) => return Ok((step, time)),
            Pending::OnItsWay(step, loss, submitted) => (step, loss, submitted),
        };
        let Loss { mean: loss, accuracy, grad_norm, at } = loss.report().await?;
        let start = self.done.map_or(submitted, |before| before.max(submitted));
        self.done = Some(at);
        let seconds = (at - start).max(1e-6);
        let time = StepTime { seconds, tokens_per_second: step.tokens as f64 / seconds };
        Ok((TrainStep { loss, accuracy, grad_norm, ..step }, time))
    }

    /// The report of a step, with what the validation after it shows, where there is one.
    async fn validated(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
        watch: &dyn Watch,
        step: TrainStep,
        time: StepTime,
    ) -> Result<TrainStep> {
        if !self.wants_validation(&step) {
            return Ok(step);
        }
        let validation = match self.validate(model, reft, trainer, watch, step.step).await {
            Ok(validation) => validation,
            Err(error) => {
                self.pending = Some(Pending::Known(step, time));
                return Err(error);
            }
        };
        let Loss { mean, accuracy, .. } = validation;
        self.shown.take_in(mean, self.options.keep_best, reft).await?;
        if self.is_over() {
            self.shown.restore(reft);
        }
        Ok(TrainStep { validation_loss: Some(mean), validation_accuracy: accuracy, ..step })
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
    async fn prepare(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
        watch: &dyn Watch,
    ) -> Result<()> {
        let control = Watched::new(watch, Phase::Prepare, self.n_done + 1, self.n_steps());
        trainer.task = self.task;
        trainer.at_once = self.at_once(model.tokens_at_once());
        trainer.set_dropout(Dropout { rate: self.options.dropout, seed: self.options.seed });
        let n_sequences = self.sequences.len();
        for (number, sequence) in self.sequences.iter_mut().enumerate() {
            let part = Part::of(&control, number, 1, 2 * n_sequences);
            if self.task.has_reference() && number % self.group < 2 {
                sequence.reference = reference_with(model, &[sequence], &part).await?[0];
            }
            sequence.collect_source_with(model, &part).await?;
        }
        if self.task == Task::Steering {
            reps::share_references(&mut self.sequences);
        }
        if self.options.epochs > 1 {
            let part = Part::of(&control, 1, 1, 2);
            trainer.keep_states(model, reft, &mut self.sequences, &part).await?;
        }
        self.is_prepared = true;
        Ok(())
    }

    /// Sequences that go through the model at once: as many as the options say, else as many as bring speed and fit.
    fn at_once(&self, most_tokens: usize) -> usize {
        match self.options.at_once {
            0 => {
                let longest = self.sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(1);
                groups_at_once(most_tokens.min(ENOUGH_TOKENS), longest * self.group) * self.group
            }
            n_groups => n_groups * self.group,
        }
    }

    /// Submits the next step, if there is one. One that fails leaves the training as it was.
    async fn submit(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
        watch: &dyn Watch,
    ) -> Result<Option<Pending>> {
        if self.is_over() {
            return Ok(None);
        }
        let random = self.random.clone();
        let submitted = self.submit_next(model, reft, trainer, watch).await;
        if submitted.is_err() {
            self.random = random;
        }
        submitted.map(Some)
    }

    async fn submit_next(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
        watch: &dyn Watch,
    ) -> Result<Pending> {
        let at = self.n_done % self.steps_an_epoch() * self.batch_size;
        if at == 0 {
            self.order = shuffled(self.n_learned, &mut self.random);
        }
        let end = (at + self.batch_size).min(self.n_learned);
        let groups = self.order[at..end].iter().map(|i| &self.sequences[i * self.group..][..self.group]);
        let strengths = &self.options.strengths;
        let drawn = reps::drawn(self.task, groups.flatten(), strengths, &mut self.random);
        let batch: Vec<&Sequence> = drawn.iter().map(AsRef::as_ref).collect();
        let rate = self.options.learning_rate * self.schedule.factor(self.n_done);
        let TrainOptions { weight_decay: decay, max_grad_norm: clip, .. } = self.options;
        let hyper = Hyper { optimizer: self.optimizer, decay, clip, ..Hyper::with_rate(rate) };
        reft.anneal(self.n_done, self.n_steps());
        let control = Watched::new(watch, Phase::Step, self.n_done + 1, self.n_steps());
        let submitted = clock::seconds();
        let loss = trainer.step_with(model, reft, &batch, &hyper, &control).await?;
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
        Ok(Pending::OnItsWay(report, loss, submitted))
    }

    /// Asks how what is held back fares; as many at once as in a step.
    async fn validate(
        &self,
        model: &Model,
        reft: &Reft,
        trainer: &mut Trainer,
        watch: &dyn Watch,
        step: usize,
    ) -> Result<Loss> {
        let held = &self.sequences[self.n_learned * self.group..];
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed); // the same strengths in every epoch
        let drawn = reps::drawn(self.task, held.iter(), &self.options.strengths, &mut random);
        let held: Vec<&Sequence> = drawn.iter().map(AsRef::as_ref).collect();
        let control = Watched::new(watch, Phase::Validate, step, self.n_steps());
        let (mut before, mut losses) = (0, None::<PendingLoss>);
        for batch in held.chunks(self.batch_size * self.group) {
            let part = Part::of(&control, before, batch.len(), held.len());
            before += batch.len();
            let of_batch = trainer.evaluate_with(model, reft, batch, &part).await?;
            losses = Some(match losses {
                Some(losses) => losses.join(of_batch),
                None => of_batch,
            });
        }
        losses.expect("something is held back").report().await
    }
}

/// Groups of at most `longest` tokens that stay below so many tokens together; at least one.
fn groups_at_once(most_tokens: usize, longest: usize) -> usize {
    (most_tokens / longest.max(1)).max(1)
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

#[cfg(test)]
mod tests {
    use super::groups_at_once;

    #[test]
    fn as_many_groups_as_fit_go_at_once() {
        assert_eq!(groups_at_once(2048, 200), 10);
        assert_eq!(groups_at_once(2048, 2048), 1);
        assert_eq!(groups_at_once(100, 200), 1, "one always goes");
    }
}
