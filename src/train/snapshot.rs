//! What training changes of interventions, as bytes: equal interventions on another machine get it back when theirs is lost.
//!
//! ```text
//! theta, rotations [n]   F32   parameters, and what follows from them
//! m, v [n]               F32   the optimizer's means, where single steps were made
//! metadata webreft-snapshot   JSON  steps of the optimizer, how the interventions were trained
//! ```

use super::Trainer;
use super::checkpoint::{read, values_of, write};
use crate::backend::Backend;
use crate::error::Result;
use crate::reft::{Reft, Trained};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

const METADATA: &str = "webreft-snapshot";

#[derive(Deserialize, Serialize)]
struct About {
    /// Steps that the optimizer of single steps has made; none where there is no such optimizer.
    n_steps: Option<u32>,
    trained: Option<Trained>,
}

fn parameters(reft: &Reft) -> [(&'static str, &Tensor); 2] {
    [("theta", &reft.theta), ("rotations", &reft.rot)]
}

fn moments(trainer: &Trainer) -> [(&'static str, &Tensor); 2] {
    let [m, v] = &trainer.moments;
    [("m", m), ("v", v)]
}

/// What training has changed of interventions, and the state of an optimizer that goes on from step to step.
///
/// # Errors
/// `Device` if the device was lost.
pub async fn snapshot(reft: &Reft, trainer: Option<&Trainer>) -> Result<Vec<u8>> {
    let mut values = Vec::new();
    for (name, tensor) in parameters(reft).into_iter().chain(trainer.into_iter().flat_map(moments)) {
        values.push((name, tensor.read().f32().await?));
    }
    let about = About { n_steps: trainer.map(|trainer| trainer.n_steps), trained: reft.trained() };
    Ok(write(METADATA, &about, &values))
}

/// Gives equal interventions what [`snapshot`] read; returns the optimizer, where there was one.
///
/// # Errors
/// `File` if the bytes are damaged or of other interventions, `Device` if an optimizer finds no room.
pub fn restore(backend: &Backend, reft: &Reft, bytes: &[u8]) -> Result<Option<Trainer>> {
    let (about, numbers): (About, _) = read(METADATA, bytes).map_err(|error| error.at("not a snapshot"))?;
    for (name, tensor) in parameters(reft) {
        tensor.write_f32(values_of(&numbers, name, tensor)?);
    }
    if let Some(trained) = about.trained {
        reft.note(trained);
    }
    let Some(n_steps) = about.n_steps else { return Ok(None) };
    let mut trainer = Trainer::new(backend, reft)?;
    for (name, tensor) in moments(&trainer) {
        tensor.write_f32(values_of(&numbers, name, tensor)?);
    }
    trainer.n_steps = n_steps;
    Ok(Some(trainer))
}
