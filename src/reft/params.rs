//! The parameters of one intervention as plain numbers: how they start, and where they lie in the flat buffer of all.

use super::kinds::{Function, Kind, Learned, Projection};
use super::rotation::{self, Base};
use crate::error::{Error, Result};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::ops::Range;

/// The parameters of one intervention; empty where its kind has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// Where P is orthonormal X [R, D], or [D, D] where it is square: pyreft's raw `rotate_layer` transposed, −1 on its diagonal at
    /// the start, else 0; where P is free P itself [R, D].
    pub projection: Vec<f32>,
    /// What X turns, where P is orthonormal.
    pub base: Option<Base>,
    /// c `[R]`.
    pub projection_bias: Vec<f32>,
    /// W [R, I].
    pub weight: Vec<f32>,
    /// b `[R]`.
    pub bias: Vec<f32>,
    /// What only some kinds have, by the names of [`Sizes::parts`].
    pub others: BTreeMap<&'static str, Vec<f32>>,
}

/// How many numbers an intervention's parameters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Width of what is edited.
    pub n_embd: usize,
    /// Width of what W is put on.
    pub n_in: usize,
    /// Dimensions of the subspace; 0 where nothing is trained.
    pub rank: usize,
    /// Virtual tokens, for kinds that have them; else 0.
    pub n_virtual: usize,
    /// The parameters' names in files, and their shapes; those that the kind does not have are left out.
    shapes: Vec<(&'static str, Vec<usize>)>,
}

/// The names of an encoder's parts, as peft's networks count them.
const ENCODER: [&str; 7] = [
    "embedding",
    "encoder.0.weight",
    "encoder.0.bias",
    "encoder.2.weight",
    "encoder.2.bias",
    "encoder.4.weight",
    "encoder.4.bias",
];

impl Sizes {
    /// The sizes for a kind.
    pub fn of(kind: &Kind, n_embd: usize, n_in: usize, rank: usize, add_bias: bool) -> Sizes {
        let (rank, shapes) = match kind.function {
            Function::Mix { .. } => (0, Vec::new()),
            Function::Scale => (0, vec![("scale", vec![n_embd])]),
            Function::Rows { .. } => (0, Vec::new()), // as `of_rows` has them
            Function::LowRank { projection, learned, bias, .. } => {
                let rank = match (projection, learned) {
                    (Projection::Boundless, _) => n_embd,
                    (Projection::FromZero, Learned::Bias) | (Projection::Detecting, _) => 1, // a vector
                    _ => rank,
                };
                let rows = if projection.is_square() { n_embd } else { rank };
                let has_weight = !matches!(learned, Learned::Bias | Learned::Source);
                let all = [
                    (true, "projection", vec![rows, n_embd]),
                    (has_weight, "weight", vec![rank, n_in]),
                    (bias, "bias", vec![rank]),
                    (add_bias && projection == Projection::Free, "projection_bias", vec![rank]),
                    (projection == Projection::Boundless, "boundary", vec![2]),
                    (projection == Projection::WithMagnitude, "magnitude", vec![n_embd]),
                    (projection == Projection::Detecting, "penalty", vec![1]),
                ];
                let there = all.into_iter().filter(|(is_there, ..)| *is_there);
                (rank, there.map(|(_, name, shape)| (name, shape)).collect())
            }
        };
        Sizes { n_embd, n_in, rank, n_virtual: 0, shapes }
    }

    /// The sizes of `n_virtual` learned rows of `width` in all: as they are, or of the network that they follow from, whose widths are
    /// `widths` from its embedding on.
    pub(super) fn of_rows(n_embd: usize, n_virtual: usize, width: usize, widths: &[usize]) -> Sizes {
        let mut shapes = vec![("embedding", vec![n_virtual, *widths.first().unwrap_or(&width)])];
        for (number, pair) in widths.windows(2).enumerate() {
            shapes.push((ENCODER[2 * number + 1], vec![pair[1], pair[0]]));
            shapes.push((ENCODER[2 * number + 2], vec![pair[1]]));
        }
        Sizes { n_embd, n_in: n_embd, rank: 0, n_virtual, shapes }
    }

