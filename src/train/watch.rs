//! Who watches a training within its steps, and may end them early.

use crate::backend::Control;
use crate::clock;
use serde::Serialize;
use std::cell::Cell;

/// Seconds between two reports at least.
const EVERY: f64 = 0.1;

/// What a training computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// What every step uses: states below the lowest edit, sources, references.
    Prepare,
    /// A step.
    Step,
    /// The loss of what is held back.
    Validate,
}

/// How far a training is within a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepProgress {
    /// What is computed.
    pub phase: Phase,
    /// The step, counted from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The share of the phase that is done, from 0 to 1.
    pub share: f64,
    /// Seconds that the rest of the phase is expected to take; none before there is anything to go by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
}

/// Watches a training.
pub trait Watch {
    /// Whether the call is to end early. The training goes on from its last whole step when it's asked again.
    fn cancelled(&self) -> bool {
        false
    }

    /// Hears how far it is, about ten times a second.
    fn progress(&self, _progress: &StepProgress) {}
}

/// Nobody watches.
pub struct NoWatch;

impl Watch for NoWatch {}

/// A phase of a step, as the runs in it see it.
pub(super) struct Watched<'a> {
    watch: &'a dyn Watch,
    phase: Phase,
    step: usize,
    steps: usize,
    start: f64,
    told: Cell<f64>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(watch: &'a dyn Watch, phase: Phase, step: usize, steps: usize) -> Watched<'a> {
        let start = clock::seconds();
        Watched { watch, phase, step, steps, start, told: Cell::new(f64::MIN) }
    }
}

impl Control for Watched<'_> {
    fn cancelled(&self) -> bool {
        self.watch.cancelled()
    }

    fn progress(&self, share: f64) {
        let now = clock::seconds();
        if now - self.told.get() < EVERY {
            return;
        }
        self.told.set(now);
        let seconds_left = (share > 0.0).then(|| (now - self.start) * (1.0 - share) / share);
        let Watched { phase, step, steps, .. } = *self;
        self.watch.progress(&StepProgress { phase, step, steps, share, seconds_left });
    }
}
