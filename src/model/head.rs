//! The top of the model: logits at chosen rows, and the loss at labelled ones with its gradient.

use super::Model;
use super::layer::{linear, linear_backward};
use crate::dims::Dims;
use crate::kernel;
use crate::plan::{Buf, Plan};

/// Bytes of logits that the loss holds at once: rows of it, as many as fit.
const LOGIT_BYTES: usize = 32 << 20;

/// The labelled tokens of a batch.
pub struct Labels {
    /// The ids to be foretold `[M]`.
    pub ids: Buf,
    /// What each counts for `[M]`.
    pub weights: Buf,
    /// The losses, in nats, each with whether no token is likelier, 1 or 0 [M, 2]; written.
    pub losses: Buf,
    /// All of them, in groups whose logits stay small.
    pub groups: Vec<LabelGroup>,
}

/// Labels whose logits are held at once.
pub struct LabelGroup {
    /// The first of them.
    pub first: usize,
    /// The row whose logits foretell each label `[m]`.
    pub rows: Buf,
    /// For each row of the pass its place in `rows`, or none `[T]`.
    pub places: Buf,
}

impl Labels {
    /// Buffers for `n_labels` labels in a pass of `n_tokens`, so many of them at once.
    pub fn new(plan: &mut Plan, n_tokens: usize, n_labels: usize, at_once: usize) -> Labels {
        let [ids, weights] = ["labels", "label_weights"].map(|label| plan.kept(label, &[n_labels]));
        let losses = plan.kept("losses", &[n_labels, 2]);
        let firsts = (0..n_labels).step_by(at_once);
        let groups = firsts.map(|first| LabelGroup {
            first,
            rows: plan.kept("label_rows", &[at_once.min(n_labels - first)]),
            places: plan.kept("label_places", &[n_tokens]),
        });
        let groups = groups.collect();
        Labels { ids, weights, losses, groups }
    }
}

impl Model {
    /// Appends the logits [M, V] of rows `rows [M]` of `h`.
    pub fn logits(&self, plan: &mut Plan, h: Buf, rows: Buf) -> Buf {
        plan.at("head");
        let [_, xn] = self.normed_rows(plan, h, rows);
        self.logits_of(plan, xn)
    }

    /// Appends the logits [M, V] of normed rows [M, D].
    fn logits_of(&self, plan: &mut Plan, xn: Buf) -> Buf {
        let logits = linear(plan, "logits", xn, &self.weights.head, None);
        if self.consts.logit_cap > 0.0 {
            kernel::cap(plan, logits, self.consts.logit_cap);
        }
        logits
    }

    /// Tokens of a pass whose widest buffer the machine can bind.
    pub fn tokens_at_once(&self) -> usize {
        let Dims { n_embd, n_ff, .. } = self.dims;
        let widest = n_embd.max(2 * n_ff).max(self.dims.q_width() + 2 * self.dims.kv_width());
        usize::try_from(self.backend.max_tensor_bytes() / (4 * widest as u64)).unwrap_or(usize::MAX)
    }

    /// How many labels one [`Labels`] may hold, so that their logits stay small.
    pub fn labels_at_once(&self) -> usize {
        (LOGIT_BYTES / 4 / self.dims.n_vocab).max(1)
    }

    /// Appends the losses at labelled rows of `h`, and returns the gradient of their weighted sum by `h`.
    ///
    /// # Panics
    /// If there are no labels.
    pub fn loss(&self, plan: &mut Plan, h: Buf, labels: &Labels) -> Buf {
        plan.at("loss");
        let gradients = labels.groups.iter().map(|group| self.loss_of(plan, h, labels, group));
        let gradients = gradients.collect::<Vec<_>>();
        let sum = gradients.into_iter().reduce(|sum, d| kernel::add(plan, "dh", sum, d));
        sum.expect("a batch has labels")
    }

    /// Appends the losses at labelled rows of `h`, and nothing else.
    pub fn token_losses(&self, plan: &mut Plan, h: Buf, labels: &Labels) {
        plan.at("losses");
        for group in &labels.groups {
            let [_, xn] = self.normed_rows(plan, h, group.rows);
            let logits = self.logits_of(plan, xn);
            kernel::token_loss(plan, logits, [labels.ids, labels.losses], group.first);
        }
    }

    /// The gradient by `h` of some labels' losses; zero at rows that foretell none of them.
    fn loss_of(&self, plan: &mut Plan, h: Buf, labels: &Labels, group: &LabelGroup) -> Buf {
        let [h_rows, xn] = self.normed_rows(plan, h, group.rows);
        let logits = self.logits_of(plan, xn);
        let of_labels = [labels.ids, labels.weights, labels.losses];
        kernel::cross_entropy(plan, logits, self.consts.logit_cap, of_labels, group.first);
        let dxn = linear_backward(plan, "dxn", logits, &self.weights.head);
        self.normed_rows_backward(plan, h_rows, dxn, group.places)
    }

    /// Rows `rows [M]` of `h`, and their norms, as the head reads them.
    pub fn normed_rows(&self, plan: &mut Plan, h: Buf, rows: Buf) -> [Buf; 2] {
        let h_rows = kernel::gather_rows(plan, "h_rows", rows, h);
        let norm = plan.tensor(&self.weights.out_norm);
        [h_rows, kernel::rms_norm(plan, h_rows, norm, self.dims.norm_eps)]
    }

    /// The gradient by `h` from that of the norms `dxn` of its rows; `places [T]` says which of them each row is, if any.
    pub fn normed_rows_backward(&self, plan: &mut Plan, h_rows: Buf, dxn: Buf, places: Buf) -> Buf {
        let shape: [usize; 2] = plan.shape(h_rows);
        let norm = plan.tensor(&self.weights.out_norm);
        let dh_rows = plan.scratch("dh_rows", &shape);
        kernel::rms_norm_backward(plan, [h_rows, norm], self.dims.norm_eps, dxn, dh_rows, false);
        kernel::gather_rows(plan, "dh", places, dh_rows)
    }
}
