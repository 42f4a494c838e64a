//! How much memory is taken on a machine: now, and at the most so far.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that are taken. Clones are one account.
#[derive(Clone, Default)]
pub(super) struct Account(Rc<Bytes>);

#[derive(Default)]
struct Bytes {
    now: Cell<u64>,
    peak: Cell<u64>,
}

impl Account {
    pub(super) fn now(&self) -> u64 {
        self.0.now.get()
    }

    pub(super) fn peak(&self) -> u64 {
        self.0.peak.get()
    }

    /// Lets the peak begin anew with what is taken now.
    pub(super) fn restart_peak(&self) {
        self.0.peak.set(self.now());
    }

    /// Takes bytes until the result is dropped.
    pub(super) fn take(&self, bytes: u64) -> Taken {
        self.0.now.set(self.now() + bytes);
        self.0.peak.set(self.peak().max(self.now()));
        Taken { account: self.clone(), bytes }
    }
}

/// Bytes of an account, given back when dropped.
pub(super) struct Taken {
    account: Account,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.account.0.now.set(self.account.now() - self.bytes);
    }
}
