//! The file of a [`Reft`]: safetensors, a few kilobytes.
//!
//! ```text
//! interventions.<i>.rotation         [R, D]  F32   R, orthonormal rows; for kinds that have one
//! interventions.<i>.projection       [R, D]  F32   P, where it is free
//! interventions.<i>.weight           [R, I]  F32   W
//! interventions.<i>.bias             [R]     F32   b
//! interventions.<i>.projection_bias  [R]     F32   c
//! interventions.<i>.<part>                   F32   what only some kinds have, by its name and in its shape
//! head.weight, head.bias             [N, D], [N]   where there is a head
//! metadata webreft                           JSON  format, configs, head, classes (names), base_model (name), fingerprint; hashes of tokenizer and chat
//!                                                  template; how they were trained, if they were
//! ```
//!
//! Interventions that share parameters with an earlier one have no tensors. All metadata is one text, so that the same
//! interventions are the same bytes.

use super::{Head, HeadConfig, HeadParams, Intervention, Params, Part, Reft, ReftConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{OrthogonalMap, Rotation};
use crate::model::Model;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;

const FORMAT: &str = "webreft/1";
const METADATA: &str = "webreft";
const HEAD: [&str; 2] = ["head.weight", "head.bias"];

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct About {
    /// The file's format and its version.
    pub format: String,
    /// What the interventions are.
    pub configs: Vec<ReftConfig>,
    /// The head's configuration, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadConfig>,
    /// The names of the head's classes, where they have some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The model's name.
    pub base_model: String,
    /// What tells the model from others, whatever its quantization.
    pub fingerprint: String,
    /// Hash of the model's tokenizer; older files do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Hash of the model's chat template, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// How they were trained, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Trained>,
}

/// How interventions were trained.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Trained {
    /// The options, as `train::TrainOptions` reads them.
    pub options: serde_json::Value,
    /// How many examples they have learned from.
    pub examples: usize,
    /// Steps that the optimizer has made.
    pub steps: u32,
    /// The last loss that was reported, before its step; none if it was no number.
    pub loss: Option<f64>,
}

impl About {
    /// Reads what a file says of itself; no model is wanted for it.
    ///
    /// # Errors
    /// `File` if it is damaged or not such a file.
    pub fn read(bytes: &[u8]) -> Result<About> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_ours)?;
        let about = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let about = about.ok_or_else(|| {
            Error::file(format!("not an intervention file: expected metadata {METADATA:?}"))
        })?;
        let damaged = |error| Error::file(format!("intervention file: metadata: {error}"));
        let about: serde_json::Value = serde_json::from_str(about).map_err(damaged)?;
        if about["format"] != FORMAT {
            let other = &about["format"];
            return Err(Error::file(format!("intervention file of format {other}: expected {FORMAT:?}")));
        }
        serde_json::from_value(about).map_err(damaged)
    }

    /// Fails unless the interventions were trained on this model.
    fn check(&self, model: &Model) -> Result<()> {
        match self.fingerprint == model.fingerprint {
            true => Ok(()),
            false => Err(Error::input(format!(
                "intervention file was trained on another model: {:?} ({}), loaded is {:?} ({})",
                self.base_model, self.fingerprint, model.name, model.fingerprint
            ))),
        }
    }

    /// What is other with the model than it was in training, though its weights are the same.
    fn warnings(&self, model: &Model) -> Vec<String> {
        let Some(tokenizer) = &self.tokenizer else { return Vec::new() };
        let mut warnings = Vec::new();
        if *tokenizer != model.text.tokenizer {
            warnings.push(format!(
                "the interventions were trained with another tokenizer ({tokenizer}) than the model's ({}): their texts were other tokens",
                model.text.tokenizer
            ));
        }
        if self.template != model.text.template {
            let [theirs, own] =
                [&self.template, &model.text.template].map(|hash| hash.as_deref().unwrap_or("none"));
            warnings.push(format!(
                "the interventions were trained with another chat template ({theirs}) than the model's ({own}): their prompts looked other"
            ));
        }
        warnings
    }
}

