//! LoReFT(h) = h + Rᵀ(act(W·h + b) − R·h): the subspace of R is set to what W and b say (eq. 2; pyreft's `LoreftIntervention`).
//!
//! Trained are W [R, D], b `[R]` and X [R, D], from which R = B·Q(X) follows: R stays orthonormal at every step.

use super::rotation::{self, Base};
use crate::error::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The parameters of one intervention.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// X [R, D], pyreft's raw `rotate_layer` transposed; −1 on its diagonal at the start, else 0.
    pub x: Vec<f32>,
    /// The base that X turns.
    pub base: Base,
    /// W [R, D].
    pub weight: Vec<f32>,
    /// b `[R]`.
    pub bias: Vec<f32>,
}

/// The numbers that a seed gives.
pub(super) fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

impl Params {
    /// A random rotation, and W and b as torch's `Linear` starts: uniform within ±1/√D.
    pub(super) fn random(rank: usize, n_embd: usize, random: &mut ChaCha8Rng) -> Params {
        let rows = rotation::random_rows(rank, n_embd, random);
        let bound = (n_embd as f64).sqrt().recip();
        let mut draws = |n: usize| -> Vec<f32> {
            (0..n).map(|_| (bound * (2.0 * rotation::uniform(random) - 1.0)) as f32).collect()
        };
        let (weight, bias) = (draws(rank * n_embd), draws(rank));
        Params::from_rows(&rows, &weight, &bias)
    }

    /// Parameters that start from an orthonormal R [R, D].
    pub(super) fn from_rotation(rotation: &[f32], weight: &[f32], bias: &[f32]) -> Params {
        let rows: Vec<f64> = rotation.iter().map(|r| f64::from(*r)).collect();
        Params::from_rows(&rows, weight, bias)
    }

    fn from_rows(rows: &[f64], weight: &[f32], bias: &[f32]) -> Params {
        let rank = bias.len();
        let n_embd = rows.len() / rank;
        let mut x = vec![0.0; rank * n_embd];
        (0..rank).for_each(|j| x[j * n_embd + j] = -1.0);
        Params { x, base: Base::of_rows(rows, n_embd), weight: weight.to_vec(), bias: bias.to_vec() }
    }

    pub(super) fn check(&self, rank: usize, n_embd: usize) -> Result<()> {
        let expected = [rank * n_embd, rank * n_embd, rank, n_embd];
        let got = [self.x.len(), self.weight.len(), self.bias.len(), self.base.signs.len()];
        if expected != got || !self.base.units.len().is_multiple_of(n_embd) {
            return Err(Error::input(format!("X, W, b, signs: expected {expected:?} numbers, got {got:?}")));
        }
        Ok(())
    }
}
