//! Training of interventions: examples, packed batches, the step, and the loop over epochs.

mod batch;
mod schedule;
mod trainer;
mod training;

pub use batch::{Batch, Sequence, Shape};
pub use schedule::Schedule;
pub use trainer::{PendingLoss, Trainer};
pub use training::{TrainOptions, TrainStep, Training};
