//! The parameters of one intervention as plain numbers: how they start, and where they lie in the flat buffer of all.

use super::kinds::{Function, Kind, Learned, Projection};
use super::rotation::{self, Base};
use crate::error::{Error, Result};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// The parameters of one intervention; empty where its kind has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// Where P is orthonormal X [R, D], pyreft's raw `rotate_layer` transposed, −1 on its diagonal at the start, else 0; where P is
    /// free P itself [R, D].
    pub projection: Vec<f32>,
    /// What X turns, where P is orthonormal.
    pub base: Option<Base>,
    /// c `[R]`.
    pub projection_bias: Vec<f32>,
    /// W [R, I].
    pub weight: Vec<f32>,
    /// b `[R]`.
    pub bias: Vec<f32>,
}

/// How many numbers an intervention's parameters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Width of what is edited.
    pub n_embd: usize,
    /// Width of what W is put on.
    pub n_in: usize,
    /// Dimensions of the subspace; 0 where nothing is trained.
    pub rank: usize,
    /// Numbers of P's free parameters.
    pub projection: usize,
    /// Numbers of W.
    pub weight: usize,
    /// Numbers of b.
    pub bias: usize,
    /// Numbers of c.
    pub projection_bias: usize,
}

impl Sizes {
    /// The sizes for a kind.
    pub fn of(kind: &Kind, n_embd: usize, n_in: usize, rank: usize, add_bias: bool) -> Sizes {
        let mut sizes =
            Sizes { n_embd, n_in, rank: 0, projection: 0, weight: 0, bias: 0, projection_bias: 0 };
        if let Function::LowRank { projection, learned, bias, .. } = kind.function {
            sizes.rank = rank;
            sizes.projection = rank * n_embd;
            sizes.weight = match learned {
                Learned::State | Learned::Input => rank * n_in,
                Learned::Bias | Learned::Source => 0,
            };
            sizes.bias = if bias { rank } else { 0 };
            sizes.projection_bias = if add_bias && projection == Projection::Free { rank } else { 0 };
        }
        sizes
    }

    /// Numbers in all.
    pub fn total(&self) -> usize {
        self.projection + self.weight + self.bias + self.projection_bias
    }

    /// Where the parameters that begin at `at` lie, by their names in files; those that the kind does not have are left out.
    pub fn parts(&self, at: usize) -> Vec<Part> {
        let (rank, n_embd, n_in) = (self.rank, self.n_embd, self.n_in);
        let all = [
            ("projection", self.projection, vec![rank, n_embd]),
            ("weight", self.weight, vec![rank, n_in]),
            ("bias", self.bias, vec![rank]),
            ("projection_bias", self.projection_bias, vec![rank]),
        ];
        let mut start = at;
        let parts = all.into_iter().map(|(name, len, shape)| {
            let range = start..start + len;
            start += len;
            Part { name, shape, range }
        });
        parts.filter(|part| !part.range.is_empty()).collect()
    }
}

/// One of an intervention's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in files.
    pub name: &'static str,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub range: Range<usize>,
}

impl Params {
    /// A random start, as pyreft's and torch's: rotations uniform over all, `Linear`s uniform within ±1/√(inputs), constants
    /// uniform in 0 to 1; what reads a module's input starts at P = 0, as a LoRA does.
    pub(super) fn random(kind: &Kind, sizes: &Sizes, random: &mut ChaCha8Rng) -> Params {
        let Function::LowRank { projection, learned, .. } = kind.function else { return Params::default() };
        let mut params = Params::default();
        match projection {
            Projection::Orthonormal => {
                let rows = rotation::random_rows(sizes.rank, sizes.n_embd, random);
                (params.projection, params.base) = from_rows(&rows, sizes.n_embd);
            }
            Projection::Free if learned == Learned::Input => params.projection = vec![0.0; sizes.projection],
            Projection::Free => params.projection = linear(sizes.projection, sizes.n_embd, random),
        }
        params.weight = linear(sizes.weight, sizes.n_in, random);
        params.bias = match learned {
            Learned::Bias => (0..sizes.bias).map(|_| rotation::uniform(random) as f32).collect(),
            _ => linear(sizes.bias, sizes.n_in, random),
        };
        params.projection_bias = linear(sizes.projection_bias, sizes.n_embd, random);
        params
    }

    /// The same parameters with X starting anew from an orthonormal R [R, D].
    #[must_use]
    pub fn from_rotation(self, rotation: &[f32], n_embd: usize) -> Params {
        let rows: Vec<f64> = rotation.iter().map(|r| f64::from(*r)).collect();
        let (projection, base) = from_rows(&rows, n_embd);
        Params { projection, base, ..self }
    }

    /// Fails unless the numbers are as many as the kind wants.
    pub(super) fn check(&self, kind: &Kind, sizes: &Sizes) -> Result<()> {
        let expected = [sizes.projection, sizes.weight, sizes.bias, sizes.projection_bias];
        let got = [&self.projection, &self.weight, &self.bias, &self.projection_bias].map(Vec::len);
        if expected != got {
            return Err(Error::input(format!(
                "{}: projection, weight, bias, projection bias: expected {expected:?} numbers, got {got:?}",
                kind.name
            )));
        }
        let orthonormal =
            matches!(kind.function, Function::LowRank { projection: Projection::Orthonormal, .. });
        let fits =
            |base: &Base| base.signs.len() == sizes.n_embd && base.units.len().is_multiple_of(sizes.n_embd);
        match &self.base {
            None if !orthonormal => Ok(()),
            Some(base) if orthonormal && fits(base) => Ok(()),
            _ => Err(Error::input(format!(
                "{}: the rotation's base is not of width {}",
                kind.name, sizes.n_embd
            ))),
        }
    }

    /// The numbers of the part of this name, as [`Sizes::parts`] names them.
    pub(super) fn part(&self, name: &str) -> &[f32] {
        match name {
            "projection" => &self.projection,
            "weight" => &self.weight,
            "bias" => &self.bias,
            _ => &self.projection_bias,
        }
    }

    /// As [`Params::part`], to fill.
    pub(super) fn part_mut(&mut self, name: &str) -> &mut Vec<f32> {
        match name {
            "projection" => &mut self.projection,
            "weight" => &mut self.weight,
            "bias" => &mut self.bias,
            _ => &mut self.projection_bias,
        }
    }
}

/// X at its start, and the base whose first columns are the given rows.
fn from_rows(rows: &[f64], n_embd: usize) -> (Vec<f32>, Option<Base>) {
    let mut x = vec![0.0; rows.len()];
    (0..rows.len() / n_embd).for_each(|j| x[j * n_embd + j] = -1.0);
    (x, Some(Base::of_rows(rows, n_embd)))
}

/// As torch's `Linear` starts: uniform within ±1/√(inputs).
fn linear(len: usize, inputs: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let bound = (inputs as f64).sqrt().recip();
    (0..len).map(|_| (bound * (2.0 * rotation::uniform(random) - 1.0)) as f32).collect()
}