    /// Where the parameters that begin at `at` lie, by their names in files.
    pub fn parts(&self, at: usize) -> Vec<Part> {
        let mut start = at;
        let part = |(name, shape): &(&'static str, Vec<usize>)| {
            let range = start..start + shape.iter().product::<usize>();
            start = range.end;
            Part { name, shape: shape.clone(), range }
        };
        self.shapes.iter().map(part).collect()
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
    /// uniform in 0 to 1; LoRA's and an adapter's P at 0; a scale at 1; a boundary as pyvene's;
    /// embeddings normal.
    pub(super) fn random(kind: &Kind, sizes: &Sizes, random: &mut ChaCha8Rng) -> Params {
        let (projection, learned) = match kind.function {
            Function::LowRank { projection, learned, .. } => (projection, learned),
            _ => (Projection::Free, Learned::Bias),
        };
        let mut params = Params::default();
        let mut n_in = sizes.n_in; // a bias has as many inputs as the matrix before it
        for part in sizes.parts(0) {
            let len = part.range.len();
            n_in = part.shape.get(1).copied().unwrap_or(n_in);
            let numbers = match part.name {
                "projection" if projection.is_orthonormal() => {
                    let rows = rotation::random_rows(part.shape[0], sizes.n_embd, random);
                    (params.projection, params.base) = from_rows(&rows, sizes.n_embd, projection.is_square());
                    continue;
                }
                "projection" if projection == Projection::Detecting => {
                    rotation::random_rows(1, len, random).into_iter().map(|w| w as f32).collect()
                }
                "bias" if projection == Projection::Detecting => vec![1.0; len], // until something is detected
                "penalty" => vec![0.0; len],
                "projection" if projection.is_from_zero() => vec![0.0; len],
                "magnitude" => vec![0.0; len], // until the model's weights are asked
                "projection" | "projection_bias" => linear(len, sizes.n_embd, random),
                "bias" if learned == Learned::Bias => {
                    (0..len).map(|_| rotation::uniform(random) as f32).collect()
                }
                "boundary" => BOUNDARY.to_vec(),
                "scale" => vec![1.0; len],
                "embedding" => (0..len).map(|_| rotation::normal(random) as f32).collect(),
                _ => linear(len, n_in, random),
            };
            *params.part_mut(part.name) = numbers;
        }
        params
    }

    /// The same parameters with X starting anew from an orthonormal R: [D, D] for a square one, else [R, D].
    #[must_use]
    pub fn from_rotation(self, rotation: &[f32], n_embd: usize, is_square: bool) -> Params {
        let rows: Vec<f64> = rotation.iter().map(|r| f64::from(*r)).collect();
        let (projection, base) = from_rows(&rows, n_embd, is_square);
        Params { projection, base, ..self }
    }

    /// Fails unless the numbers are as many as the kind wants.
    pub(super) fn check(&self, kind: &Kind, sizes: &Sizes) -> Result<()> {
        for Part { name, shape, range } in sizes.parts(0) {
            let (kind, got) = (kind.name, self.part(name).len());
            if got != range.len() {
                return Err(Error::input(format!("{kind}: {name}: expected {shape:?} numbers, got {got}")));
            }
        }
        let n_expected: usize = sizes.parts(0).iter().map(|part| part.range.len()).sum();
        let n_got: usize = self.all().map(<[f32]>::len).sum();
        if n_got != n_expected {
            let kind = kind.name;
            return Err(Error::input(format!("{kind}: expected {n_expected} numbers in all, got {n_got}")));
        }
        let projection = match kind.function {
            Function::LowRank { projection, .. } => projection,
            _ => Projection::Free,
        };
        match &self.base {
            None if !projection.is_orthonormal() => Ok(()),
            Some(base) if projection.is_orthonormal() && base.fits(sizes.n_embd, projection.is_square()) => {
                Ok(())
            }
            _ => Err(Error::input(format!(
                "{}: the rotation's base is not of width {}",
                kind.name, sizes.n_embd
            ))),
        }
    }

    /// Its parts, one after the other.
    fn all(&self) -> impl Iterator<Item = &[f32]> {
        let usual = [&self.projection, &self.weight, &self.bias, &self.projection_bias];
        usual.into_iter().chain(self.others.values()).map(Vec::as_slice)
    }

    /// The numbers of the part of this name, as [`Sizes::parts`] names them.
    pub(super) fn part(&self, name: &str) -> &[f32] {
        match name {
            "projection" => &self.projection,
            "weight" => &self.weight,
            "bias" => &self.bias,
            "projection_bias" => &self.projection_bias,
            _ => self.others.get(name).map_or(&[], Vec::as_slice),
        }
    }

    /// As [`Params::part`], to fill.
    pub(super) fn part_mut(&mut self, name: &'static str) -> &mut Vec<f32> {
        match name {
            "projection" => &mut self.projection,
            "weight" => &mut self.weight,
            "bias" => &mut self.bias,
            "projection_bias" => &mut self.projection_bias,
            _ => self.others.entry(name).or_default(),
        }
    }
}

/// pyvene's start of a boundary: half of the width, and the temperature it is annealed from.
const BOUNDARY: [f32; 2] = [0.5, 50.0];

/// X at its start, and the base whose first columns are the given rows.
fn from_rows(rows: &[f64], n_embd: usize, is_square: bool) -> (Vec<f32>, Option<Base>) {
    let mut x = vec![0.0; rows.len()];
    (0..rows.len() / n_embd).for_each(|j| x[j * n_embd + j] = -1.0);
    let base = match is_square {
        true => Base::Whole(rows.iter().map(|b| *b as f32).collect()),
        false => Base::of_rows(rows, n_embd),
    };
    (x, Some(base))
}

/// As torch's `Linear` starts: uniform within ±1/√(inputs).
fn linear(len: usize, inputs: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let bound = (inputs as f64).sqrt().recip();
    (0..len).map(|_| (bound * (2.0 * rotation::uniform(random) - 1.0)) as f32).collect()
}
