//! Training of interventions: examples, packed batches, the step, and the loop over epochs.

mod batch;
mod checkpoint;
mod divergence;
mod options;
mod pool;
mod reference;
pub mod reps;
mod schedule;
mod scores;
mod snapshot;
mod source;
mod states;
mod step;
mod task;
mod trainer;
mod training;
mod validation;
mod watch;

pub(crate) use batch::check_edited;
pub use batch::{Batch, Sequence, Shape, Target};
pub use checkpoint::Checkpoint;
pub use options::{PreferenceLoss, TrainOptions};
pub use reference::reference;
pub use schedule::Schedule;
pub use scores::scores;
pub use snapshot::{restore, snapshot};
pub use source::Source;
pub use states::Kept;
pub use task::Task;
pub use trainer::{Loss, PendingLoss, Trainer};
pub use training::{StepTime, TrainStep, Training};
pub use watch::{NoWatch, Phase, StepProgress, Watch};
