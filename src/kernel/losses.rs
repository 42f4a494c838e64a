//! Losses other than that of the next token: of preferences between answers, of rewards, of numbers, of classes of which several hold.

use super::declare::kernel;
use super::{Pool, REDUCE, SOFTMAX, highest_and_mass, sum};
use crate::plan::{Buf, Plan};
use webreft_simd::rows;

kernel! {
    /// The loss of each labelled token, without gradients.
    TOKEN_LOSS: token_loss {
        wgsl: [REDUCE, SOFTMAX, wgsl!("token_loss.wgsl")],
        params { n_vocab: usize, first: usize }
        args { logits: In<f32>, labels: In<u32>, loss: InOut<f32> }
        twin: twin_token_loss,
        fast: fast_token_loss,
    }
}

kernel! {
    /// The loss of independent classes; scores become their gradient.
    BINARY_CROSS_ENTROPY: binary_cross_entropy {
        wgsl: [wgsl!("binary_cross_entropy.wgsl")],
        params { n_rows: usize, n_out: usize }
        args { scores: InOut<f32>, targets: In<f32>, weight: In<f32>, loss: Out<f32> }
        twin: twin_binary_cross_entropy,
    }
}

kernel! {
    /// Preferences: DPO (Rafailov et al. 2023, arXiv:2305.18290, eq. 7) and RePS (Wu et al. 2025, arXiv:2505.20809).
    PREFERENCE: preference {
        wgsl: [wgsl!("preference.wgsl")],
        params { n_pairs: usize, share: f32 }
        args {
            losses: In<f32>,
            ranges: In<u32>,
            reference: In<f32>,
            scales: In<f32>,
            weights: Out<f32>,
            pairs: Out<f32>,
        }
        twin: twin_preference,
    }
}

kernel! {
    /// The loss of pairs of rewards; scores become their gradient.
    REWARD_LOSS: reward_loss {
        wgsl: [wgsl!("reward_loss.wgsl")],
        params { n_pairs: usize, share: f32 }
        args { scores: InOut<f32>, loss: Out<f32> }
        twin: twin_reward_loss,
    }
}

kernel! {
    /// The mean squared error; scores become their gradient.
    SQUARED_ERROR: squared_error {
        wgsl: [wgsl!("squared_error.wgsl")],
        params { n_rows: usize, n_out: usize }
        args { scores: InOut<f32>, targets: In<f32>, weight: In<f32>, loss: Out<f32> }
        twin: twin_squared_error,
    }
}

/// The loss [M, 2] of each of `labels [M]` from `first` on, whose logits [m, V] are given.
pub fn token_loss(plan: &mut Plan, logits: Buf, [labels, loss]: [Buf; 2], first: usize) {
    let [n_labels, n_vocab] = plan.shape(logits);
    plan.dispatch(
        &TOKEN_LOSS,
        token_loss::Params { n_vocab, first },
        token_loss::Bufs { logits, labels, loss },
        [1, n_labels, 1],
    );
}

/// From losses [M, 2] of the tokens of pairs of sequences, their `ranges` [B, 2], `reference [B]`, what each sequence's sum is compared
/// with, and `scales [B]`, what the difference counts for: `weights [M]` for the gradient, where each pair counts for `share`; and
/// returns the loss of each pair [B/2, 2].
pub fn preference(
    plan: &mut Plan,
    share: f32,
    losses: Buf,
    [ranges, reference, scales, weights]: [Buf; 4],
) -> Buf {
    let [n_sequences] = plan.shape(reference);
    let n_pairs = n_sequences / 2;
    let pairs = plan.kept("pairs", &[n_pairs, 2]);
    plan.dispatch(
        &PREFERENCE,
        preference::Params { n_pairs, share },
        preference::Bufs { losses, ranges, reference, scales, weights, pairs },
        [n_pairs.div_ceil(64), 1, 1],
    );
    pairs
}

/// The loss [B, 2] of pairs of scores [B, 1], which become their gradients; each pair counts for `share`.
pub fn reward_loss(plan: &mut Plan, share: f32, scores: Buf, loss: Buf) {
    let [n_sequences, _] = plan.shape(scores);
    plan.expect("reward_loss: scores", scores, &[n_sequences, 1]);
    let n_pairs = n_sequences / 2;
    plan.dispatch(
        &REWARD_LOSS,
        reward_loss::Params { n_pairs, share },
        reward_loss::Bufs { scores, loss },
        [n_pairs.div_ceil(64), 1, 1],
    );
}

