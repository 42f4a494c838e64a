//! A step, a part of one or an evaluation as a plan, for batches of one shape.

use super::Trainer;
use super::batch::{Batch, Shape};
use super::task::{Objective, Task};
use crate::backend::{Control, Prepared};
use crate::error::Result;
use crate::kernel;
use crate::model::{self, Model, Pass, WayBack};
use crate::plan::{Buf, Plan};
use crate::reft::{EditBufs, Edits, Reft};
use crate::tensor::Readback;

/// What plans differ by.
pub(super) type PlanKey = (Shape, Part, Task, usize, bool);

/// The part of a step that a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The first, which begins the sum of gradients.
    First,
    /// One that adds to it.
    Middle,
    /// The last, which moves the parameters.
    Last,
    /// None: forward alone.
    Evaluation,
}

/// A step, a part of one, or an evaluation, for batches of one shape.
pub(super) struct StepPlan {
    pub(super) prepared: Prepared,
    bufs: StepBufs,
}

/// What is written to a step's plan before it runs, and what is read after.
pub(super) struct StepBufs {
    pass: Pass,
    /// Rows of the states that are kept, where they are.
    index: Option<Buf>,
    /// The inputs of the way back, where there is one.
    way: Option<WayBack>,
    edits: Vec<EditBufs>,
    objective: Objective,
    norm: Option<Buf>,
}

impl StepBufs {
    /// The plan of a step of this shape, which has no memory yet.
    pub(super) fn plan(model: &Model, reft: &Reft, trainer: &Trainer, key: &PlanKey) -> (Plan, StepBufs) {
        let (shape, part, task, n_whole, is_kept) = key;
        let mut plan = Plan::new("train");
        let pass = Pass::new(&mut plan, shape.n_tokens);
        let edits = Edits::new(&mut plan, &[(reft, shape.n_edits.clone())]);
        let mut edits = edits.detecting(&mut plan, shape.n_sequences).with_gradients(&trainer.gradients);
        if trainer.dropout.rate > 0.0 && *part != Part::Evaluation {
            edits = edits.with_dropout(&trainer.dropout_words);
        }

        let index = is_kept.then(|| plan.kept("state_rows", &[shape.n_tokens]));
        let states = index.zip(trainer.states.as_ref());
        let cache = states.and_then(|(_, states)| states.cache.as_ref());
        let (h, traces) = match states {
            None => model::forward_kept(&mut plan, model, &pass, None, &mut edits),
            Some((index, states)) => {
                let start = states.begin(&mut plan, index, &mut edits);
                model::forward_from(&mut plan, model, &pass, cache, &mut edits, start)
            }
        };
        let way = (*part != Part::Evaluation).then(|| WayBack {
            place: cache.map_or(pass.place, |_| plan.kept("own_place", &[shape.n_tokens, 2])),
            span: pass.span,
            reach: plan.kept("reach", &[shape.n_tokens, 2]),
            cache_rows: cache.and(index),
        });
        let task = (*task, *n_whole);
        let (objective, norm) = match &way {
            None => (Objective::losses(&mut plan, model, task, (shape, h), reft), None),
            Some(way) => {
                let of = (reft, &trainer.gradients);
                let (objective, dh) = Objective::plan(&mut plan, model, task, (shape, h), of);
                model::backward(&mut plan, model, way, &traces, dh, &mut edits);
                plan.at("update");
                (objective, plan_update(&mut plan, reft, trainer, *part, &shape.is_even))
            }
        };

        let edits = edits.bufs();
        (plan, StepBufs { pass, index, way, edits, objective, norm })
    }
}

impl StepPlan {
    /// A plan with its memory.
    pub(super) fn new(prepared: Prepared, bufs: StepBufs) -> StepPlan {
        StepPlan { prepared, bufs }
    }

    /// Submits it on a batch; returns the losses, and where it ends a step the length of the gradient.
    pub(super) async fn run(
        &self,
        batch: &Batch,
        n_whole: usize,
        control: &dyn Control,
    ) -> Result<Vec<Readback>> {
        let StepBufs { pass, index, way, edits, objective, norm } = &self.bufs;
        batch.write(&self.prepared, pass, edits);
        let write = |buf: Buf, words: &[u32]| self.prepared.tensor(buf).write(0, words);
        if let (Some(index), Some(rows)) = (index, &batch.states) {
            write(*index, rows);
        }
        if let Some(way) = way {
            write(way.reach, batch.reach.as_flattened());
            let own = (0..).zip(&batch.place).map(|(row, [position, _])| [*position, row]);
            write(way.place, own.collect::<Vec<_>>().as_flattened());
        }
        objective.write(&self.prepared, batch, n_whole);
        let reads = std::iter::once(objective.losses_buf()).chain(*norm);
        let reads: Vec<_> = reads.map(|buf| self.prepared.tensor(buf)).collect();
        self.prepared.run_with(&reads, control).await
    }
}

/// From the gradients of what follows from parameters to those of the parameters; and with the last part of a step the optimizer, and what
/// follows. Returns the length of the gradient, where it is known.
fn plan_update(plan: &mut Plan, reft: &Reft, trainer: &Trainer, part: Part, even: &[bool]) -> Option<Buf> {
    reft.plan_followers_backward(plan, &trainer.gradients, even);
    let [theta, grad] = [&reft.theta, &trainer.gradients.theta].map(|tensor| plan.tensor(tensor));
    let grad = match part == Part::Whole {
        true => grad,
        false => {
            let sum = plan.tensor(&trainer.sum);
            kernel::accumulate(plan, grad, sum, part != Part::First);
            sum
        }
    };
    if matches!(part, Part::First | Part::Middle) {
        return None;
    }
    reft.plan_unit_rows(plan, grad, &trainer.gradients);
    let [m, v] = trainer.moments.each_ref().map(|tensor| plan.tensor(tensor));
    let before = plan.tensor(&trainer.before);
    let [hyper, decays] = [&trainer.hyper, &trainer.decays].map(|tensor| plan.tensor(tensor));
    let norm = kernel::grad_norm(plan, hyper, grad);
    plan.commit();
    kernel::optimizer(plan, [hyper, decays, norm], grad, [theta, m, v, before]);
    reft.plan_followers(plan);
    Some(norm)
}
