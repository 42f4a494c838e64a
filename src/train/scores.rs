//! What a trained head says.

use super::batch::{Batch, Sequence};
use super::pool::Pool;
use crate::backend::NoControl;
use crate::error::{Error, Result};
use crate::kernel;
use crate::model::{self, Model, Pass};
use crate::plan::Plan;
use crate::reft::{Edits, Reft};

/// The head's scores for each sequence.
///
/// # Errors
/// `Input` if there is no head, `Device` if the device was lost or finds no room.
pub async fn scores(model: &Model, reft: &Reft, sequences: &[&Sequence]) -> Result<Vec<Vec<f32>>> {
    let head = reft.head.as_ref().ok_or_else(|| Error::input("these interventions have no head"))?;
    let batch = Batch::pack(sequences);
    let mut plan = Plan::new("scores");
    let pass = Pass::new(&mut plan, batch.tokens.len());
    let mut edits = Edits::new(&mut plan, &[(reft, batch.shape().n_edits)]);
    let bufs = edits.bufs();
    let h = model::forward(&mut plan, model, &pass, None, &mut edits);
    let pool = Pool::new(&mut plan, &batch.shape(), &head.config);
    let [_, x] = pool.read(&mut plan, model, h);
    let theta = plan.tensor(&reft.theta);
    let scores = kernel::dense(&mut plan, &head.dense, x, theta);
    plan.keep(scores);

    let prepared = model.backend.prepare(plan)?;
    batch.write(&prepared, &pass, &bufs);
    pool.write(&prepared, &batch);
    let mut read = prepared.run_with(&[prepared.tensor(scores)], &NoControl).await?;
    let scores = read.pop().expect("one tensor is read").f32().await?;
    Ok(scores.chunks_exact(head.dense.n_out).map(<[f32]>::to_vec).collect())
}
