//! What a template may take: steps, and bytes that its values hold at once.
//!
//! A template is a program from an unknown author. Each evaluated node, and each 16 bytes that are read or made, is a step. Texts and
//! lists count their bytes while they live.

use std::cell::Cell;

use super::fault::{Fault, Outcome};

thread_local! {
    /// Bytes of all values that live on this thread.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that count for one step.
const BYTES_PER_STEP: usize = 16;

/// Bytes that a value holds; dropping it gives them back.
#[derive(Debug)]
pub(super) struct Held(usize);

impl Held {
    pub(super) fn new(bytes: usize) -> Held {
        HELD.set(HELD.get().saturating_add(bytes));
        Held(bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // After the thread's storage is gone there is nothing to count.
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(self.0)));
    }
}

/// The bounds of one run.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    /// Steps in all.
    pub(in super::super) steps: u64,
    /// Bytes held at once, the text that is written included.
    pub(in super::super) bytes: usize,
}

/// Counts one run against its limits.
#[derive(Debug)]
pub(super) struct Meter {
    steps: Cell<u64>,
    bytes: usize,
    start: usize,
    written: Cell<usize>,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Meter {
        Meter {
            steps: Cell::new(limits.steps),
            bytes: limits.bytes,
            start: HELD.get(),
            written: Cell::new(0),
        }
    }

    /// Counts one step.
    pub(super) fn step(&self) -> Outcome<()> {
        self.read(0)
    }

    /// Counts a value of so many bytes that is read.
    pub(super) fn read(&self, bytes: usize) -> Outcome<()> {
        self.take(bytes, self.held() <= self.bytes)
    }

    /// Counts a value of so many bytes before it is made.
    pub(super) fn make(&self, bytes: usize) -> Outcome<()> {
        self.take(bytes, self.held().saturating_add(bytes) <= self.bytes)
    }

    /// Fails if a value of so many bytes, which is being made, is too large.
    pub(super) fn fits(&self, bytes: usize) -> Outcome<()> {
        if self.held().saturating_add(bytes) <= self.bytes { Ok(()) } else { Err(too_much()) }
    }

    fn take(&self, bytes: usize, fits: bool) -> Outcome<()> {
        let steps = (bytes / BYTES_PER_STEP + 1) as u64;
        match self.steps.get().checked_sub(steps).filter(|_| fits) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => Err(too_much()),
        }
    }

    /// Counts text that is written.
    pub(super) fn write(&self, bytes: usize) -> Outcome<()> {
        self.make(bytes)?;
        self.written.set(self.written.get().saturating_add(bytes));
        Ok(())
    }

    /// Gives back text that was captured instead of written.
    pub(super) fn unwrite(&self, bytes: usize) {
        self.written.set(self.written.get().saturating_sub(bytes));
    }

    fn held(&self) -> usize {
        HELD.get().saturating_sub(self.start).saturating_add(self.written.get())
    }
}

fn too_much() -> Fault {
    Fault::limit("out of fuel: the template reads and makes more text than its messages justify")
}
