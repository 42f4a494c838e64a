//! A machine that computes nothing and counts memory: what a model, an answer or a training would take on a device, by the code that takes it.

use super::account::Account;

/// Counts what tensors would take on a device. Clones count together.
#[derive(Clone)]
pub struct Tally {
    /// What the device binds at most.
    pub(super) max_tensor_bytes: u64,
    pub(super) account: Account,
}
