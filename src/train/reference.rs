//! What the model says without edits: the reference of a preference between answers.

use super::batch::{Batch, Sequence};
use crate::error::Result;
use crate::model::{self, Labels, Model, NoHooks, Pass};
use crate::plan::{Buf, Plan};

/// The sum of each sequence's label losses without edits, in nats.
///
/// # Errors
/// `Device` if the device was lost or finds no room.
pub async fn reference(model: &Model, sequences: &[&Sequence]) -> Result<Vec<f32>> {
    let batch = Batch::pack(sequences);
    let mut plan = Plan::new("reference", model.backend.target());
    let pass = Pass::new(&mut plan, batch.tokens.len());
    let h = model::forward(&mut plan, model, &pass, None, &mut NoHooks);
    let labels = Labels::new(&mut plan, batch.tokens.len(), batch.labels.len(), model.labels_at_once());
    model.token_losses(&mut plan, h, &labels);

    let prepared = model.backend.prepare(plan)?;
    let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
    write(pass.tokens, &batch.tokens);
    write(pass.place, batch.place.as_flattened());
    write(pass.span, batch.span.as_flattened());
    write(labels.ids, &batch.labels.iter().map(|label| label[1]).collect::<Vec<_>>());
    for group in &labels.groups {
        let n = prepared.tensor(group.rows).shape()[0];
        let part = &batch.labels[group.first..group.first + n];
        write(group.rows, &part.iter().map(|label| label[0]).collect::<Vec<_>>());
    }
    prepared.run()?;
    let losses = prepared.tensor(labels.losses).read().f32().await?;
    Ok(batch.ranges.iter().map(|[first, end]| losses[*first as usize..*end as usize].iter().sum()).collect())
}
