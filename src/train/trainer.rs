//! Steps: each a plan from tokens to moved parameters, submitted once, and one small readback that nobody has to wait for.

use super::batch::{Batch, Sequence};
use super::states::States;
use super::step::{Part, PlanKey, StepBufs, StepPlan};
use super::task::Task;
#[cfg(not(target_arch = "wasm32"))]
use crate::backend::NoControl;
use crate::backend::{Backend, Control, Part as PartOfRun, Prepared, Scratch};
use crate::error::{Error, Result};
use crate::kernel::{Dropout, DropoutSettings, GradNorm, Hyper, OptimizerSettings};
use crate::model::Model;
use crate::plan::Record;
use crate::reft::{Gradients, Reft};
use crate::tensor::{Readback, Tensor};
use std::collections::VecDeque;

/// Plans kept for the shapes that batches had last.
const PLANS_KEPT: usize = 8;

/// The optimizer's state and the plans of one [`Reft`]'s training.
pub struct Trainer {
    /// What is learned.
    pub task: Task,
    /// Sequences that go through the model at once; 0 for all of a step's. Gradients of the parts of a step are summed.
    pub at_once: usize,
    pub(super) gradients: Gradients,
    /// The sum of the gradients of a step's parts.
    pub(super) sum: Tensor,
    /// The optimizer's running means.
    pub(super) moments: [Tensor; 2],
    /// The parameters as they were before the last step that moved them.
    pub(super) before: Tensor,
    /// Whether a step is known to have moved them.
    pub(super) has_moved: bool,
    pub(super) hyper: Tensor,
    pub(super) decays: Tensor,
    pub(super) dropout: Dropout,
    /// Its words for the step that is made.
    pub(super) dropout_words: Tensor,
    pub(super) n_steps: u32,
    pub(super) states: Option<States>,
    plans: VecDeque<(PlanKey, StepPlan)>,
    /// The memory of all plans.
    scratch: Scratch,
}

impl Trainer {
    /// A trainer of next tokens whose optimizer starts from nothing.
    ///
    /// # Errors
    /// `Device` if its state finds no room; `Input` if nothing is trained.
    pub fn new(backend: &Backend, reft: &Reft) -> Result<Trainer> {
        if reft.n_params() == 0 {
            return Err(Error::input("these interventions have no parameters: there is nothing to train"));
        }
        let like = |label: &str, tensor: &Tensor| backend.tensor(label, tensor.shape());
        let decays = reft.decays();
        Ok(Trainer {
            task: Task::default(),
            at_once: 0,
            gradients: Gradients { theta: like("dtheta", &reft.theta)?, rot: like("drot", &reft.rot)? },
            sum: like("dsum", &reft.theta)?,
            moments: [like("m", &reft.theta)?, like("v", &reft.theta)?],
            before: like("before", &reft.theta)?,
            has_moved: false,
            hyper: backend.tensor("hyper", &[OptimizerSettings::WORDS])?,
            decays: backend.tensor_of("decays", &[decays.len()], bytemuck::cast_slice(&decays))?,
            dropout: Dropout::default(),
            dropout_words: backend.tensor("dropout", &[DropoutSettings::WORDS])?,
            n_steps: 0,
            states: None,
            plans: VecDeque::new(),
            scratch: Scratch::default(),
        })
    }

    /// What steps drop from now on; an evaluation drops nothing.
    pub fn set_dropout(&mut self, dropout: Dropout) {
        if (dropout.rate > 0.0) != (self.dropout.rate > 0.0) {
            self.plans.clear();
        }
        self.dropout = dropout;
    }

