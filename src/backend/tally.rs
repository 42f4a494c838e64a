//! A machine that computes nothing and counts memory: what a model, an answer or a training would take on a device, by the code that takes it.

use super::account::{Account, Taken};
use super::gpu::{buffer_bytes, params_arena_bytes};
use crate::error::Result;
use crate::plan::Plan;
use crate::tensor::{Memory, Readback, Tensor};
use std::ops::Range;

/// Counts what tensors would take on a device. Clones count together.
#[derive(Clone)]
pub struct Tally {
    /// What the device binds at most.
    pub(super) max_tensor_bytes: u64,
    /// What one product of it is made with at most.
    pub(super) max_slab_weights: usize,
    pub(super) account: Account,
}

impl Tally {
    pub(super) fn tensor(&self, label: String, shape: &[usize]) -> Result<Tensor> {
        let len = shape.iter().product();
        let bytes = buffer_bytes(&label, len, self.max_tensor_bytes)?;
        let memory = Counted { _taken: self.account.take(bytes) };
        Ok(Tensor::new(label, shape, memory))
    }

    /// Takes what the params of a plan's steps would take.
    pub(super) fn record(&self, plan: &Plan) -> Taken {
        self.account.take(params_arena_bytes(plan) as u64)
    }
}

/// Memory that is counted; its words are zeros.
struct Counted {
    _taken: Taken,
}

impl Memory for Counted {
    fn write(&self, _at: usize, _words: &[u32]) {}

    fn read(&self, words: Range<usize>) -> Readback {
        Readback::ready(vec![0; words.len()])
    }

    fn probe(&self) -> Readback {
        Readback::ready(Vec::new())
    }
}
