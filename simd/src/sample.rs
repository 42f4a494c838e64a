//! The choice of the next token from a vocabulary's logits, without sorting them.

use crate::Pool;
use crate::math::{exponentials, highest, map};
use fearless_simd::{Simd, dispatch};

/// How a token is chosen; each filter keeps logits from a threshold on.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// What logits are divided by, above 0.
    pub temperature: f32,
    /// How many of the highest stay; 0 keeps all.
    pub top_k: usize,
    /// The fewest that have this probability together stay; 1 keeps all.
    pub top_p: f32,
    /// Those with at least this share of the highest probability stay; 0 keeps all.
    pub min_p: f32,
    /// Which part of the probability that stays is drawn, in [0, 1).
    pub draw: f32,
}

/// The first of the highest logits.
pub fn likeliest(pool: &Pool, logits: &[f32]) -> usize {
    let highest = dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || highest(simd, logits)));
    logits.iter().position(|logit| *logit == highest).unwrap_or(logits.len() - 1)
}

/// Draws a token.
pub fn choose(pool: &Pool, logits: &[f32], choice: &Choice) -> usize {
    let Choice { temperature, top_k, top_p, min_p, draw } = *choice;
    let mut masses = pool.borrow(logits.len());
    masses.copy_from_slice(logits);
    let highest = dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
        let highest = highest(simd, logits);
        map(simd, &mut masses, #[inline(always)] |logit| (logit - highest) / temperature);
        exponentials(simd, &mut masses, 0.0);
        highest
    }));
    let row = || logits.iter().map(|logit| order(*logit)).zip(masses.iter().copied());
    let mass_from = |threshold: u32| {
        let kept = row().filter(|(order, _)| *order >= threshold);
        kept.map(|(_, mass)| f64::from(mass)).sum::<f64>()
    };
    let mut threshold = 0;
    if top_k > 0 && top_k < logits.len() {
        threshold = threshold_for(row().collect(), top_k, 0.0);
    }
    if top_p < 1.0 {
        let mass = f64::from(top_p) * mass_from(threshold);
        threshold = threshold.max(threshold_for(row().collect(), 1, mass));
    }
    if min_p > 0.0 {
        threshold = threshold.max(order(highest + min_p.ln() * temperature));
    }
    let aim = f64::from(draw) * mass_from(threshold);
    let (mut sum, mut token) = (0.0, 0);
    for (number, (order, mass)) in row().enumerate() {
        if order >= threshold && sum <= aim {
            sum += f64::from(mass);
            token = number;
        }
    }
    token
}

/// The highest threshold from which on there are at least `count` logits and `mass`: bit by bit, over those that the bits before leave open.
fn threshold_for(mut open: Vec<(u32, f32)>, count: usize, mass: f64) -> u32 {
    let (mut threshold, mut above) = (0, (0, 0.0));
    for bit in (0..32).rev() {
        let higher = threshold | 1 << bit;
        let from_here = open.iter().filter(|(order, _)| *order >= higher);
        let kept = from_here.fold(above, |(count, sum), (_, mass)| (count + 1, sum + f64::from(*mass)));
        if kept.0 >= count && kept.1 >= mass {
            threshold = higher;
            open.retain(|(order, _)| *order >= higher);
        } else {
            above = kept;
            open.retain(|(order, _)| *order < higher);
        }
    }
    threshold
}

/// The bits of a logit as a number that grows with it.
fn order(logit: f32) -> u32 {
    let bits = logit.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}
