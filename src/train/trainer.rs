//! One step: a plan from tokens to moved parameters, submitted once, and one small readback that nobody has to wait for.

use super::batch::{Batch, Sequence, Shape};
use crate::backend::{Backend, Prepared, Readback, Tensor};
use crate::error::Result;
use crate::kernel::{self, Hyper};
use crate::model::{self, Labels, Model, Pass};
use crate::plan::{Buf, Plan};
use crate::reft::{EditBufs, Edits, Gradients, Reft};
use std::collections::VecDeque;

/// Plans kept for the shapes that batches had last.
const PLANS_KEPT: usize = 8;

/// The optimizer's state and the plans of one [`Reft`]'s training.
pub struct Trainer {
    gradients: Gradients,
    /// AdamW's running means.
    moments: [Tensor; 2],
    hyper: Tensor,
    n_steps: u32,
    plans: VecDeque<(Shape, StepPlan)>,
}

impl Trainer {
    /// A trainer whose optimizer starts from nothing.
    ///
    /// # Errors
    /// `Device` if its state finds no room.
    pub fn new(backend: &Backend, reft: &Reft) -> Result<Trainer> {
        let like = |label: &str, tensor: &Tensor| backend.tensor(label, tensor.shape());
        Ok(Trainer {
            gradients: Gradients { theta: like("dtheta", &reft.theta)?, rot: like("drot", &reft.rot)? },
            moments: [like("m", &reft.theta)?, like("v", &reft.theta)?],
            hyper: backend.tensor("hyper", &[8])?,
            n_steps: 0,
            plans: VecDeque::new(),
        })
    }

    /// Submits one step on a batch of sequences; the loss is that before the step.
    ///
    /// # Errors
    /// `Input` if no token is labelled, `Device` if the device was lost.
    pub fn step(
        &mut self,
        model: &Model,
        reft: &Reft,
        sequences: &[&Sequence],
        hyper: &Hyper,
    ) -> Result<PendingLoss> {
        let batch = Batch::pack(sequences)?;
        let shape = batch.shape();
        let at = match self.plans.iter().position(|(known, _)| *known == shape) {
            Some(at) => at,
            None => {
                let plan = StepPlan::new(model, reft, self, &shape)?;
                if self.plans.len() == PLANS_KEPT {
                    self.plans.pop_front();
                }
                self.plans.push_back((shape, plan));
                self.plans.len() - 1
            }
        };
        self.n_steps += 1;
        self.hyper.write_f32(&hyper.at_step(self.n_steps));
        self.plans[at].1.run(&batch)
    }

    /// The gradients of the last step.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// The plan of the last shape that was new, for prints and measuring.
    pub fn last_plan(&self) -> Option<&Prepared> {
        self.plans.back().map(|(_, plan)| &plan.prepared)
    }
}

/// A loss on its way from the device.
pub struct PendingLoss {
    losses: Vec<Readback>,
    n_labels: usize,
}

impl PendingLoss {
    /// The mean over the batch's labels, in nats.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn mean(self) -> Result<f64> {
        let mut sum = 0.0;
        for losses in self.losses {
            sum += losses.f32().await?.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        }
        Ok(sum / self.n_labels as f64)
    }
}

/// A step for batches of one shape.
struct StepPlan {
    prepared: Prepared,
    pass: Pass,
    reach: Buf,
    edits: Vec<EditBufs>,
    labels: Vec<Labels>,
}

impl StepPlan {
    fn new(model: &Model, reft: &Reft, trainer: &Trainer, shape: &Shape) -> Result<StepPlan> {
        let mut plan = Plan::new("train", model.backend.target());
        let pass = Pass::new(&mut plan, shape.n_tokens);
        let reach = plan.kept("reach", &[shape.n_tokens, 2]);
        let mut edits =
            Edits::new(&mut plan, &[(reft, shape.n_edits.clone())]).with_gradients(&trainer.gradients);
        let labels = plan_labels(&mut plan, model, shape);

        let (h, traces) = model::forward_kept(&mut plan, model, &pass, None, &mut edits);
        let dh = model.loss(&mut plan, h, &labels);
        model::backward(&mut plan, model, [pass.place, pass.span, reach], &traces, dh, &mut edits);
        plan.at("update");
        plan_update(&mut plan, reft, trainer);

        let edits = edits.bufs();
        Ok(StepPlan { prepared: model.backend.prepare(plan)?, pass, reach, edits, labels })
    }

    fn run(&self, batch: &Batch) -> Result<PendingLoss> {
        let write = |buf: Buf, words: &[u32]| self.prepared.tensor(buf).write(0, words);
        write(self.pass.tokens, &batch.tokens);
        write(self.pass.place, batch.place.as_flattened());
        write(self.pass.span, batch.span.as_flattened());
        write(self.reach, batch.reach.as_flattened());
        for (bufs, edits) in self.edits.iter().zip(&batch.edits) {
            bufs.write(&self.prepared, edits);
        }
        let n_labels = batch.labels.len();
        let weight = (n_labels as f32).recip();
        let mut first = 0;
        for labels in &self.labels {
            let end = first + self.prepared.tensor(labels.ids).shape()[0];
            let part = &batch.labels[first..end];
            write(labels.rows, &part.iter().map(|label| label[0]).collect::<Vec<_>>());
            write(labels.ids, &part.iter().map(|label| label[1]).collect::<Vec<_>>());
            write(labels.weights, &vec![weight.to_bits(); part.len()]);
            write(labels.places, &batch.label_places(first, end));
            first = end;
        }
        self.prepared.run()?;
        let losses = self.labels.iter().map(|labels| self.prepared.tensor(labels.losses).read()).collect();
        Ok(PendingLoss { losses, n_labels })
    }
}

/// The labels, in groups whose logits stay small.
fn plan_labels(plan: &mut Plan, model: &Model, shape: &Shape) -> Vec<Labels> {
    let most = model.labels_at_once();
    let groups = (0..shape.n_labels).step_by(most).map(|first| most.min(shape.n_labels - first));
    groups.map(|n_labels| Labels::new(plan, shape.n_tokens, n_labels)).collect()
}

/// From the rotations' gradients to those of the free parameters, the optimizer, and the rotations that follow.
fn plan_update(plan: &mut Plan, reft: &Reft, trainer: &Trainer) {
    let [theta, base] = [&reft.theta, &reft.base].map(|tensor| plan.tensor(tensor));
    let [grad, drot] = [&trainer.gradients.theta, &trainer.gradients.rot].map(|tensor| plan.tensor(tensor));
    for rotation in reft.rotations() {
        kernel::rotation_backward(plan, rotation, [theta, base, drot, grad]);
    }
    let [m, v] = trainer.moments.each_ref().map(|tensor| plan.tensor(tensor));
    let hyper = plan.tensor(&trainer.hyper);
    kernel::adamw(plan, hyper, grad, [theta, m, v]);
    reft.plan_rotations(plan);
}
