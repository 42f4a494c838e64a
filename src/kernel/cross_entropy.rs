//! Cross-entropy at labelled tokens; logits become their own gradient, so none are kept.

use super::{CAP, REDUCE, SOFTMAX, cap_slope, highest_and_mass, losses::token_loss_of};
use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static CROSS_ENTROPY: Kernel = Kernel {
    name: "cross_entropy",
    wgsl: &[REDUCE, SOFTMAX, CAP, include_str!("../../shaders/cross_entropy.wgsl")],
    params: &[("n_vocab", U32), ("first", U32), ("cap", F32)],
    args: &[("logits", InOut), ("labels", In), ("weight", In), ("loss", InOut)],
    weight: false,
    twin,
};

/// The loss [M, 2] of each of `labels [M]` from `first` on, whose logits [m, V] are given and become gradients of the weighted sum:
/// by what they were before they were capped, if they are.
pub fn cross_entropy(plan: &mut Plan, logits: Buf, cap: f32, [labels, weight, loss]: [Buf; 3], first: usize) {
    let [n_labels, n_vocab] = plan.shape(logits);
    let [total] = plan.shape(labels);
    assert!(first + n_labels <= total, "cross_entropy: {n_labels} labels from {first} on, of {total}");
    plan.expect("cross_entropy: weight", weight, &[total]);
    plan.expect("cross_entropy: loss", loss, &[total, 2]);
    let params = [n_vocab.into(), first.into(), cap.into()];
    plan.dispatch(&CROSS_ENTROPY, &params, &[logits, labels, weight, loss], [n_labels, 1, 1]);
}

fn twin(call: &Call<'_>) {
    let [n_vocab, first] = [0, 1].map(|i| call.usize(i));
    let cap = call.real(2);
    let (labels, weights) = (call.u32(1), call.f32(2));
    let (mut logits, mut losses) = (call.f32_mut(0), call.f32_mut(3));
    let rows = logits.chunks_exact_mut(n_vocab).zip(losses[2 * first..].chunks_exact_mut(2));
    for ((logits, loss), (&label, &weight)) in rows.zip(labels[first..].iter().zip(&weights[first..])) {
        let [highest, mass] = highest_and_mass(logits);
        loss.copy_from_slice(&token_loss_of(logits[label as usize], highest, mass));
        for (i, logit) in logits.iter_mut().enumerate() {
            let p = weight / mass * (*logit - highest).exp();
            let d = if i == label as usize { p - weight } else { p };
            *logit = d * cap_slope(*logit, cap);
        }
    }
}
