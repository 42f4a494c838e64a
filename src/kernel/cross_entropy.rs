//! Cross-entropy at labelled tokens; logits become their own gradient, so none are kept.

use super::REDUCE;
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static CROSS_ENTROPY: Kernel = Kernel {
    name: "cross_entropy",
    wgsl: &[REDUCE, include_str!("../../shaders/cross_entropy.wgsl")],
    params: &[("n_vocab", U32), ("first", U32)],
    args: &[("logits", InOut), ("labels", In), ("weight", In), ("loss", Out)],
    weight: false,
    twin,
};

/// Losses of rows `first ..` of `labels`, whose logits [m, V] are given and become gradients.
pub fn cross_entropy(plan: &mut Plan, logits: Buf, first: usize, [labels, weight, loss]: [Buf; 3]) {
    let [n_rows, n_vocab] = plan.shape(logits);
    let [n_labels] = plan.shape(labels);
    assert!(first + n_rows <= n_labels, "cross_entropy: rows {first} + {n_rows} of {n_labels}");
    plan.expect("cross_entropy: weight", weight, &[n_labels]);
    plan.expect("cross_entropy: loss", loss, &[n_labels]);
    let params = [n_vocab.into(), first.into()];
    plan.dispatch(&CROSS_ENTROPY, &params, &[logits, labels, weight, loss], [n_rows, 1, 1]);
}

fn twin(call: &Call<'_>) {
    let (n_vocab, first) = (call.usize(0), call.usize(1));
    let (labels, weight) = (call.u32(1), call.f32(2));
    let (mut logits, mut loss) = (call.f32_mut(0), call.f32_mut(3));
    for (row, logits) in logits.chunks_exact_mut(n_vocab).enumerate() {
        let row = first + row;
        let (Some(&label), Some(&weight)) = (labels.get(row), weight.get(row)) else { break };
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let mass: f32 = logits.iter().map(|l| (l - highest).exp()).sum();
        loss[row] = highest - logits[label as usize] + mass.ln();
        for logit in logits.iter_mut() {
            *logit = weight / mass * (*logit - highest).exp();
        }
        logits[label as usize] -= weight;
    }
}
