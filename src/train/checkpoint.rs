//! A training in the middle as a file, from which it goes on as if it had never been left: bit for bit on the same device.
//!
//! ```text
//! theta, m, v [n]   bases, rotations   F32   parameters, the optimizer's means, and the rotations' state
//! best_theta, best_rotations           F32   those of the lowest loss in validation, where they are kept
//! metadata webreft-checkpoint          JSON  configs, head, options, steps made, order, random state, the step not yet reported,
//!                                            what validation has shown
//! ```

use super::training::Pending;
use super::validation::Shown;
use super::{StepTime, TrainOptions, TrainStep, Trainer, Training};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::reft::{HeadConfig, Reft, ReftConfig};
use crate::tensor::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const METADATA: &str = "webreft-checkpoint";
const BEST: [&str; 2] = ["best_theta", "best_rotations"];

#[derive(Deserialize, Serialize)]
struct About {
    fingerprint: String,
    configs: Vec<ReftConfig>,
    head: Option<HeadConfig>,
    options: TrainOptions,
    /// SHA-256 of all tokens.
    examples: String,
    n_done: usize,
    n_steps: u32,
    order: Vec<usize>,
    /// Where the random numbers stand, in words of 32 bits.
    random: u128,
    pending: Option<(TrainStep, StepTime)>,
    shown: Shown,
}

/// The interventions a checkpoint is of, and how they were trained, without the training.
pub struct Checkpoint {
    about: About,
    tensors: Vec<(String, Vec<f32>)>,
}

fn tensors<'a>(reft: &'a Reft, trainer: &'a Trainer) -> [(&'static str, &'a Tensor); 5] {
    let [m, v] = &trainer.moments;
    [("theta", &reft.theta), ("m", m), ("v", v), ("bases", &reft.base), ("rotations", &reft.rot)]
}

impl Training {
    /// All that is wanted to go on, as a file; the training itself goes on as if nothing had been.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn checkpoint(&mut self, model: &Model, reft: &Reft, trainer: &Trainer) -> Result<Vec<u8>> {
        let mut values = Vec::new();
        for (name, tensor) in tensors(reft, trainer) {
            values.push((name, tensor.read().f32().await?));
        }
        values.extend(BEST.into_iter().zip(self.shown.best.iter().flatten().cloned()));
        let pending = match self.pending.take() {
            Some(pending) => Some(self.report(pending).await?),
            None => None,
        };
        self.pending = pending.map(|(step, time)| Pending::Known(step, time));
        let about = About {
            fingerprint: model.fingerprint.clone(),
            configs: reft.configs.clone(),
            head: reft.head.map(|head| head.config),
            options: self.options.clone(),
            examples: self.examples(),
            n_done: self.n_done,
            n_steps: trainer.n_steps,
            order: self.order.clone(),
            random: self.random.get_word_pos(),
            pending,
            shown: self.shown.clone(),
        };
        let about = serde_json::to_string(&about).expect("plain data");
        let views = values.iter().map(|(name, values)| {
            let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values));
            (*name, view.expect("the shape holds the values"))
        });
        let metadata = HashMap::from([(METADATA.to_owned(), about)]);
        Ok(safetensors::serialize(views, Some(metadata)).expect("every tensor is whole"))
    }

    /// What tells these examples from others.
    fn examples(&self) -> String {
        let mut digest = Sha256::new();
        for sequence in &self.sequences {
            let source = sequence.source.iter().map(|source| &source.tokens);
            for tokens in std::iter::once(&sequence.tokens).chain(source) {
                digest.update((tokens.len() as u64).to_le_bytes());
                digest.update(bytemuck::cast_slice::<u32, u8>(tokens));
            }
        }
        digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Goes on where the checkpoint was made. The training must be a new one on the same examples with the checkpoint's options, the
    /// interventions and the trainer new ones of [`Checkpoint::reft`].
    ///
    /// # Errors
    /// `Input` if the examples are others.
    pub fn resume(&mut self, checkpoint: &Checkpoint, reft: &Reft, trainer: &mut Trainer) -> Result<()> {
        let about = &checkpoint.about;
        if about.examples != self.examples() {
            return Err(Error::input("the checkpoint is of a training on other examples"));
        }
        for (name, tensor) in tensors(reft, trainer) {
            tensor.write_f32(checkpoint.values(name, tensor)?);
        }
        self.shown = about.shown.clone();
        if checkpoint.tensors.iter().any(|(name, _)| name == BEST[0]) {
            let [theta, rotations] = [(BEST[0], &reft.theta), (BEST[1], &reft.rot)]
                .map(|(name, tensor)| checkpoint.values(name, tensor).map(<[f32]>::to_vec));
            self.shown.best = Some([theta?, rotations?]);
        }
        trainer.n_steps = about.n_steps;
        self.n_done = about.n_done;
        self.order.clone_from(&about.order);
        self.random.set_word_pos(about.random);
        self.pending = about.pending.map(|(step, time)| Pending::Known(step, time));
        Ok(())
    }
}

impl Checkpoint {
    /// Reads a file that [`Training::checkpoint`] made with this model.
    ///
    /// # Errors
    /// `File` if it is damaged or not such a file, `Input` if it was made with another model.
    pub fn read(model: &Model, bytes: &[u8]) -> Result<Checkpoint> {
        let damaged = |error: &dyn std::fmt::Display| Error::file(format!("not a checkpoint: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
        let about = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let about = about.ok_or_else(|| damaged(&format!("expected metadata {METADATA:?}")))?;
        let about: About = serde_json::from_str(about).map_err(|error| damaged(&error))?;
        if about.fingerprint != model.fingerprint {
            return Err(Error::input(format!(
                "the checkpoint is of a training on another model ({}), loaded is {:?} ({})",
                about.fingerprint, model.name, model.fingerprint
            )));
        }
        let tensors = file.iter().map(|(name, view)| match view.dtype() {
            Dtype::F32 => Ok((name.to_owned(), bytemuck::pod_collect_to_vec(view.data()))),
            other => Err(damaged(&format!("tensor {name:?} is {other:?}"))),
        });
        Ok(Checkpoint { tensors: tensors.collect::<Result<_>>()?, about })
    }

    /// The numbers of one of its tensors, as many as `like` has.
    fn values(&self, name: &str, like: &Tensor) -> Result<&[f32]> {
        let values = self.tensors.iter().find(|(known, _)| known == name);
        let values = values.map(|(_, values)| &values[..]).filter(|values| [values.len()] == like.shape());
        values.ok_or_else(|| {
            Error::file(format!("checkpoint: tensor {name:?}: expected {:?} numbers", like.shape()))
        })
    }

    /// New interventions as those that were trained; [`Training::resume`] fills them.
    ///
    /// # Errors
    /// As [`Reft::with_head`].
    pub fn reft(&self, model: &Model) -> Result<Reft> {
        Reft::with_head(model, &self.about.configs, self.about.head)
    }

    /// How they were trained.
    pub fn options(&self) -> &TrainOptions {
        &self.about.options
    }
}
