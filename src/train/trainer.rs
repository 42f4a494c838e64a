//! One step: a plan from tokens to moved parameters, submitted once, and one small readback that nobody has to wait for.

use super::batch::{Batch, Sequence, Shape};
use super::states::States;
use super::task::{Objective, Task};
use crate::backend::{Backend, Prepared, Readback, Tensor};
use crate::error::{Error, Result};
use crate::kernel::{self, HYPERS, Hyper};
use crate::model::{self, Model, Pass};
use crate::plan::{Buf, Plan};
use crate::reft::{EditBufs, Edits, Gradients, Reft};
use std::collections::VecDeque;

/// Plans kept for the shapes that batches had last.
const PLANS_KEPT: usize = 8;

/// The optimizer's state and the plans of one [`Reft`]'s training.
pub struct Trainer {
    /// What is learned.
    pub task: Task,
    /// Sequences that go through the model at once; 0 for all of a step's. Gradients of the parts of a step are summed.
    pub at_once: usize,
    gradients: Gradients,
    /// The sum of the gradients of a step's parts.
    sum: Tensor,
    /// The optimizer's running means.
    pub(super) moments: [Tensor; 2],
    hyper: Tensor,
    decays: Tensor,
    pub(super) n_steps: u32,
    states: Option<States>,
    plans: VecDeque<(PlanKey, StepPlan)>,
}

/// What plans differ by.
type PlanKey = (Shape, Part, Task, usize, bool);

