//! A machine that computes nothing and counts memory: what a model, an answer or a training would take on a device, by the code that takes it.

use std::cell::Cell;
use std::rc::Rc;

use crate::plan::Target;

/// Counts what tensors would take on a device. Clones count together.
#[derive(Clone)]
pub struct Tally(Rc<Inner>);

struct Inner {
    target: Target,
    max_tensor_bytes: u64,
    memory: Cell<u64>,
    peak: Cell<u64>,
}

impl Tally {
    /// Counts for a device with kernels of this kind that binds so many bytes at most.
    pub(super) fn new(target: Target, max_tensor_bytes: u64) -> Tally {
        Tally(Rc::new(Inner { target, max_tensor_bytes, memory: Cell::new(0), peak: Cell::new(0) }))
    }

    pub(super) fn target(&self) -> Target {
        self.0.target
    }

    pub(super) fn max_tensor_bytes(&self) -> u64 {
        self.0.max_tensor_bytes
    }

    pub(super) fn memory(&self) -> u64 {
        self.0.memory.get()
    }

    pub(super) fn peak(&self) -> u64 {
        self.0.peak.get()
    }

    pub(super) fn restart_peak(&self) {
        self.0.peak.set(self.memory());
    }

    pub(super) fn buffer(&self, bytes: u64) -> TallyBuffer {
        self.0.memory.set(self.memory() + bytes);
        self.0.peak.set(self.peak().max(self.memory()));
        TallyBuffer { tally: self.clone(), bytes }
    }
}

/// Memory that would be taken, until this is dropped.
pub(super) struct TallyBuffer {
    tally: Tally,
    bytes: u64,
}

impl Drop for TallyBuffer {
    fn drop(&mut self) {
        self.tally.0.memory.set(self.tally.memory() - self.bytes);
    }
}
