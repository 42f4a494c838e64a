//! Validation: examples that are held back from learning, and what follows from how they fare after each epoch.

use super::training::shuffled;
use super::{Sequence, TrainOptions};
use crate::error::{Error, Result};
use crate::reft::Reft;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// Puts what is held back behind what is learned; also returns how many are learned. Sequences are counted and drawn in groups.
///
/// # Errors
/// `Input` if it is neither a share nor a count, if nothing would be left to learn, or if options want what is not held back.
pub(super) fn hold_back(
    sequences: Vec<Sequence>,
    group: usize,
    options: &TrainOptions,
) -> Result<(Vec<Sequence>, usize)> {
    let n_groups = sequences.len() / group;
    let n_learned = n_groups - n_held(options, n_groups)?;
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    random.set_stream(1); // the order of what is learned does not hang on it
    let order = match options.validation < 1.0 {
        true => shuffled(n_groups, &mut random),
        false => (0..n_groups).collect(),
    };
    let mut is_held = vec![false; n_groups];
    order[n_learned..].iter().for_each(|number| is_held[*number] = true);
    let (mut learned, mut held) = (Vec::new(), Vec::new());
    for (number, sequence) in sequences.into_iter().enumerate() {
        let to = if is_held[number / group] { &mut held } else { &mut learned };
        to.push(sequence);
    }
    learned.extend(held);
    Ok((learned, n_learned))
}

/// How many of so many groups are held back.
fn n_held(options: &TrainOptions, n_groups: usize) -> Result<usize> {
    let TrainOptions { validation, patience, keep_best, .. } = *options;
    if validation == 0.0 {
        let asked = [("patience", patience > 0), ("keepBest", keep_best)];
        return match asked.into_iter().find(|(_, is_asked)| *is_asked) {
            Some((name, _)) => {
                Err(Error::input(format!("{name} wants a validation: hold some examples back")))
            }
            None => Ok(0),
        };
    }
    let n_held = match validation {
        share if 0.0 < share && share < 1.0 => (share * n_groups as f64).round().max(1.0) as usize,
        count if count >= 1.0 && count.fract() == 0.0 => count as usize,
        _ => {
            let text = format!("validation {validation}: expected a share below 1, or a count of examples");
            return Err(Error::input(text));
        }
    };
    match n_held < n_groups {
        true => Ok(n_held),
        false => Err(Error::input(format!(
            "validation {validation}: of {n_groups} examples none is left to learn"
        ))),
    }
}

/// What validation has shown so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Shown {
    /// The lowest loss.
    lowest: Option<f64>,
    /// Epochs since then.
    epochs_since: usize,
    /// Parameters and rotations as they were then, where they are kept.
    #[serde(skip)]
    pub(super) best: Option<[Vec<f32>; 2]>,
}

impl Shown {
    /// Takes in the loss after an epoch, and with `keep` the parameters, if they are the best so far.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub(super) async fn take_in(&mut self, loss: f64, keep: bool, reft: &Reft) -> Result<()> {
        if self.lowest.is_some_and(|lowest| loss >= lowest) || loss.is_nan() {
            self.epochs_since += 1;
            return Ok(());
        }
        (self.lowest, self.epochs_since) = (Some(loss), 0);
        if keep {
            let [theta, rotations] = [&reft.theta, &reft.rot].map(|tensor| tensor.read());
            self.best = Some([theta.f32().await?, rotations.f32().await?]);
        }
        Ok(())
    }

    /// Whether the loss has not fallen for so many epochs; never for 0.
    pub(super) fn is_out_of(&self, patience: usize) -> bool {
        patience > 0 && self.epochs_since >= patience
    }

    /// Gives the interventions the best parameters; whether there are any.
    pub(super) fn restore(&self, reft: &Reft) -> bool {
        let Some([theta, rotations]) = &self.best else { return false };
        reft.theta.write_f32(theta);
        reft.rot.write_f32(rotations);
        true
    }
}