/// The loss [B, 2] of scores [B, N] against targets [B, N]; scores become their gradients.
pub fn squared_error(plan: &mut Plan, scores: Buf, [targets, weight, loss]: [Buf; 3]) {
    let [n_rows, n_out] = plan.shape(scores);
    plan.dispatch(
        &SQUARED_ERROR,
        squared_error::Params { n_rows, n_out },
        squared_error::Bufs { scores, targets, weight, loss },
        [n_rows.div_ceil(64), 1, 1],
    );
}

/// The loss [B, 2] of scores [B, N] that say which classes hold, against targets [B, N] of 1 and 0; scores become their gradients.
pub fn binary_cross_entropy(plan: &mut Plan, scores: Buf, [targets, weight, loss]: [Buf; 3]) {
    let [n_rows, n_out] = plan.shape(scores);
    let params = binary_cross_entropy::Params { n_rows, n_out };
    let bufs = binary_cross_entropy::Bufs { scores, targets, weight, loss };
    plan.dispatch(&BINARY_CROSS_ENTROPY, params, bufs, [n_rows.div_ceil(64), 1, 1]);
}

/// A token's loss, and whether no other is likelier.
pub(super) fn token_loss_of(label_logit: f32, highest: f32, mass: f32) -> [f32; 2] {
    [highest - label_logit + mass.ln(), f32::from(label_logit >= highest)]
}

/// −log σ(x), and σ(−x)
fn log_loss(x: f32) -> [f32; 2] {
    [(-x).max(0.0) + (1.0 + (-x.abs()).exp()).ln(), 1.0 / (1.0 + x.exp())]
}

fn twin_token_loss(p: &token_loss::Params, a: token_loss::Args<'_>) {
    let token_loss::Params { n_vocab, first } = *p;
    let token_loss::Args { logits, labels, loss: losses } = a;
    let labels = labels[first..].iter().zip(losses[2 * first..].chunks_exact_mut(2));
    for (logits, (label, loss)) in logits.chunks_exact(n_vocab).zip(labels) {
        let [highest, mass] = highest_and_mass(logits);
        loss.copy_from_slice(&token_loss_of(logits[*label as usize], highest, mass));
    }
}

fn fast_token_loss(p: &token_loss::Params, a: token_loss::Args<'_>, pool: &Pool) {
    let rows = p.first..p.first + a.logits.len() / p.n_vocab;
    let losses = &mut a.loss[2 * rows.start..2 * rows.end];
    rows::token_loss(pool, a.logits, &a.labels[rows], losses);
}

fn twin_preference(p: &preference::Params, a: preference::Args<'_>) {
    let preference::Params { n_pairs, share } = *p;
    let preference::Args { losses, ranges, reference, scales, weights, pairs } = a;
    let range = |sequence: usize| ranges[2 * sequence] as usize..ranges[2 * sequence + 1] as usize;
    for pair in 0..n_pairs {
        let [chosen, rejected] = [2 * pair, 2 * pair + 1];
        let gain = |sequence: usize| {
            scales[sequence] * (reference[sequence] - sum(range(sequence).map(|i| losses[2 * i])))
        };
        let margin = gain(chosen) - gain(rejected);
        let [loss, slope] = log_loss(margin);
        pairs[2 * pair..][..2].copy_from_slice(&[loss, f32::from(margin > 0.0)]);
        let weight = slope * share;
        weights[range(chosen)].fill(weight * scales[chosen]);
        weights[range(rejected)].fill(-weight * scales[rejected]);
    }
}

fn twin_reward_loss(p: &reward_loss::Params, a: reward_loss::Args<'_>) {
    let reward_loss::Params { n_pairs, share } = *p;
    let reward_loss::Args { scores, loss: losses } = a;
    let pairs = scores.chunks_exact_mut(2).zip(losses.chunks_exact_mut(4)).take(n_pairs);
    for (scores, losses) in pairs {
        let [loss, slope] = log_loss(scores[0] - scores[1]);
        let right = f32::from(scores[0] > scores[1]);
        losses.copy_from_slice(&[loss, right, loss, right]);
        let d = slope * share;
        scores.copy_from_slice(&[-d, d]);
    }
}