/// The part of a step that a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// The first, which begins the sum of gradients.
    First,
    /// One that adds to it.
    Middle,
    /// The last, which moves the parameters.
    Last,
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
            hyper: backend.tensor("hyper", &[HYPERS])?,
            decays: backend.tensor_of("decays", &[decays.len()], bytemuck::cast_slice(&decays))?,
            n_steps: 0,
            states: None,
            plans: VecDeque::new(),
        })
    }

    /// Computes what is below the lowest edit once for all of these sequences, and leaves it out of the steps on them from now on.
    /// Does nothing where that finds no room. Sequences with kept states are this trainer's alone.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub fn keep_states(&mut self, model: &Model, reft: &Reft, sequences: &mut [Sequence]) -> Result<()> {
        self.plans.clear();
        self.states = States::collect(model, reft, sequences)?;
        Ok(())
    }

    /// Submits one step on a batch of sequences; the loss is that before the step.
    ///
    /// # Errors
    /// `Input` if the sequences have not what the task wants, `Device` if the device was lost.
    pub fn step(
        &mut self,
        model: &Model,
        reft: &Reft,
        sequences: &[&Sequence],
        hyper: &Hyper,
    ) -> Result<PendingLoss> {
        self.task.check(reft, sequences)?;
        if let Some(number) = sequences.iter().position(|sequence| sequence.awaits_source()) {
            return Err(Error::input(format!(
                "sequence {number}: its source was not run: collect_source does it"
            )));
        }
        let at_once = if self.at_once == 0 { sequences.len() } else { self.at_once };
        let batches: Vec<Batch> = sequences.chunks(at_once).map(Batch::pack).collect();
        let n_whole = batches.iter().map(|batch| self.task.count(batch)).sum();
        self.n_steps += 1;
        self.hyper.write_f32(&hyper.at_step(self.n_steps));
        let mut pending = PendingLoss { losses: Vec::new(), norm: None };
        let last = batches.len() - 1;
        for (number, batch) in batches.iter().enumerate() {
            let part = match (number == 0, number == last) {
                (true, true) => Part::Whole,
                (true, false) => Part::First,
                (false, false) => Part::Middle,
                (false, true) => Part::Last,
            };
            let plan =
                self.plan(model, reft, (batch.shape(), part, self.task, n_whole, batch.states.is_some()))?;
            plan.run(batch, n_whole)?;
            pending.losses.push(plan.objective.read(&plan.prepared));
            pending.norm = plan.norm.map(|norm| plan.prepared.tensor(norm).read());
        }
        Ok(pending)
    }

    /// The plan for batches of this shape, made anew if it is not at hand.
    fn plan(&mut self, model: &Model, reft: &Reft, key: PlanKey) -> Result<&StepPlan> {
        let at = match self.plans.iter().position(|(known, _)| *known == key) {
            Some(at) => at,
            None => {
                let plan = StepPlan::new(model, reft, self, &key)?;
                if self.plans.len() == PLANS_KEPT {
                    self.plans.pop_front();
                }
                self.plans.push_back((key, plan));
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

/// A step's report on its way from the device.
pub struct PendingLoss {
    losses: Vec<Readback>,
    norm: Option<Readback>,
}

/// What a step says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The mean over the step's labels, sequences or pairs.
    pub mean: f64,
    /// The length of the gradient before it was clipped.
    pub grad_norm: f64,
}

impl PendingLoss {
    /// The loss, and the length of the gradient.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn report(self) -> Result<Loss> {
        let (mut sum, mut n) = (0.0, 0);
        for losses in self.losses {
            let losses = losses.f32().await?;
            sum += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
            n += losses.len();
        }
        let norm = match self.norm {
            Some(norm) => f64::from(norm.f32().await?[0]),
            None => f64::NAN,
        };
        Ok(Loss { mean: sum / n as f64, grad_norm: norm })
    }

    /// The mean over the step's labels, sequences or pairs: in nats, or what the task's loss is in.
    ///
    /// # Errors
    /// As [`PendingLoss::report`].
    pub async fn mean(self) -> Result<f64> {
        Ok(self.report().await?.mean)
    }
}

/// A step, or a part of one, for batches of one shape.
struct StepPlan {
    prepared: Prepared,
    pass: Pass,
    /// Rows of the states that are kept, where they are.
    index: Option<Buf>,
    reach: Buf,
    edits: Vec<EditBufs>,
    objective: Objective,
    norm: Option<Buf>,
}

impl StepPlan {
    fn new(model: &Model, reft: &Reft, trainer: &Trainer, key: &PlanKey) -> Result<StepPlan> {
        let (shape, part, task, n_whole, is_kept) = key;
        let mut plan = Plan::new("train", model.backend.target());
        let pass = Pass::new(&mut plan, shape.n_tokens);
        let reach = plan.kept("reach", &[shape.n_tokens, 2]);
        let mut edits =
            Edits::new(&mut plan, &[(reft, shape.n_edits.clone())]).with_gradients(&trainer.gradients);

        let index = is_kept.then(|| plan.kept("state_rows", &[shape.n_tokens]));
        let (h, traces) = match index.zip(trainer.states.as_ref()) {
            None => model::forward_kept(&mut plan, model, &pass, None, &mut edits),
            Some((index, states)) => {
                let start = states.begin(&mut plan, index, &mut edits);
                model::forward_from(&mut plan, model, &pass, None, &mut edits, start)
            }
        };
        let of = (reft, &trainer.gradients);
        let (objective, dh) = Objective::plan(&mut plan, model, (*task, *n_whole), (shape, h), of);
        model::backward(&mut plan, model, [pass.place, pass.span, reach], &traces, dh, &mut edits);
        plan.at("update");
        let norm = plan_update(&mut plan, reft, trainer, *part);

        let edits = edits.bufs();
        Ok(StepPlan { prepared: model.backend.prepare(plan)?, pass, index, reach, edits, objective, norm })
    }

    fn run(&self, batch: &Batch, n_whole: usize) -> Result<()> {
        batch.write(&self.prepared, &self.pass, &self.edits);
        let write = |buf: Buf, words: &[u32]| self.prepared.tensor(buf).write(0, words);
        if let (Some(index), Some(rows)) = (self.index, &batch.states) {
            write(index, rows);
        }
        write(self.reach, batch.reach.as_flattened());
        self.objective.write(&self.prepared, batch, n_whole);
        self.prepared.run()
    }
}

/// From the gradients of what follows from parameters to those of the parameters; and with the last part of a step the optimizer, and what
/// follows. Returns the length of the gradient, where it is known.
fn plan_update(plan: &mut Plan, reft: &Reft, trainer: &Trainer, part: Part) -> Option<Buf> {
    reft.plan_followers_backward(plan, &trainer.gradients);
    let [theta, grad] = [&reft.theta, &trainer.gradients.theta].map(|tensor| plan.tensor(tensor));
    let grad = match part {
        Part::Whole => grad,
        Part::First | Part::Middle | Part::Last => {
            let sum = plan.tensor(&trainer.sum);
            kernel::accumulate(plan, grad, sum, part != Part::First);
            sum
        }
    };
    if matches!(part, Part::First | Part::Middle) {
        return None;
    }
    let [m, v] = trainer.moments.each_ref().map(|tensor| plan.tensor(tensor));
    let [hyper, decays] = [&trainer.hyper, &trainer.decays].map(|tensor| plan.tensor(tensor));
    let norm = kernel::grad_norm(plan, hyper, grad);
    kernel::optimizer(plan, [hyper, decays, norm], grad, [theta, m, v]);
    reft.plan_followers(plan);
    Some(norm)
}
