//! Cross-entropy at labelled tokens; logits become their own gradient, so none are kept.

use super::REDUCE;
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static CROSS_ENTROPY: Kernel = Kernel {
    name: "cross_entropy",
    wgsl: &[REDUCE, include_str!("../../shaders/cross_entropy.wgsl")],
    params: &[("n_vocab", U32)],
    args: &[("logits", InOut), ("labels", In), ("weight", In), ("loss", Out)],
    weight: false,
    twin,
};

/// The `loss [M]` of each of `labels [M]`, whose logits [M, V] are given and become gradients of the weighted sum.
pub fn cross_entropy(plan: &mut Plan, logits: Buf, [labels, weight, loss]: [Buf; 3]) {
    let [n_labels, n_vocab] = plan.shape(logits);
    for (name, buf) in [("labels", labels), ("weight", weight), ("loss", loss)] {
        plan.expect(&format!("cross_entropy: {name}"), buf, &[n_labels]);
    }
    plan.dispatch(&CROSS_ENTROPY, &[n_vocab.into()], &[logits, labels, weight, loss], [n_labels, 1, 1]);
}

fn twin(call: &Call<'_>) {
    let n_vocab = call.usize(0);
    let (labels, weights) = (call.u32(1), call.f32(2));
    let (mut logits, mut losses) = (call.f32_mut(0), call.f32_mut(3));
    let rows = logits.chunks_exact_mut(n_vocab).zip(losses.iter_mut());
    for ((logits, loss), (&label, &weight)) in rows.zip(labels.iter().zip(weights.iter())) {
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let mass: f32 = logits.iter().map(|l| (l - highest).exp()).sum();
        *loss = highest - logits[label as usize] + mass.ln();
        for logit in logits.iter_mut() {
            *logit = weight / mass * (*logit - highest).exp();
        }
        logits[label as usize] -= weight;
    }
}