    /// Computes what no edit changes once for all of these sequences, and leaves it out of the steps on them from now on: all layers below
    /// the lowest edit, and tokens before the first one that is edited or that the loss reads.
    /// Does nothing where that finds no room. Sequences with kept states are this trainer's alone.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn keep_states(
        &mut self,
        model: &Model,
        reft: &Reft,
        sequences: &mut [Sequence],
        control: &dyn Control,
    ) -> Result<()> {
        self.plans.clear();
        self.states = None;
        self.states = States::collect(model, reft, sequences, &mut self.scratch, control).await?;
        Ok(())
    }

    /// As [`Trainer::step_with`], with nobody watching.
    ///
    /// # Errors
    /// As [`Trainer::step_with`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(
        &mut self,
        model: &Model,
        reft: &Reft,
        sequences: &[&Sequence],
        hyper: &Hyper,
    ) -> Result<PendingLoss> {
        pollster::block_on(self.step_with(model, reft, sequences, hyper, &NoControl))
    }

    /// Submits one step on a batch of sequences; the loss is that before the step. A step that fails moves nothing and can be made again.
    ///
    /// # Errors
    /// `Input` if the sequences have not what the task wants, `Device` if the device was lost, `Aborted` if `control` ended it.
    pub async fn step_with(
        &mut self,
        model: &Model,
        reft: &Reft,
        sequences: &[&Sequence],
        hyper: &Hyper,
        control: &dyn Control,
    ) -> Result<PendingLoss> {
        if let Some(number) = sequences.iter().position(|sequence| sequence.awaits_source()) {
            return Err(Error::input(format!(
                "sequence {number}: its source was not run: collect_source does it"
            )));
        }
        let batches = self.batches(reft, sequences)?;
        let n_whole = batches.iter().map(|batch| self.task.count(batch)).sum();
        let n_tokens = batches.iter().map(|batch| batch.tokens.len()).sum();
        let number = self.n_steps + 1;
        self.hyper.write(0, &hyper.at_step(number).words());
        let mut pending = PendingLoss::of(self.task);
        let (last, mut rows_before) = (batches.len() - 1, 0);
        for (at, batch) in batches.iter().enumerate() {
            let part = match (at == 0, at == last) {
                (true, true) => Part::Whole,
                (true, false) => Part::First,
                (false, false) => Part::Middle,
                (false, true) => Part::Last,
            };
            self.dropout_words.write(0, &self.dropout.settings(number, rows_before).words());
            let control = PartOfRun::of(control, rows_before as usize, batch.tokens.len(), n_tokens);
            rows_before += batch.tokens.len() as u32;
            let plan =
                self.plan(model, reft, (batch.shape(), part, self.task, n_whole, batch.states.is_some()))?;
            let mut reads = plan.run(batch, n_whole, &control).await?.into_iter();
            pending.losses.extend(reads.next());
            pending.norm = reads.next();
        }
        self.n_steps = number;
        Ok(pending)
    }

    /// As [`Trainer::evaluate_with`], with nobody watching.
    ///
    /// # Errors
    /// As [`Trainer::evaluate_with`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn evaluate(&mut self, model: &Model, reft: &Reft, sequences: &[&Sequence]) -> Result<PendingLoss> {
        pollster::block_on(self.evaluate_with(model, reft, sequences, &NoControl))
    }

    /// Asks for the loss of some sequences, and moves nothing.
    ///
    /// # Errors
    /// As [`Trainer::step_with`].
    pub async fn evaluate_with(
        &mut self,
        model: &Model,
        reft: &Reft,
        sequences: &[&Sequence],
        control: &dyn Control,
    ) -> Result<PendingLoss> {
        let batches = self.batches(reft, sequences)?;
        let n_tokens = batches.iter().map(|batch| batch.tokens.len()).sum();
        let mut rows_before = 0;
        let mut pending = PendingLoss::of(self.task);
        for batch in batches {
            let (task, count) = (self.task, self.task.count(&batch));
            let key = (batch.shape(), Part::Evaluation, task, count, batch.states.is_some());
            let control = PartOfRun::of(control, rows_before, batch.tokens.len(), n_tokens);
            rows_before += batch.tokens.len();
            let plan = self.plan(model, reft, key)?;
            pending.losses.extend(plan.run(&batch, count, &control).await?);
        }
        Ok(pending)
    }

    /// What goes through the model at once, if it has what the task wants.
    fn batches(&self, reft: &Reft, sequences: &[&Sequence]) -> Result<Vec<Batch>> {
        self.task.check(reft, sequences)?;
        let at_once = if self.at_once == 0 { sequences.len() } else { self.at_once };
        Ok(sequences.chunks(at_once).map(Batch::pack).collect())
    }

    /// The plan for batches of this shape, made anew if it is not at hand.
    fn plan(&mut self, model: &Model, reft: &Reft, key: PlanKey) -> Result<&StepPlan> {
        let at = match self.plans.iter().position(|(known, _)| *known == key) {
            Some(at) => at,
            None => {
                let (plan, bufs) = StepBufs::plan(model, reft, self, &key);
                if !self.scratch.holds(&plan) {
                    self.plans.clear(); // lets go of the memory that is too small
                }
                let prepared = model.backend.prepare_in(&mut self.scratch, plan)?;
                if self.plans.len() == PLANS_KEPT {
                    self.plans.pop_front();
                }
                self.plans.push_back((key, StepPlan::new(prepared, bufs)));
                self.plans.len() - 1
            }
        };
        Ok(&self.plans[at].1)
    }

    /// The gradients of the last step, or of its last part.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// The plan of the last shape that was new, for prints and measuring.
    pub fn last_plan(&self) -> Option<&Prepared> {
        self.plans.back().map(|(_, plan)| &plan.prepared)
    }
}

/// A step's report on its way from the device, or an evaluation's, which has no gradient.
pub struct PendingLoss {
    has_accuracy: bool,
    losses: Vec<Readback>,
    norm: Option<Readback>,
}

/// What a step says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The mean over the step's labels, sequences or pairs.
    pub mean: f64,
    /// The share of labels whose token is the likeliest, of sequences whose class is right, or of pairs whose better one is found; none
    /// for numbers.
    pub accuracy: Option<f64>,
    /// The length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// When it was computed, in seconds of [`crate::clock::seconds`].
    pub at: f64,
}

impl PendingLoss {
    fn of(task: Task) -> PendingLoss {
        PendingLoss { has_accuracy: task.has_accuracy(), losses: Vec::new(), norm: None }
    }

    /// With the losses of other sequences.
    pub(super) fn join(mut self, other: PendingLoss) -> PendingLoss {
        self.losses.extend(other.losses);
        self
    }

    /// The loss, and the length of the gradient.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn report(self) -> Result<Loss> {
        let (mut sums, mut n, mut at) = ([0.0; 2], 0.0, 0.0);
        for losses in self.losses {
            let losses = losses.content().await?;
            at = losses.at;
            for of_one in bytemuck::cast_slice::<u32, f32>(&losses.words).chunks_exact(2) {
                sums[0] += f64::from(of_one[0]);
                sums[1] += f64::from(of_one[1]);
                n += 1.0;
            }
        }
        let norm = match self.norm {
            Some(norm) => f64::from(GradNorm::of(&norm.words().await?).length),
            None => f64::NAN,
        };
        let accuracy = self.has_accuracy.then_some(sums[1] / n);
        Ok(Loss { mean: sums[0] / n, accuracy, grad_norm: norm, at })
    }

    /// The mean over the step's labels, sequences or pairs: in nats, or what the task's loss is in.
    ///
    /// # Errors
    /// As [`PendingLoss::report`].
    pub async fn mean(self) -> Result<f64> {
        Ok(self.report().await?.mean)
    }
}
