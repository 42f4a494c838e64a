//! Cross-entropy at labelled tokens; logits become their own gradient, so none are kept.

use super::declare::kernel;
use super::{CAP, Pool, REDUCE, SOFTMAX, cap_slope, highest_and_mass, losses::token_loss_of};
use crate::plan::{Buf, Plan};
use webreft_simd::rows;

kernel! {
    /// The loss of each labelled token; logits become their gradient.
    CROSS_ENTROPY: cross_entropy {
        wgsl: [REDUCE, SOFTMAX, CAP, wgsl!("cross_entropy.wgsl")],
        params { n_vocab: usize, first: usize, cap: f32 }
        args { logits: InOut<f32>, labels: In<u32>, weight: In<f32>, loss: InOut<f32> }
        twin: twin,
        fast: fast,
    }
}

/// The loss [M, 2] of each of `labels [M]` from `first` on, whose logits [m, V] are given and become gradients of the weighted sum:
/// by what they were before they were capped, if they are.
pub fn cross_entropy(plan: &mut Plan, logits: Buf, cap: f32, [labels, weight, loss]: [Buf; 3], first: usize) {
    let [n_labels, n_vocab] = plan.shape(logits);
    let [total] = plan.shape(labels);
    assert!(first + n_labels <= total, "cross_entropy: {n_labels} labels from {first} on, of {total}");
    plan.expect("cross_entropy: weight", weight, &[total]);
    plan.expect("cross_entropy: loss", loss, &[total, 2]);
    plan.dispatch(
        &CROSS_ENTROPY,
        cross_entropy::Params { n_vocab, first, cap },
        cross_entropy::Bufs { logits, labels, weight, loss },
        [1, n_labels, 1],
    );
}

fn twin(p: &cross_entropy::Params, a: cross_entropy::Args<'_>) {
    let cross_entropy::Params { n_vocab, first, cap } = *p;
    let cross_entropy::Args { logits, labels, weight: weights, loss: losses } = a;
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

fn fast(p: &cross_entropy::Params, a: cross_entropy::Args<'_>, pool: &Pool) {
    let rows = p.first..p.first + a.logits.len() / p.n_vocab;
    let (labels, weights) = (&a.labels[rows.clone()], &a.weight[rows.clone()]);
    let losses = &mut a.loss[2 * rows.start..2 * rows.end];
    rows::cross_entropy(pool, a.logits, (labels, weights), p.cap, losses);
}
