//! The choice of the next token, on the device: the id never has to be read before the next step starts.

use super::declare::kernel;
use super::{PCG, Pool, REDUCE, pcg};
use crate::plan::{Buf, Plan, Record, record};
use webreft_simd::sample as simd;

kernel! {
    /// Chooses the next token of each sequence.
    SAMPLE: sample {
        wgsl: [REDUCE, PCG, wgsl!("sample.wgsl")],
        params { n_vocab: usize }
        args { logits: In<f32>, settings: Each<SampleSettings>, tokens: Out<u32> }
        twin: twin,
        fast: fast,
    }
}

record! {
    /// What the kernel reads for one sequence.
    pub struct SampleSettings {
        /// See [`Choice::temperature`].
        pub temperature: f32,
        /// See [`Choice::top_k`].
        pub top_k: u32,
        /// See [`Choice::top_p`].
        pub top_p: f32,
        /// See [`Choice::min_p`].
        pub min_p: f32,
        /// See [`Choice::seed`].
        pub seed: u32,
        /// Draws before.
        pub count: u32,
    }
}

/// How a token is chosen; filters as in llama.cpp: top-k, then top-p, then min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What logits are divided by; 0 takes the highest.
    pub temperature: f32,
    /// How many of the highest stay; 0 keeps all.
    pub top_k: u32,
    /// The fewest that have this probability together stay; 1 keeps all.
    pub top_p: f32,
    /// Those with at least this share of the highest probability stay; 0 keeps all.
    pub min_p: f32,
    /// The same seed draws the same tokens.
    pub seed: u32,
}

impl Choice {
    /// The settings of draw number `count`.
    pub fn settings(&self, count: u32) -> SampleSettings {
        let Choice { temperature, top_k, top_p, min_p, seed } = *self;
        SampleSettings { temperature, top_k, top_p, min_p, seed, count }
    }
}

/// Chooses a token for each row of `logits` [B, V] by `settings` [B, 6].
pub fn sample(plan: &mut Plan, logits: Buf, settings: Buf, tokens: Buf) {
    let [n_sequences, n_vocab] = plan.shape(logits);
    plan.expect("sample: settings", settings, &[n_sequences, SampleSettings::WORDS]);
    plan.expect("sample: tokens", tokens, &[n_sequences]);
    plan.dispatch(
        &SAMPLE,
        sample::Params { n_vocab },
        sample::Bufs { logits, settings, tokens },
        [n_sequences, 1, 1],
    );
}

/// The bits of a logit as a number that grows with it.
fn order(logit: f32) -> u32 {
    let bits = logit.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

/// The seed and the number of the draw as a real in [0, 1).
fn draw(seed: u32, count: u32) -> f32 {
    (pcg(seed ^ count.wrapping_mul(0x9e37_79b9)) >> 8) as f32 / 16_777_216.0
}

/// One sequence's logits, and the mass of each at the temperature.
struct Row<'a> {
    logits: &'a [f32],
    masses: Vec<f32>,
}

impl Row<'_> {
    fn count_and_mass(&self, threshold: u32) -> (usize, f64) {
        let kept = self.logits.iter().zip(&self.masses).filter(|(logit, _)| order(**logit) >= threshold);
        kept.fold((0, 0.0), |(count, sum), (_, mass)| (count + 1, sum + f64::from(*mass)))
    }

    fn threshold_for(&self, count: usize, mass: f64) -> u32 {
        (0..32).rev().fold(0, |threshold, bit| {
            let higher = threshold | 1 << bit;
            let (kept, kept_mass) = self.count_and_mass(higher);
            if kept >= count && kept_mass >= mass { higher } else { threshold }
        })
    }

    fn token_at(&self, threshold: u32, part: f32) -> usize {
        let aim = f64::from(part) * self.count_and_mass(threshold).1;
        let (mut sum, mut token) = (0.0, 0);
        for (i, logit) in self.logits.iter().enumerate() {
            if order(*logit) >= threshold && sum <= aim {
                sum += f64::from(self.masses[i]);
                token = i;
            }
        }
        token
    }
}

fn choose(logits: &[f32], settings: &SampleSettings) -> usize {
    let SampleSettings { temperature, top_k, top_p, min_p, seed, count } = *settings;
    let top_k = top_k as usize;
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    if temperature <= 0.0 {
        return logits.iter().position(|logit| *logit == highest).unwrap_or(logits.len() - 1);
    }
    let masses = logits.iter().map(|logit| ((logit - highest) / temperature).exp()).collect();
    let row = Row { logits, masses };
    let mut threshold = 0;
    if top_k > 0 && top_k < logits.len() {
        threshold = row.threshold_for(top_k, 0.0);
    }
    if top_p < 1.0 {
        let kept = row.count_and_mass(threshold).1;
        threshold = threshold.max(row.threshold_for(1, f64::from(top_p) * kept));
    }
    if min_p > 0.0 {
        threshold = threshold.max(order(highest + min_p.ln() * temperature));
    }
    row.token_at(threshold, draw(seed, count))
}

fn twin(p: &sample::Params, a: sample::Args<'_>) {
    let rows = a.logits.chunks_exact(p.n_vocab).zip(&a.settings);
    for (token, (logits, settings)) in a.tokens.iter_mut().zip(rows) {
        *token = choose(logits, settings) as u32;
    }
}

fn fast(p: &sample::Params, a: sample::Args<'_>, pool: &Pool) {
    let rows = a.logits.chunks_exact(p.n_vocab).zip(&a.settings);
    for (token, (logits, settings)) in a.tokens.iter_mut().zip(rows) {
        let SampleSettings { temperature, top_k, top_p, min_p, seed, count } = *settings;
        let (top_k, draw) = (top_k as usize, draw(seed, count));
        let chosen = match temperature > 0.0 {
            true => simd::choose(pool, logits, &simd::Choice { temperature, top_k, top_p, min_p, draw }),
            false => simd::likeliest(pool, logits),
        };
        *token = chosen as u32;
    }
}
