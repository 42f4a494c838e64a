//! How much is submitted at once, and how far ahead of the device.
//!
//! A submit is cut so that the device is held for about [`SECONDS`]: an operating system takes a GPU away that does not answer for
//! two seconds, and whoever ends a run waits for the submits in flight. Operations are counted by `Step::work`; how many of them the
//! device does in a second is measured on its own submits.

use crate::clock;
use futures_channel::oneshot;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// How long a submit is to take.
const SECONDS: f64 = 0.05;

/// Submits that are not known to be done, at most, where a run waits.
pub(super) const IN_FLIGHT: usize = 2;

/// Operations a second before anything is measured: what a slow integrated GPU does.
const CAUTIOUS_RATE: f64 = 2e10;

/// A submit that took less says little of how slow the device is.
const TELLING_SECONDS: f64 = 0.1 * SECONDS;

/// The pace of one device.
pub(super) struct Pace {
    /// Operations a second.
    rate: Cell<f64>,
    in_flight: RefCell<VecDeque<Submit>>,
    /// When the last submit that is known to be done was done.
    last: Cell<Done>,
    n_long: Cell<u64>,
}

/// A submit that is not known to be done.
pub(super) struct Submit {
    pub(super) index: wgpu::SubmissionIndex,
    work: u64,
    /// When it was submitted.
    at: f64,
    /// When it was done.
    done: oneshot::Receiver<f64>,
}

#[derive(Clone, Copy)]
struct Done {
    at: f64,
    /// Whether somebody waited for it: else it may have been done long before.
    is_exact: bool,
}

impl Default for Pace {
    fn default() -> Pace {
        let last = Cell::new(Done { at: 0.0, is_exact: true });
        Pace { rate: Cell::new(CAUTIOUS_RATE), in_flight: RefCell::default(), last, n_long: Cell::new(0) }
    }
}

impl Pace {
    /// Operations of one submit.
    pub(super) fn budget(&self) -> u64 {
        (self.rate.get() * SECONDS) as u64
    }

    /// Forgets what was measured.
    pub(super) fn believe(&self, rate: f64) {
        self.rate.set(rate);
    }

    /// Where a submit that begins with the first of these steps ends: after as many as the budget allows, and at least one. A step
    /// that is longer by itself stays whole.
    pub(super) fn cut(&self, work: impl Iterator<Item = u64>) -> usize {
        let budget = self.budget();
        let sums = work.scan(0u64, |sum, work| {
            *sum += work;
            Some(*sum)
        });
        sums.take_while(|sum| *sum <= budget).count().max(1)
    }

    /// Notes what was just submitted.
    pub(super) fn submitted(&self, queue: &wgpu::Queue, index: wgpu::SubmissionIndex, work: u64) {
        self.n_long.set(self.n_long.get() + u64::from(work > self.budget()));
        let (sender, done) = oneshot::channel();
        queue.on_submitted_work_done(move || {
            let _ = sender.send(clock::seconds()); // nobody may ask
        });
        self.in_flight.borrow_mut().push_back(Submit { index, work, at: clock::seconds(), done });
    }

    /// Submits that were longer than planned, because one step of theirs was.
    pub(super) fn n_long(&self) -> u64 {
        self.n_long.get()
    }

    /// The first submit in flight, where there are as many as may be.
    pub(super) fn first(&self) -> Option<Submit> {
        let mut in_flight = self.in_flight.borrow_mut();
        if in_flight.len() >= IN_FLIGHT { in_flight.pop_front() } else { None }
    }

    /// Operations that are not known to be done.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.borrow().iter().map(|submit| submit.work).sum()
    }

    /// Takes in when a submit was done. An observation that nobody waited for may be late: it can only tell that the device is faster.
    fn measured(&self, submit: &Submit, done: Done) {
        let before = self.last.replace(done);
        let is_exact = done.is_exact && (before.is_exact || before.at <= submit.at);
        let start = if is_exact { submit.at.max(before.at) } else { submit.at };
        let seconds = (done.at - start).max(1e-6);
        let (rate, measured) = (self.rate.get(), submit.work as f64 / seconds);
        let is_full = submit.work >= self.budget() / 2;
        if measured > rate && (is_full || seconds > TELLING_SECONDS) {
            self.rate.set(measured.min(2.0 * rate));
        } else if measured < rate && is_exact && seconds > TELLING_SECONDS {
            self.rate.set(measured);
        }
    }

    /// Waits for a submit and measures it. `wait` waits natively, and does nothing in a browser.
    pub(super) async fn wait(&self, mut submit: Submit, wait: impl FnOnce(&wgpu::SubmissionIndex)) {
        let done_before = submit.done.try_recv().ok().flatten();
        wait(&submit.index);
        let at = match done_before {
            Some(at) => Some(at),
            None => arrived(&mut submit.done).await,
        };
        if let Some(at) = at {
            self.measured(&submit, Done { at, is_exact: done_before.is_none() });
        }
    }
}

/// What a callback sent: natively it was called while the device was waited for, if it is called at all.
#[cfg(not(target_arch = "wasm32"))]
async fn arrived(done: &mut oneshot::Receiver<f64>) -> Option<f64> {
    done.try_recv().ok().flatten()
}

/// What a callback sends: the browser calls it.
#[cfg(target_arch = "wasm32")]
async fn arrived(done: &mut oneshot::Receiver<f64>) -> Option<f64> {
    done.await.ok()
}

#[cfg(test)]
mod tests {
    use super::{CAUTIOUS_RATE, Pace, SECONDS};

    #[test]
    fn a_submit_is_as_long_as_the_budget() {
        let pace = Pace::default();
        let budget = (CAUTIOUS_RATE * SECONDS) as u64;
        assert_eq!(pace.budget(), budget);
        assert_eq!(pace.cut([budget / 2, budget / 2, 1].into_iter()), 2);
        assert_eq!(pace.cut([budget, 1].into_iter()), 1);
        assert_eq!(pace.cut([2 * budget, 1].into_iter()), 1, "a long step stays whole");
        assert_eq!(pace.cut([1, 2 * budget].into_iter()), 1, "and by itself");
    }
}
