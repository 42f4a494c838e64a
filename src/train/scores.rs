//! What a trained head says.

use super::batch::{Batch, Sequence};
use crate::error::{Error, Result};
use crate::kernel;
use crate::model::{self, Model, Pass};
use crate::plan::Plan;
use crate::reft::{Edits, Reft};

/// The head's scores for each sequence, read at its last token.
///
/// # Errors
/// `Input` if there is no head, `Device` if the device was lost or finds no room.
pub async fn scores(model: &Model, reft: &Reft, sequences: &[&Sequence]) -> Result<Vec<Vec<f32>>> {
    let head = reft.head.as_ref().ok_or_else(|| Error::input("these interventions have no head"))?;
    let batch = Batch::pack(sequences);
    let mut plan = Plan::new("scores", model.backend.target());
    let pass = Pass::new(&mut plan, batch.tokens.len());
    let mut edits = Edits::new(&mut plan, &[(reft, batch.shape().n_edits)]);
    let bufs = edits.bufs();
    let h = model::forward(&mut plan, model, &pass, None, &mut edits);
    plan.at("head");
    let ends = plan.kept("ends", &[batch.ends.len()]);
    let [_, xn] = model.normed_rows(&mut plan, h, ends);
    let theta = plan.tensor(&reft.theta);
    let scores = kernel::dense(&mut plan, &head.dense, xn, theta);
    plan.keep(scores);

    let prepared = model.backend.prepare(plan)?;
    batch.write(&prepared, &pass, &bufs);
    prepared.tensor(ends).write(0, &batch.ends);
    prepared.run()?;
    let scores = prepared.tensor(scores).read().f32().await?;
    Ok(scores.chunks_exact(head.dense.n_out).map(<[f32]>::to_vec).collect())
}
