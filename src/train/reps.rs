//! Reference-free preference steering (RePS: Wu et al. 2025, arXiv:2505.20809): interventions learn to bring a behaviour about where
//! their strength is above 0, and to suppress it below 0.
//!
//! An example is a prompt with two answers: y⁺ (`chosen`), which shows the behaviour, and y⁻ (`rejected`), which does not. Of each, four
//! sequences are made, two pairs. A strength α is drawn for each sequence in each step:
//!
//! ```text
//! Δ⁺ = s(y⁺, y⁻)/|y⁺| · log p(y⁺; α) − 1/|y⁻| · log p(y⁻; α)            the strengthened run prefers y⁺
//! Δ⁻ = s(y⁻, y⁺)/|y⁻| · log p(y⁻; −α) − 1/|y⁺| · log p(y⁺; −α)          the run turned around prefers y⁻
//! s(a, b) = max(log p₀(b) − log p₀(a), 1)                               p₀ is the model without edits
//! loss = −(log σ(Δ⁺) + log σ(Δ⁻)) / 2
//! ```
//!
//! The loss is AxBench's `scaled_simpo` with `simpo_scaler` 1 over the pairs `orig_add` and `orig_sub`. Edits are turned around as by its
//! `substraction_type: normal`, which every kind can do; the paper's Φ_null projects the direction of a steering vector out instead.

use super::Task;
use super::batch::{Batch, Sequence};
use crate::error::{Error, Result};
use crate::reft::Reft;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use std::borrow::Cow;

/// The sequences of pairs of answers, two by two, as RePS wants them: four by four, with edits as they are in the first two, and turned
/// around in the others, where the second answer stands first.
///
/// # Errors
/// `Input` for learned virtual tokens, whose strength cannot be turned around.
pub(crate) fn steered(reft: &Reft, pairs: &[Sequence]) -> Result<Vec<Sequence>> {
    if let Some(it) = reft.interventions.iter().find(|it| it.kind.is_virtual()) {
        return Err(Error::input(format!(
            "preferenceLoss reps turns edits around, but {} edits nothing; use dpo, or another kind",
            it.kind.name
        )));
    }
    let four = |pair: &[Sequence]| {
        let turned = |sequence: &Sequence| scaled(sequence, -1.0);
        [pair[0].clone(), pair[1].clone(), turned(&pair[1]), turned(&pair[0])]
    };
    Ok(pairs.chunks_exact(2).flat_map(four).collect())
}

/// Gives the third and the fourth of four sequences, which are the second and the first turned around, what is known of those.
pub(super) fn share_references(sequences: &mut [Sequence]) {
    for four in sequences.chunks_exact_mut(4) {
        [four[2].reference, four[3].reference] = [four[1].reference, four[0].reference];
    }
}

/// The sequences as a step of the task takes them: in steering each is as strong as one of these strengths.
pub(super) fn drawn<'s>(
    task: Task,
    sequences: impl Iterator<Item = &'s Sequence>,
    strengths: &[f32],
    random: &mut ChaCha8Rng,
) -> Vec<Cow<'s, Sequence>> {
    let mut draw = || strengths[(random.next_u64() % strengths.len() as u64) as usize];
    let draw = |sequence: &'s Sequence| match task {
        Task::Steering => Cow::Owned(scaled(sequence, draw())),
        _ => Cow::Borrowed(sequence),
    };
    sequences.map(draw).collect()
}

fn scaled(sequence: &Sequence, factor: f32) -> Sequence {
    let mut scaled = sequence.clone();
    let strengths = scaled.edits.iter_mut().flat_map(|edits| &mut edits.strength);
    strengths.for_each(|strength| *strength *= factor);
    scaled
}

/// What the mean log-probability of each sequence counts for: s/|y| for the first of a pair, 1/|y| for the second.
pub(super) fn scales(batch: &Batch) -> Vec<f32> {
    let lengths = batch.ranges.iter().map(|[first, end]| (end - first) as f32);
    let pairs = batch.references.chunks_exact(2);
    let counts = pairs.flat_map(|pair| [(pair[0] - pair[1]).max(1.0), 1.0]);
    counts.zip(lengths).map(|(count, length)| count / length).collect()
}