fn twin_squared_error(p: &squared_error::Params, a: squared_error::Args<'_>) {
    let squared_error::Params { n_rows, n_out } = *p;
    let squared_error::Args { scores, targets, weight, loss: losses } = a;
    for row in 0..n_rows {
        let scores = &mut scores[row * n_out..][..n_out];
        let mut sum = 0.0f64;
        for (score, target) in scores.iter_mut().zip(&targets[row * n_out..]) {
            let off = *score - target;
            sum += f64::from(off * off);
            *score = 2.0 * weight[row] * off / n_out as f32;
        }
        losses[2 * row..][..2].copy_from_slice(&[(sum / n_out as f64) as f32, 0.0]);
    }
}

fn twin_binary_cross_entropy(p: &binary_cross_entropy::Params, a: binary_cross_entropy::Args<'_>) {
    let binary_cross_entropy::Params { n_rows, n_out } = *p;
    let binary_cross_entropy::Args { scores, targets, weight, loss: losses } = a;
    for row in 0..n_rows {
        let scores = &mut scores[row * n_out..][..n_out];
        let (mut sum, mut right) = (0.0f64, true);
        for (score, target) in scores.iter_mut().zip(&targets[row * n_out..]) {
            sum += f64::from(score.max(0.0) - *score * target + (1.0 + (-score.abs()).exp()).ln());
            right &= (*score > 0.0) == (*target > 0.5);
            *score = weight[row] * (1.0 / (1.0 + (-*score).exp()) - target) / n_out as f32;
        }
        losses[2 * row..][..2].copy_from_slice(&[(sum / n_out as f64) as f32, f32::from(right)]);
    }
}

#[cfg(test)]
mod tests {
    use super::{binary_cross_entropy, preference, reward_loss};
    use super::{twin_binary_cross_entropy, twin_preference, twin_reward_loss};

    /// torch 2.15: binary_cross_entropy_with_logits, the mean of each row, and the gradient of their weighted sum.
    #[test]
    fn binary_cross_entropy_is_torchs() {
        let mut scores = [1.5, -0.5, 2.0, 0.25, -3.0, 0.75, 30.0, -40.0, 1.0];
        let mut losses = [0.0; 6];
        let args = binary_cross_entropy::Args {
            scores: &mut scores,
            targets: &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            weight: &[0.5, -1.25, 2.0],
            loss: &mut losses,
        };
        twin_binary_cross_entropy(&binary_cross_entropy::Params { n_rows: 3, n_out: 3 }, args);
        let close = |got: &[f32], want: &[f32]| {
            got.len() == want.len()
                && got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-6 * w.abs().max(1.0))
        };
        assert!(close(&losses, &[0.267_472_77, 1.0, 1.670_466, 0.0, 10.104_421, 0.0]), "{losses:?}");
        let want = [
            -0.030_404_26,
            0.062_923_45,
            -0.019_867_163,
            -0.234_240_22,
            0.396_905_87,
            -0.282_991_1,
            0.666_666_7,
            0.0,
            -0.179_294_27,
        ];
        assert!(close(&scores, &want), "{scores:?}");
    }

    #[test]
    fn a_pair_is_right_where_the_better_one_has_more() {
        let mut scores = [1.0, 0.5, -2.0, 3.0, 0.25, 0.25];
        let mut losses = [0.0; 12];
        let params = reward_loss::Params { n_pairs: 3, share: 1.0 };
        twin_reward_loss(&params, reward_loss::Args { scores: &mut scores, loss: &mut losses });
        let right: Vec<f32> = losses.into_iter().skip(1).step_by(2).collect();
        assert_eq!(right, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);

        let mut pairs = [0.0; 4];
        let args = preference::Args {
            losses: &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 1.0, 0.0],
            ranges: &[0, 1, 1, 2, 2, 3, 3, 4],
            reference: &[1.5; 4],
            scales: &[0.5; 4],
            weights: &mut [0.0; 4],
            pairs: &mut pairs,
        };
        twin_preference(&preference::Params { n_pairs: 2, share: 1.0 }, args);
        assert_eq!([pairs[1], pairs[3]], [1.0, 0.0]);
    }
}
