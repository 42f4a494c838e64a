//! Who watches a run, and may end it early.

use crate::error::Error;

/// Watches a run: it's asked between submits on a GPU, and between steps on a CPU.
pub trait Control {
    /// Whether the run is to end early. It then fails with an error of kind `Aborted`.
    fn cancelled(&self) -> bool {
        false
    }

    /// Hears which share of the run's operations is done, from 0 to 1. The last submits of a run are not waited for.
    fn progress(&self, _share: f64) {}
}

/// Nobody watches.
pub struct NoControl;

impl Control for NoControl {}

/// Watches a run that is a part of a longer one.
pub struct Part<'a> {
    control: &'a dyn Control,
    first: f64,
    share: f64,
}

impl<'a> Part<'a> {
    /// Of `all` units of the whole, the part that has `count` of them after the first `before`.
    pub fn of(control: &'a dyn Control, before: usize, count: usize, all: usize) -> Part<'a> {
        let share_of = |n: usize| n as f64 / all.max(1) as f64;
        Part { control, first: share_of(before), share: share_of(count) }
    }
}

impl Control for Part<'_> {
    fn cancelled(&self) -> bool {
        self.control.cancelled()
    }

    fn progress(&self, share: f64) {
        self.control.progress(self.first + share * self.share);
    }
}

/// The error of a run that its caller ended.
pub(super) fn cancelled() -> Error {
    Error::aborted("the call was ended by its caller")
}
