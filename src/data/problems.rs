//! The faults of a list of examples as one error.

use crate::error::{Error, Result};

/// Faults quoted in full.
const QUOTED: usize = 20;

/// Faults found so far: the first ones in full, a count of the rest.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    quoted: Vec<String>,
    count: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, error: Error) {
        if !self.is_full() {
            self.quoted.push(error.to_string());
        }
        self.count += 1;
    }

    /// Whether a further fault is only counted, so that its text need not be made.
    pub(crate) fn is_full(&self) -> bool {
        self.count >= QUOTED
    }

    /// Counts a fault without its text.
    pub(crate) fn count_one(&mut self) {
        self.count += 1;
    }

    /// Fails with all faults, a line each.
    pub(crate) fn check(mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        if self.count > QUOTED {
            self.quoted.push(format!("and {} more faults", self.count - QUOTED));
        }
        Err(Error::input(self.quoted.join("\n")))
    }
}
