//! A fault on purpose: the k-th operation of a machine fails.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::rc::Rc;

/// Counts allocations, runs and readbacks, and lets one of them fail. Clones count together.
#[derive(Clone, Default)]
pub(super) struct FailAt(Rc<Cell<u64>>);

impl FailAt {
    /// Lets the k-th operation from now on fail; 0 lets none. Returns how many were left before the one that was to fail, it among them.
    pub(super) fn set(&self, k: u64) -> u64 {
        self.0.replace(k)
    }

    /// Counts an operation.
    ///
    /// # Errors
    /// `Device` if it is the one that fails.
    pub(super) fn count(&self, operation: &str) -> Result<()> {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        if left == 1 { Err(Error::device(format!("{operation}: a fault on purpose"))) } else { Ok(()) }
    }
}
