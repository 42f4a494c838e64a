//! The learning rate over the steps.

use crate::error::{Error, Result};

/// How the learning rate changes; Transformers' schedules of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Always the same, after a rise over the warm-up steps.
    Constant {
        /// Steps over which the rate rises from 0.
        warmup: usize,
    },
    /// Falls in a line to 0 at the last step, after a rise over the warm-up steps.
    Linear {
        /// Steps over which the rate rises from 0.
        warmup: usize,
        /// Steps in all.
        total: usize,
    },
    /// Falls as half a wave of the cosine to 0 at the last step, after a rise over the warm-up steps.
    Cosine {
        /// Steps over which the rate rises from 0.
        warmup: usize,
        /// Steps in all.
        total: usize,
    },
}

impl Schedule {
    /// The schedule of this name: `constant`, `linear` or `cosine`.
    ///
    /// # Errors
    /// `Input` for another name, or a warm-up longer than the training.
    pub fn named(name: &str, warmup: usize, total: usize) -> Result<Schedule> {
        if warmup > total {
            return Err(Error::input(format!("warm-up of {warmup} steps: the training has {total}")));
        }
        match name {
            "constant" => Ok(Schedule::Constant { warmup }),
            "linear" => Ok(Schedule::Linear { warmup, total }),
            "cosine" => Ok(Schedule::Cosine { warmup, total }),
            _ => Err(Error::not_known("schedule", name, ["constant", "linear", "cosine"])),
        }
    }

    /// What the rate is multiplied by at step `step`, counted from 0.
    pub fn factor(self, step: usize) -> f64 {
        let (Schedule::Constant { warmup }
        | Schedule::Linear { warmup, .. }
        | Schedule::Cosine { warmup, .. }) = self;
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        match self {
            Schedule::Constant { .. } => 1.0,
            Schedule::Linear { total, .. } => {
                total.saturating_sub(step) as f64 / (total - warmup).max(1) as f64
            }
            Schedule::Cosine { total, .. } => {
                let done = (step - warmup) as f64 / (total - warmup).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn linear_rises_over_the_warmup_and_falls_to_the_end() {
        let schedule = Schedule::named("linear", 3, 30).unwrap();
        let factors = [0, 1, 3, 4, 29, 30].map(|step| schedule.factor(step));
        assert_eq!(factors, [0.0, 1.0 / 3.0, 1.0, 26.0 / 27.0, 1.0 / 27.0, 0.0]);
    }

    #[test]
    fn cosine_falls_as_a_wave() {
        let schedule = Schedule::named("cosine", 2, 10).unwrap();
        let factors = [0, 1, 2, 6, 10].map(|step| schedule.factor(step));
        let want = [0.0, 0.5, 1.0, 0.5, 0.0];
        assert!(factors.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12), "{factors:?}");
    }

    #[test]
    fn constant_stays() {
        let schedule = Schedule::named("constant", 2, 10).unwrap();
        assert_eq!([0, 1, 2, 9].map(|step| schedule.factor(step)), [0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_warmup_beyond_the_end_is_refused() {
        assert!(Schedule::named("linear", 4, 3).is_err());
        assert!(Schedule::named("square", 0, 3).is_err());
    }
}
