//! Inverted dropout of edited rows (Srivastava et al. 2014). What is dropped is drawn anew from the same counters on the way back.

use super::declare::kernel;
use super::{PCG, pcg};
use crate::plan::{Buf, Plan, Record, record};

pub(super) const KEPT: &str = wgsl!("lib/dropout.wgsl");

kernel! {
    /// x ← x · (0 | 1 / (1 − rate)), in place; its own gradient.
    DROPOUT: dropout {
        wgsl: [PCG, KEPT, wgsl!("dropout.wgsl")],
        params { n_embd: usize, stride: usize, first: usize, number: usize }
        args { edits: In<u32>, dropout: One<DropoutSettings>, x: InOut<f32> }
        twin: twin,
    }
}

record! {
    /// What the kernels read in one step.
    pub struct DropoutSettings {
        /// Of the seed and the step.
        pub key: u32,
        /// Rows of the step before the pass.
        pub rows_before: u32,
        /// Draws below it are dropped.
        pub threshold: u32,
        /// What the rest is multiplied by.
        pub gain: f32,
    }
}

/// What is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dropout {
    /// The share of numbers, below 1; 0 drops none.
    pub rate: f32,
    /// The same seed drops the same numbers.
    pub seed: u64,
}

impl Dropout {
    /// The settings of step `step`, in a pass before which the step had so many rows.
    pub fn settings(&self, step: u32, rows_before: u32) -> DropoutSettings {
        let [low, high] = [self.seed as u32, (self.seed >> 32) as u32];
        let key = [high, step].into_iter().fold(pcg(low), |key, next| pcg(key.wrapping_add(next)));
        let threshold = (self.rate * DRAWS).round() as u32;
        DropoutSettings { key, rows_before, threshold, gain: 1.0 / (1.0 - self.rate) }
    }
}

/// A draw is one of so many numbers: 24 bits.
const DRAWS: f32 = 16_777_216.0;

/// What an intervention drops, where it drops anything.
#[derive(Clone, Copy)]
pub struct Drops {
    /// [`DropoutSettings`] of the step.
    pub settings: Buf,
    /// The intervention's number: each draws for itself.
    pub number: usize,
}

/// Drops numbers of the rows of x [T, S] that `rows` [P, 2] names, in `width` columns from `first` on; or of their gradient.
pub fn dropout(plan: &mut Plan, drops: Drops, rows: Buf, x: Buf, [first, width]: [usize; 2]) {
    let ([n_rows, _], [_, stride]) = (plan.shape(rows), plan.shape(x));
    plan.expect("dropout: settings", drops.settings, &[DropoutSettings::WORDS]);
    assert!(first + width <= stride, "dropout: {width} columns from {first} on, of {stride}");
    plan.dispatch(
        &DROPOUT,
        dropout::Params { n_embd: width, stride, first, number: drops.number },
        dropout::Bufs { edits: rows, dropout: drops.settings, x },
        [1, n_rows, 1],
    );
}

impl DropoutSettings {
    /// What a number is multiplied by.
    pub(super) fn kept(&self, number: usize, row: u32, column: usize) -> f32 {
        let of_row =
            pcg(self.key.wrapping_add(number as u32)).wrapping_add(self.rows_before).wrapping_add(row);
        let drawn = pcg(pcg(of_row).wrapping_add(column as u32));
        if drawn >> 8 < self.threshold { 0.0 } else { self.gain }
    }
}

fn twin(p: &dropout::Params, a: dropout::Args<'_>) {
    let dropout::Params { n_embd, stride, first, number } = *p;
    let dropout::Args { edits, dropout: settings, x } = a;
    for edit in edits.chunks_exact(2) {
        let x = &mut x[edit[0] as usize * stride + first..][..n_embd];
        x.iter_mut().enumerate().for_each(|(d, x)| *x *= settings.kept(number, edit[0], d));
    }
}

#[cfg(test)]
mod tests {
    use super::Dropout;

    const N: usize = 200_000;

    /// Where each of N numbers is dropped, by a function from its place to settings' step, number, row and column.
    fn dropped(dropout: Dropout, at: impl Fn(usize) -> (usize, usize, usize, usize)) -> Vec<bool> {
        let drop = |(step, number, row, column): (usize, usize, usize, usize)| {
            dropout.settings(step as u32, 0).kept(number, row as u32, column) == 0.0
        };
        (0..N).map(|i| drop(at(i))).collect()
    }

    /// The share that is true lies within five deviations of what is expected.
    fn assert_share(of: impl Iterator<Item = bool>, expected: f64, what: &str) {
        let share = of.filter(|is| *is).count() as f64 / N as f64;
        let deviation = (expected * (1.0 - expected) / N as f64).sqrt();
        assert!((share - expected).abs() < 5.0 * deviation, "{what}: {share} for {expected}");
    }

    #[test]
    fn so_many_are_dropped_along_every_counter_and_neighbours_do_not_know_of_each_other() {
        for rate in [0.05, 0.5] {
            let (dropout, p) = (Dropout { rate, seed: 3 }, f64::from(rate));
            let along = [
                ("steps", dropped(dropout, |i| (i, 0, 5, 7))),
                ("interventions", dropped(dropout, |i| (1, i, 5, 7))),
                ("rows", dropped(dropout, |i| (1, 0, i, 7))),
                ("columns", dropped(dropout, |i| (1, 0, 5, i))),
                ("rows of 64", dropped(dropout, |i| (1, 0, i / 64, i % 64))),
            ];
            for (what, drops) in &along {
                assert_share(drops.iter().copied(), p, what);
                for apart in [1, 64] {
                    let both = drops.iter().zip(drops.iter().cycle().skip(apart)).map(|(a, b)| *a && *b);
                    assert_share(both, p * p, &format!("{what}, {apart} apart"));
                }
            }
            let other = dropped(Dropout { seed: 3 << 32, ..dropout }, |i| (1, 0, 5, i));
            assert_share(along[3].1.iter().zip(&other).map(|(a, b)| *a && *b), p * p, "another seed");
        }
    }

    #[test]
    fn the_mean_stays() {
        let dropout = Dropout { rate: 0.3, seed: 1 };
        let sum: f64 = (0..N).map(|i| f64::from(dropout.settings(2, 0).kept(1, 0, i))).sum();
        let deviation = (0.3f64 / 0.7 / N as f64).sqrt();
        assert!((sum / N as f64 - 1.0).abs() < 5.0 * deviation, "{}", sum / N as f64);
    }

    #[test]
    fn rows_are_counted_from_the_steps_first_and_nothing_is_dropped_at_0() {
        let dropout = Dropout { rate: 0.5, seed: 9 };
        let row = |before: u32, row: u32| -> Vec<f32> {
            (0..64).map(|d| dropout.settings(4, before).kept(0, row, d)).collect()
        };
        assert_eq!(row(10, 3), row(0, 13));
        assert_ne!(row(10, 3), row(0, 3));
        let none = Dropout { rate: 0.0, seed: 9 }.settings(1, 0);
        assert!((0..N).all(|i| none.kept(0, 0, i) == 1.0));
    }
}
