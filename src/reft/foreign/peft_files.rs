//! The files of a directory of peft's: its configuration, and its tensors as numbers.
//!
//! ```text
//! adapter_config.json         what the adapter is
//! adapter_model.safetensors   its tensors; of older directories adapter_model.bin, a file of torch.save
//! ```

use super::keys::shown;
use super::peft_keys;
use super::peft_names::{is_original, is_score, refusal};
use super::torch::{self, Values};
use super::{File, find, json};
use crate::error::{Error, Result};
use crate::reft::{HeadConfig, HeadParams, Pooling};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

pub(super) const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PICKLED: &str = "adapter_model.bin";

/// Whether a file of this name holds the tensors of a directory.
pub(super) fn is_weights(name: &str) -> bool {
    [WEIGHTS, PICKLED].contains(&name)
}

/// A matrix, or a vector: shape and row-major numbers, all finite.
pub(super) struct Numbers {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// A directory.
pub(super) struct Directory<'a> {
    pub(super) config: Value,
    /// The configuration's text, which has the order of patterns.
    pub(super) config_text: &'a [u8],
    pub(super) tensors: BTreeMap<String, Numbers>,
    /// The file that the tensors are in.
    pub(super) weights: &'static str,
}

impl<'a> Directory<'a> {
    /// Reads a directory. Where both files of tensors are there, peft reads the safetensors.
    ///
    /// # Errors
    /// `File` for what is missing or damaged, `Unsupported` for keys that ask for what webreft does not do.
    pub(super) fn open(files: &'a [File]) -> Result<Directory<'a>> {
        let config_text = find(files, CONFIG)?.ok_or_else(|| Error::file(format!("{CONFIG} is missing")))?;
        let config = json(CONFIG, config_text)?;
        peft_keys::check(&config).map_err(|error| error.at(CONFIG))?;
        let (weights, tensors) = match (find(files, WEIGHTS)?, find(files, PICKLED)?) {
            (Some(bytes), _) => (WEIGHTS, of_safetensors(bytes)),
            (None, Some(bytes)) => (PICKLED, of_torch(bytes)),
            (None, None) => {
                return Err(Error::file(format!("{WEIGHTS} is missing, and so is {PICKLED}")));
            }
        };
        let tensors = tensors.map_err(|error| error.at(weights))?;
        Ok(Directory { config, config_text, tensors, weights })
    }

    /// Takes the head that `modules_to_save` names out of the tensors, with the base model's copy of it.
    ///
    /// # Errors
    /// `Unsupported` for other saved modules, `File` for a head that is named and not there.
    pub(super) fn take_head(&mut self) -> Result<Option<(HeadConfig, HeadParams)>> {
        self.check_saved().map_err(|error| error.at(CONFIG))?;
        self.tensors.retain(|name, _| !is_original(name));
        let scores: Vec<String> = self.tensors.keys().filter(|name| is_score(name)).cloned().collect();
        let named =
            self.config["modules_to_save"].as_array().is_some_and(|list| list.contains(&"score".into()));
        match &scores[..] {
            [] if named => Err(Error::file("score.weight is missing, which modules_to_save names")),
            [] => Ok(None),
            [name] => head(name, self.tensors.remove(name).expect("just seen"), &self.config).map(Some),
            _ => Err(Error::unsupported(format!("tensors {scores:?}: expected one head"))),
        }
        .map_err(|error: Error| error.at(self.weights))
    }

    /// Fails for saved modules other than a classifier's head. peft itself adds both of its names to the list of a classifier.
    fn check_saved(&self) -> Result<()> {
        let value = &self.config["modules_to_save"];
        let known = |module: &Value| module == "score" || module == "classifier";
        match value {
            Value::Null => Ok(()),
            Value::Array(list) if list.iter().all(known) => Ok(()),
            _ => Err(Error::unsupported(format!(
                "modules_to_save {}: expected \"score\", a classifier's head; other modules of the base model stay as they are in webreft, so train without them or merge the adapter into its base model",
                shown(value)
            ))),
        }
    }
}

/// Transformers' `score` of a classifier, which reads the last token.
fn head(name: &str, numbers: Numbers, config: &Value) -> Result<(HeadConfig, HeadParams)> {
    let task = &config["task_type"];
    if !task.is_null() && *task != "SEQ_CLS" {
        return Err(Error::unsupported(format!(
            "tensor {name:?}: a head of task_type {}: expected \"SEQ_CLS\", whose head reads the last token",
            shown(task)
        )));
    }
    let Numbers { shape, values: weight } = numbers;
    let [outputs, _] = shape[..] else {
        return Err(Error::file(format!("tensor {name:?}: expected [classes, width], got {shape:?}")));
    };
    let config = HeadConfig { outputs, bias: false, pooling: Pooling::Last, seed: 0 };
    Ok((config, HeadParams { weight, bias: Vec::new() }))
}

fn of_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Numbers>> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::file(format!("not a safetensors file: {error}")))?;
    let numbers = file.iter().map(|(name, view)| {
        let values = values(&view).and_then(finite).map_err(|error| error.at(format!("tensor {name:?}")))?;
        Ok((name.to_owned(), Numbers { shape: view.shape().to_vec(), values }))
    });
    numbers.collect()
}

fn of_torch(bytes: &[u8]) -> Result<BTreeMap<String, Numbers>> {
    let numbers = torch::read(bytes)?.into_iter().map(|(name, tensor)| {
        let values = match tensor.values {
            Values::Real(values) => finite(values),
            Values::Whole(_) => Err(Error::unsupported("whole numbers: expected real ones")),
        };
        let values = values.map_err(|error| error.at(format!("tensor {name:?}")))?;
        Ok((name, Numbers { shape: tensor.shape, values }))
    });
    numbers.collect()
}

/// A tensor's numbers, whatever their width.
fn values(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let data = view.data();
    let halves = |to: fn(u16) -> f32| {
        data.chunks_exact(2).map(|bytes| to(u16::from_le_bytes([bytes[0], bytes[1]]))).collect::<Vec<f32>>()
    };
    match view.dtype() {
        Dtype::F32 => Ok(bytemuck::pod_collect_to_vec(data)),
        Dtype::F16 => Ok(halves(|bits| f16::from_bits(bits).to_f32())),
        Dtype::BF16 => Ok(halves(|bits| bf16::from_bits(bits).to_f32())),
        other => Err(Error::unsupported(format!("{other:?}: expected F32, F16 or BF16"))),
    }
}

fn finite(values: Vec<f32>) -> Result<Vec<f32>> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::file(format!("holds {value}"))),
        None => Ok(values),
    }
}

/// Fails with the first of the tensors that no reader took.
pub(super) fn check_rest(rest: &BTreeMap<String, Numbers>, expected: &str) -> Result<()> {
    rest.keys().next().map_or(Ok(()), |name| Err(refusal(name, expected)))
}

/// The files of a directory: what peft reads of it.
pub(super) fn directory(config: &Value, tensors: Vec<(String, TensorView<'_>)>) -> Vec<File> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(tensors, Some(metadata)).expect("every tensor is whole");
    let config = serde_json::to_string_pretty(config).expect("plain data").into_bytes();
    vec![(CONFIG.to_owned(), config), (WEIGHTS.to_owned(), weights)]
}
