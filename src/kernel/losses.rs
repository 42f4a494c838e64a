//! Losses other than that of the next token: of preferences between answers, of rewards, of numbers.

use super::{REDUCE, SOFTMAX, highest_and_mass};
use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static TOKEN_LOSS: Kernel = Kernel {
    name: "token_loss",
    wgsl: &[REDUCE, SOFTMAX, include_str!("../../shaders/token_loss.wgsl")],
    params: &[("n_vocab", U32), ("first", U32)],
    args: &[("logits", In), ("labels", In), ("loss", InOut)],
    weight: false,
    twin: twin_token_loss,
};

pub(super) static PREFERENCE: Kernel = Kernel {
    name: "preference",
    wgsl: &[include_str!("../../shaders/preference.wgsl")],
    params: &[("n_pairs", U32), ("beta", F32), ("share", F32)],
    args: &[("losses", In), ("ranges", In), ("reference", In), ("weights", Out), ("pairs", Out)],
    weight: false,
    twin: twin_preference,
};

pub(super) static REWARD_LOSS: Kernel = Kernel {
    name: "reward_loss",
    wgsl: &[include_str!("../../shaders/reward_loss.wgsl")],
    params: &[("n_pairs", U32), ("share", F32)],
    args: &[("scores", InOut), ("loss", Out)],
    weight: false,
    twin: twin_reward_loss,
};

pub(super) static SQUARED_ERROR: Kernel = Kernel {
    name: "squared_error",
    wgsl: &[include_str!("../../shaders/squared_error.wgsl")],
    params: &[("n_rows", U32), ("n_out", U32)],
    args: &[("scores", InOut), ("targets", In), ("weight", In), ("loss", Out)],
    weight: false,
    twin: twin_squared_error,
};

/// The loss [M, 2] of each of `labels [M]` from `first` on, whose logits [m, V] are given.
pub fn token_loss(plan: &mut Plan, logits: Buf, [labels, loss]: [Buf; 2], first: usize) {
    let [n_labels, n_vocab] = plan.shape(logits);
    let params = [n_vocab.into(), first.into()];
    plan.dispatch(&TOKEN_LOSS, &params, &[logits, labels, loss], [n_labels, 1, 1]);
}

/// From losses [M, 2] of the tokens of pairs of sequences, their `ranges` [B, 2], and `reference [B]`, what each sequence's sum is
/// without edits: `weights [M]` for the gradient, where each pair counts for `share`; and returns the loss of each pair [B/2, 2].
pub fn preference(
    plan: &mut Plan,
    [beta, share]: [f32; 2],
    losses: Buf,
    [ranges, reference, weights]: [Buf; 3],
) -> Buf {
    let [n_sequences] = plan.shape(reference);
    let n_pairs = n_sequences / 2;
    let pairs = plan.kept("pairs", &[n_pairs, 2]);
    let args = [losses, ranges, reference, weights, pairs];
    let params = [n_pairs.into(), beta.into(), share.into()];
    plan.dispatch(&PREFERENCE, &params, &args, [n_pairs.div_ceil(64), 1, 1]);
    pairs
}

/// The loss [B, 2] of pairs of scores [B, 1], which become their gradients; each pair counts for `share`.
pub fn reward_loss(plan: &mut Plan, share: f32, scores: Buf, loss: Buf) {
    let [n_sequences, _] = plan.shape(scores);
    plan.expect("reward_loss: scores", scores, &[n_sequences, 1]);
    let n_pairs = n_sequences / 2;
    plan.dispatch(
        &REWARD_LOSS,
        &[n_pairs.into(), share.into()],
        &[scores, loss],
        [n_pairs.div_ceil(64), 1, 1],
    );
}

/// The loss [B, 2] of scores [B, N] against targets [B, N]; scores become their gradients.
pub fn squared_error(plan: &mut Plan, scores: Buf, [targets, weight, loss]: [Buf; 3]) {
    let [n_rows, n_out] = plan.shape(scores);
    let args = [scores, targets, weight, loss];
    plan.dispatch(&SQUARED_ERROR, &[n_rows.into(), n_out.into()], &args, [n_rows.div_ceil(64), 1, 1]);
}

/// A token's loss, and whether no other is likelier.
pub(super) fn token_loss_of(label_logit: f32, highest: f32, mass: f32) -> [f32; 2] {
    [highest - label_logit + mass.ln(), f32::from(label_logit >= highest)]
}

/// −log σ(x), and σ(−x)
fn log_loss(x: f32) -> [f32; 2] {
    [(-x).max(0.0) + (1.0 + (-x.abs()).exp()).ln(), 1.0 / (1.0 + x.exp())]
}

fn twin_token_loss(call: &Call<'_>) {
    let [n_vocab, first] = [0, 1].map(|i| call.usize(i));
    let (logits, labels, mut losses) = (call.f32(0), call.u32(1), call.f32_mut(2));
    let labels = labels[first..].iter().zip(losses[2 * first..].chunks_exact_mut(2));
    for (logits, (label, loss)) in logits.chunks_exact(n_vocab).zip(labels) {
        let [highest, mass] = highest_and_mass(logits);
        loss.copy_from_slice(&token_loss_of(logits[*label as usize], highest, mass));
    }
}

fn twin_preference(call: &Call<'_>) {
    let (n_pairs, beta, share) = (call.usize(0), call.real(1), call.real(2));
    let (losses, ranges, reference) = (call.f32(0), call.u32(1), call.f32(2));
    let (mut weights, mut pairs) = (call.f32_mut(3), call.f32_mut(4));
    let range = |sequence: usize| ranges[2 * sequence] as usize..ranges[2 * sequence + 1] as usize;
    for pair in 0..n_pairs {
        let [chosen, rejected] = [2 * pair, 2 * pair + 1];
        let gain = |sequence: usize| range(sequence).fold(reference[sequence], |sum, i| sum - losses[2 * i]);
        let margin = beta * (gain(chosen) - gain(rejected));
        let [loss, slope] = log_loss(margin);
        pairs[2 * pair..][..2].copy_from_slice(&[loss, f32::from(margin > 0.0)]);
        let weight = beta * slope * share;
        weights[range(chosen)].fill(weight);
        weights[range(rejected)].fill(-weight);
    }
}

fn twin_reward_loss(call: &Call<'_>) {
    let (n_pairs, share) = (call.usize(0), call.real(1));
    let (mut scores, mut losses) = (call.f32_mut(0), call.f32_mut(1));
    let pairs = scores.chunks_exact_mut(2).zip(losses.chunks_exact_mut(4)).take(n_pairs);
    for (scores, losses) in pairs {
        let [loss, slope] = log_loss(scores[0] - scores[1]);
        let right = f32::from(scores[0] > scores[1]);
        losses.copy_from_slice(&[loss, right, loss, right]);
        let d = slope * share;
        scores.copy_from_slice(&[-d, d]);
    }
}

fn twin_squared_error(call: &Call<'_>) {
    let [n_rows, n_out] = [0, 1].map(|i| call.usize(i));
    let (mut scores, targets, weight) = (call.f32_mut(0), call.f32(1), call.f32(2));
    let mut losses = call.f32_mut(3);
    for row in 0..n_rows {
        let scores = &mut scores[row * n_out..][..n_out];
        let mut sum = 0.0;
        for (score, target) in scores.iter_mut().zip(&targets[row * n_out..]) {
            let off = *score - target;
            sum += off * off;
            *score = 2.0 * weight[row] * off / n_out as f32;
        }
        losses[2 * row..][..2].copy_from_slice(&[sum / n_out as f32, 0.0]);
    }
}
