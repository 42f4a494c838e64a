//! The top of the model: logits at chosen rows, and the loss at labelled ones with its gradient.

use super::Model;
use super::layer::{linear, linear_backward};
use crate::kernel;
use crate::plan::{Buf, Plan};

/// Bytes of logits that the loss holds at once: rows of it, as many as fit.
const LOGIT_BYTES: usize = 32 << 20;

/// The labelled tokens of a batch.
#[derive(Clone, Copy)]
pub struct Labels {
    /// The row whose logits foretell each label `[M]`.
    pub rows: Buf,
    /// For each row of the pass its place in `rows`, or none `[T]`.
    pub places: Buf,
    /// The ids to be foretold `[M]`.
    pub ids: Buf,
    /// What each counts for `[M]`.
    pub weights: Buf,
    /// The losses, in nats `[M]`; written.
    pub losses: Buf,
}

impl Labels {
    /// Buffers for `n_labels` labels in a pass of `n_tokens`.
    pub fn new(plan: &mut Plan, n_tokens: usize, n_labels: usize) -> Labels {
        Labels {
            rows: plan.kept("label_rows", &[n_labels]),
            places: plan.kept("label_places", &[n_tokens]),
            ids: plan.kept("labels", &[n_labels]),
            weights: plan.kept("label_weights", &[n_labels]),
            losses: plan.kept("losses", &[n_labels]),
        }
    }
}

impl Model {
    /// Appends the logits [M, V] of rows `rows [M]` of `h`.
    pub fn logits(&self, plan: &mut Plan, h: Buf, rows: Buf) -> Buf {
        plan.at("head");
        let h = kernel::gather_rows(plan, "h_last", rows, h);
        let norm = plan.tensor(&self.weights.out_norm);
        let xn = kernel::rms_norm(plan, h, norm, self.dims.norm_eps);
        linear(plan, "logits", xn, &self.weights.head)
    }

    /// How many labels one [`Labels`] may hold, so that their logits stay small.
    pub fn labels_at_once(&self) -> usize {
        (LOGIT_BYTES / 4 / self.dims.n_vocab).max(1)
    }

    /// Appends the losses at labelled rows of `h`, and returns the gradient of their weighted sum by `h`.
    ///
    /// # Panics
    /// If there are no labels.
    pub fn loss(&self, plan: &mut Plan, h: Buf, labels: &[Labels]) -> Buf {
        plan.at("loss");
        let gradients = labels.iter().map(|labels| self.loss_of(plan, h, labels)).collect::<Vec<_>>();
        let sum = gradients.into_iter().reduce(|sum, d| kernel::add(plan, "dh", sum, d));
        sum.expect("a batch has labels")
    }

    /// The gradient by `h` of some labels' losses; zero at rows that foretell none of them.
    fn loss_of(&self, plan: &mut Plan, h: Buf, labels: &Labels) -> Buf {
        let [n_labels] = plan.shape(labels.rows);
        let (head, eps) = (&self.weights.head, self.dims.norm_eps);
        let h_rows = kernel::gather_rows(plan, "h_rows", labels.rows, h);
        let norm = plan.tensor(&self.weights.out_norm);
        let xn = kernel::rms_norm(plan, h_rows, norm, eps);
        let logits = linear(plan, "logits", xn, head);
        kernel::cross_entropy(plan, logits, [labels.ids, labels.weights, labels.losses]);
        let dxn = linear_backward(plan, "dxn", logits, head);
        let dh_rows = plan.scratch("dh_rows", &[n_labels, self.dims.n_embd]);
        kernel::rms_norm_backward(plan, [h_rows, norm], eps, dxn, dh_rows, false);
        kernel::gather_rows(plan, "dh", labels.places, dh_rows)
    }
}
