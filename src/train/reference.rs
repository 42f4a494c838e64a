//! What the model says without edits: the reference of a preference between answers.

use super::batch::{Batch, Sequence};
use crate::backend::{Control, NoControl};
use crate::error::Result;
use crate::model::{self, Labels, Model, NoHooks, Pass};
use crate::plan::Plan;

/// The sum of each sequence's label losses without edits, in nats.
///
/// # Errors
/// `Device` if the device was lost or finds no room.
pub async fn reference(model: &Model, sequences: &[&Sequence]) -> Result<Vec<f32>> {
    reference_with(model, sequences, &NoControl).await
}

/// As [`reference`]; `control` may end it.
pub(super) async fn reference_with(
    model: &Model,
    sequences: &[&Sequence],
    control: &dyn Control,
) -> Result<Vec<f32>> {
    let bare: Vec<Sequence> = sequences.iter().map(|sequence| sequence.bare()).collect();
    let batch = Batch::pack(&bare.iter().collect::<Vec<_>>());
    let mut plan = Plan::new("reference");
    let pass = Pass::new(&mut plan, batch.tokens.len());
    let h = model::forward(&mut plan, model, &pass, None, &mut NoHooks);
    let labels = Labels::new(&mut plan, batch.tokens.len(), batch.labels.len(), model.labels_at_once());
    model.token_losses(&mut plan, h, &labels);

    let prepared = model.backend.prepare(plan)?;
    batch.write(&prepared, &pass, &[]);
    batch.write_labels(&prepared, &labels);
    let mut read = prepared.run_with(&[prepared.tensor(labels.losses)], control).await?;
    let losses = read.pop().expect("one tensor is read").f32().await?;
    let sum = |[first, end]: &[u32; 2]| (*first as usize..*end as usize).map(|i| losses[2 * i]).sum();
    Ok(batch.ranges.iter().map(sum).collect())
}