impl Reft {
    /// The interventions as a file.
    ///
    /// # Errors
    /// `Device` if the parameters cannot be read.
    pub async fn save(&self, model: &Model) -> Result<Vec<u8>> {
        let values = self.values().await?;
        let mut tensors = Vec::new();
        for ((number, it), params) in self.owners().zip(&values) {
            for part in it.parts() {
                let values = params.part(part.name);
                let view = TensorView::new(Dtype::F32, part.shape.clone(), bytemuck::cast_slice(values));
                tensors.push((name(number, it, &part), view.expect("the shape holds the values")));
            }
        }
        let head = self.head_values().await?;
        if let Some((head, params)) = self.head.as_ref().zip(head.as_ref()) {
            let shapes = [vec![head.dense.n_out, head.dense.n_in], vec![head.dense.n_out]];
            for ((name, values), shape) in HEAD.iter().zip([&params.weight, &params.bias]).zip(shapes) {
                if !values.is_empty() {
                    let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values));
                    tensors.push(((*name).to_owned(), view.expect("the shape holds the values")));
                }
            }
        }
        let about = About {
            format: FORMAT.to_owned(),
            configs: self.configs.clone(),
            head: self.head.map(|head| head.config),
            classes: self.classes.clone(),
            base_model: model.name.clone(),
            fingerprint: model.fingerprint.clone(),
            tokenizer: Some(model.text.tokenizer.clone()),
            template: model.text.template.clone(),
            training: self.trained(),
        };
        let about = serde_json::to_string(&about).expect("plain data");
        let metadata = HashMap::from([(METADATA.to_owned(), about)]);
        Ok(safetensors::serialize(tensors, Some(metadata)).expect("every tensor is whole"))
    }

    /// Interventions from a file that [`Reft::save`] wrote for this model. If its tokenizer or chat template is another now,
    /// [`Reft::warnings`] says so.
    ///
    /// # Errors
    /// `File` if it is damaged or not such a file, `Input` if it was trained on another model.
    pub fn load(model: &Model, bytes: &[u8]) -> Result<Reft> {
        let about = About::read(bytes)?;
        about.check(model)?;
        let warnings = about.warnings(model);
        let About { configs, head, classes, training, .. } = about;
        let file = SafeTensors::deserialize(bytes).map_err(not_ours)?;
        // New ones tell which tensors there must be, of which shapes.
        let like = Reft::with_head(model, &configs, head);
        let like = like.map_err(in_file)?;
        let mut rotations = Vec::new();
        let mut params = Vec::new();
        for (number, it) in like.owners() {
            let mut read = Params::default();
            for part in it.parts() {
                *read.part_mut(part.name) = values(&file, &name(number, it, &part), &part.shape)?;
            }
            if let Some(Rotation { map, .. }) = it.rotation() {
                let (rotation, n_embd) = (std::mem::take(&mut read.projection), it.sizes.n_embd);
                check_orthonormal(&rotation, n_embd)
                    .map_err(|error| error.at(format!("rotation {number}")))?;
                read = read.from_rotation(&rotation, n_embd, *map == OrthogonalMap::MatrixExp);
                rotations.push(rotation);
            }
            params.push(read);
        }
        let head = match &like.head {
            Some(Head { config, dense }) => {
                let weight = values(&file, HEAD[0], &[dense.n_out, dense.n_in])?;
                let bias = if config.bias { values(&file, HEAD[1], &[dense.n_out])? } else { Vec::new() };
                Some((*config, HeadParams { weight, bias }))
            }
            None => None,
        };
        let reft = Reft::with_params(model, &configs, &params, head)?.with_classes(classes);
        let mut reft = reft.map_err(in_file)?;
        reft.warnings = warnings;
        reft.trained = RefCell::new(training);
        // The rotations that follow from new parameters equal the file's up to rounding only.
        reft.write_rotations(&rotations);
        Ok(reft)
    }
}

/// The name of a parameter in the file.
fn name(number: usize, it: &Intervention, part: &Part) -> String {
    let part = match (part.name, it.rotation()) {
        ("projection", Some(_)) => "rotation",
        (name, _) => name,
    };
    format!("interventions.{number}.{part}")
}

/// What is wrong with a file's interventions is wrong with the file; a device's faults are its own.
fn in_file(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Device => error,
        _ => Error::file(format!("intervention file: {error}")),
    }
}

fn not_ours(error: safetensors::SafeTensorError) -> Error {
    Error::file(format!("not a safetensors file: {error}"))
}

fn values(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let view = file.tensor(name).map_err(|_| Error::file(format!("tensor {name:?} is missing")))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        let (dtype, got) = (view.dtype(), view.shape());
        return Err(Error::file(format!("tensor {name:?}: expected F32 {shape:?}, got {dtype:?} {got:?}")));
    }
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::file(format!("tensor {name:?}: holds {value}"))),
        None => Ok(values),
    }
}

/// Fails unless the rows are orthonormal up to rounding.
pub(super) fn check_orthonormal(rows: &[f32], n_embd: usize) -> Result<()> {
    let rows: Vec<&[f32]> = rows.chunks_exact(n_embd).collect();
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate().take(i + 1) {
            let product: f64 = a.iter().zip(*b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let expected = f64::from(u8::from(i == j));
            if (product - expected).abs() > 1e-3 {
                return Err(Error::file(format!(
                    "rows {i} and {j}: expected product {expected}, got {product}"
                )));
            }
        }
    }
    Ok(())
}
