//! A training in the middle as a file, from which it goes on as if it had never been left: bit for bit on the same device.
//!
//! ```text
//! theta, m, v [n]   bases, rotations   F32   parameters, the optimizer's means, and the rotations' state
//! best_theta, best_rotations           F32   those of the lowest loss in validation, where they are kept
//! metadata webreft-checkpoint          JSON  configs, head, options, steps made, order, random state, the step not yet reported,
//!                                            what validation has shown, how they were trained so far
//! ```

use super::training::Pending;
use super::validation::Shown;
use super::{Sequence, StepTime, Target, TrainOptions, TrainStep, Trainer, Training};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::reft::{HeadConfig, Reft, ReftConfig, Trained};
use crate::tensor::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const METADATA: &str = "webreft-checkpoint";
const BEST: [&str; 2] = ["best_theta", "best_rotations"];

#[derive(Deserialize, Serialize)]
struct About {
    fingerprint: String,
    configs: Vec<ReftConfig>,
    head: Option<HeadConfig>,
    #[serde(default)]
    classes: Vec<String>,
    options: TrainOptions,
    /// What tells each example from others.
    examples: Vec<String>,
    n_done: usize,
    n_steps: u32,
    order: Vec<usize>,
    /// Where the random numbers stand, in words of 32 bits.
    random: u128,
    pending: Option<(TrainStep, StepTime)>,
    shown: Shown,
    /// How the interventions were trained so far; older files do not have it.
    #[serde(default)]
    trained: Option<Trained>,
}

/// The interventions a checkpoint is of, and how they were trained, without the training.
pub struct Checkpoint {
    about: About,
    tensors: Numbers,
}

fn tensors<'a>(reft: &'a Reft, trainer: &'a Trainer) -> [(&'static str, &'a Tensor); 5] {
    let [m, v] = &trainer.moments;
    [("theta", &reft.theta), ("m", m), ("v", v), ("bases", &reft.base), ("rotations", &reft.rot)]
}

impl Training {
    /// All that is wanted to go on, as a file; the training itself goes on as if nothing had been.
    ///
    /// # Errors
    /// `Device` if the device was lost; `Input` if the training has diverged, or a parameter is not finite.
    pub async fn checkpoint(&mut self, model: &Model, reft: &Reft, trainer: &Trainer) -> Result<Vec<u8>> {
        if let Some(error) = &self.diverged {
            return Err(error.clone());
        }
        let pending = match self.pending.take() {
            Some(pending) => Some(self.report(pending).await?),
            None => None,
        };
        if let Some((step, _)) = &pending {
            self.check_step(model, reft, trainer, step).await?;
        }
        let mut values = Vec::new();
        for (name, tensor) in tensors(reft, trainer) {
            values.push((name, tensor.read().f32().await?));
        }
        self.check_theta(model, reft, trainer, &values[0].1).await?;
        values.extend(BEST.into_iter().zip(self.shown.best.iter().flatten().cloned()));
        self.pending = pending.map(|(step, time)| Pending::Known(step, time));
        let about = About {
            fingerprint: model.fingerprint.clone(),
            configs: reft.configs.clone(),
            head: reft.head.map(|head| head.config),
            classes: reft.classes.clone(),
            options: self.options.clone(),
            examples: self.examples.clone(),
            n_done: self.n_done,
            n_steps: trainer.n_steps,
            order: self.order.clone(),
            random: self.random.get_word_pos(),
            pending,
            shown: self.shown.clone(),
            trained: reft.trained(),
        };
        Ok(write(METADATA, &about, &values))
    }

    /// Goes on where the checkpoint was made. The training must be a new one on the same examples with the checkpoint's options, the
    /// interventions and the trainer new ones of [`Checkpoint::reft`]. `asked` is what the caller expects of the training: any of the
    /// fields `configs`, `head` and `options`, with any of their fields.
    ///
    /// # Errors
    /// `Input` with all differences if the examples are others, or the checkpoint is not what is asked for.
    pub fn resume(
        &mut self,
        checkpoint: &Checkpoint,
        asked: &Value,
        reft: &Reft,
        trainer: &mut Trainer,
    ) -> Result<()> {
        let about = &checkpoint.about;
        let mut differences = Vec::new();
        compare("", &checkpoint.settings(), asked, &mut differences);
        differences.extend(other_examples(&about.examples, &self.examples));
        if !differences.is_empty() {
            let differences = differences.join("; ");
            return Err(Error::input(format!(
                "the checkpoint is of another training: {differences}; go on with the same, or begin without the checkpoint"
            )));
        }
        for (name, tensor) in tensors(reft, trainer) {
            tensor.write_f32(values_of(&checkpoint.tensors, name, tensor)?);
        }
        if let Some(trained) = &about.trained {
            reft.note(trained.clone());
        }
        self.shown = about.shown.clone();
        if checkpoint.tensors.iter().any(|(name, _)| name == BEST[0]) {
            let [theta, rotations] = [(BEST[0], &reft.theta), (BEST[1], &reft.rot)]
                .map(|(name, tensor)| values_of(&checkpoint.tensors, name, tensor).map(<[f32]>::to_vec));
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
        let (about, tensors): (About, _) =
            read(METADATA, bytes).map_err(|error| error.at("not a checkpoint"))?;
        if about.fingerprint != model.fingerprint {
            return Err(Error::input(format!(
                "the checkpoint is of a training on another model ({}), loaded is {:?} ({})",
                about.fingerprint, model.name, model.fingerprint
            )));
        }
        Ok(Checkpoint { about, tensors })
    }

    /// New interventions as those that were trained; [`Training::resume`] fills them.
    ///
    /// # Errors
    /// As [`Reft::with_head`].
    pub fn reft(&self, model: &Model) -> Result<Reft> {
        let About { configs, head, classes, .. } = &self.about;
        Reft::with_head(model, configs, *head)?.with_classes(classes.clone())
    }

    /// What a training can be asked to have: configurations, head and options.
    fn settings(&self) -> Value {
        let About { configs, head, options, .. } = &self.about;
        let text = json!({ "configs": configs, "head": head, "options": options.json() }).to_string();
        serde_json::from_str(&text).expect("just written")
    }

    /// How they were trained.
    pub fn options(&self) -> &TrainOptions {
        &self.about.options
    }
}

/// Numbers by their names, and what they are of as JSON.
pub(super) fn write(metadata: &str, about: &impl Serialize, values: &[(&str, Vec<f32>)]) -> Vec<u8> {
    let about = serde_json::to_string(about).expect("plain data");
    let views = values.iter().map(|(name, values)| {
        let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values));
        (*name, view.expect("the shape holds the values"))
    });
    let metadata = HashMap::from([(metadata.to_owned(), about)]);
    safetensors::serialize(views, Some(metadata)).expect("every tensor is whole")
}

/// Numbers by their names.
pub(super) type Numbers = Vec<(String, Vec<f32>)>;

/// What [`write`] wrote.
///
/// # Errors
/// `File` if it is damaged or not such a file.
pub(super) fn read<About: DeserializeOwned>(metadata: &str, bytes: &[u8]) -> Result<(About, Numbers)> {
    let damaged = |error: &dyn std::fmt::Display| Error::file(error.to_string());
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
    let about = header.metadata().as_ref().and_then(|all| all.get(metadata));
    let about = about.ok_or_else(|| damaged(&format!("expected metadata {metadata:?}")))?;
    let about = serde_json::from_str(about).map_err(|error| damaged(&error))?;
    let numbers = file.iter().map(|(name, view)| match view.dtype() {
        Dtype::F32 => Ok((name.to_owned(), bytemuck::pod_collect_to_vec(view.data()))),
        other => Err(damaged(&format!("tensor {name:?} is {other:?}"))),
    });
    Ok((about, numbers.collect::<Result<_>>()?))
}

/// The numbers of one name, as many as `like` has.
pub(super) fn values_of<'a>(numbers: &'a Numbers, name: &str, like: &Tensor) -> Result<&'a [f32]> {
    let values = numbers.iter().find(|(known, _)| known == name);
    let values = values.map(|(_, values)| &values[..]).filter(|values| [values.len()] == like.shape());
    values.ok_or_else(|| Error::file(format!("tensor {name:?}: expected {:?} numbers", like.shape())))
}

/// What tells each example from others: a hash of its tokens, of what is learned of them, and of the tokens of its source.
pub(super) fn fingerprints(sequences: &[Sequence], group: usize) -> Vec<String> {
    sequences.chunks(group).map(fingerprint).collect()
}

fn fingerprint(sequences: &[Sequence]) -> String {
    let mut digest = Sha256::new();
    let mut take_in = |words: &[u32]| {
        digest.update((words.len() as u64).to_le_bytes());
        digest.update(bytemuck::cast_slice::<u32, u8>(words));
    };
    for sequence in sequences {
        let labels: Vec<u32> = sequence.labels.iter().flat_map(|(row, id)| [*row as u32, *id]).collect();
        take_in(&sequence.tokens);
        take_in(&labels);
        take_in(sequence.source.as_ref().map_or(&[], |source| &source.tokens));
        match &sequence.target {
            Target::None => take_in(&[]),
            Target::Class(class) => take_in(&[*class]),
            Target::Classes(classes) => take_in(classes),
            Target::Values(values) => take_in(bytemuck::cast_slice(values)),
        }
    }
    digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collects where a value is not what is asked for; fields that are not asked for may be anything.
fn compare(place: &str, told: &Value, asked: &Value, differences: &mut Vec<String>) {
    match (told, asked) {
        (_, Value::Null) if place.is_empty() => {}
        (Value::Object(_), Value::Object(fields)) => {
            for (name, asked) in fields {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                compare(&place, &told[name], asked, differences);
            }
        }
        (Value::Array(of_told), Value::Array(of_asked)) if of_told.len() == of_asked.len() => {
            for (number, (told, asked)) in of_told.iter().zip(of_asked).enumerate() {
                compare(&format!("{place}[{number}]"), told, asked, differences);
            }
        }
        (Value::Number(told), Value::Number(asked)) if is_same(told, asked) => {}
        _ if told == asked => {}
        _ => differences.push(format!("{place} is {told} in it, asked for is {asked}")),
    }
}

/// Whether two numbers are the same as JSON and as Rust: 1 is 1.0, and 0.1 is the f32 next to it.
fn is_same(a: &Number, b: &Number) -> bool {
    let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
    a == b || a.fract() != 0.0 && a as f32 == b as f32
}

/// Examples that are named where they differ.
const NAMED: usize = 10;

/// How examples differ from those of the checkpoint, if they do.
fn other_examples(told: &[String], given: &[String]) -> Option<String> {
    let differing = |(told, given): (&String, &String)| told != given;
    let numbers: Vec<String> = (1..)
        .zip(told.iter().zip(given))
        .filter(|(_, pair)| differing(*pair))
        .map(|(number, _): (usize, _)| number.to_string())
        .collect();
    let mut words = Vec::new();
    if told.len() != given.len() {
        words.push(format!("it has {} examples, given are {}", told.len(), given.len()));
    }
    match numbers.len() {
        0 => {}
        n if n <= NAMED => words.push(format!("other examples have the numbers {}", numbers.join(", "))),
        n => words.push(format!("{n} other examples, the first ones {}", numbers[..NAMED].join(", "))),
    }
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{compare, other_examples};
    use serde_json::json;

    #[test]
    fn differences_are_told_by_their_places() {
        let told =
            json!({"configs": [{"rank": 4, "layers": [1, 2]}], "head": null, "options": {"epochs": 3}});
        let differences = |asked| {
            let mut differences = Vec::new();
            compare("", &told, &asked, &mut differences);
            differences
        };
        assert!(differences(json!({"options": {"epochs": 3}, "head": null})).is_empty());
        assert_eq!(
            differences(json!({"configs": [{"rank": 8, "layers": [1]}], "options": {"epochs": 4}})),
            [
                "configs[0].layers is [1,2] in it, asked for is [1]",
                "configs[0].rank is 4 in it, asked for is 8",
                "options.epochs is 3 in it, asked for is 4"
            ]
        );
    }

    #[test]
    fn other_examples_are_told_by_their_numbers() {
        let names = |names: &str| names.chars().map(String::from).collect::<Vec<_>>();
        let told = |given| other_examples(&names("abcdefghijkl"), &names(given));
        assert_eq!(told("abcdefghijkl"), None);
        assert_eq!(told("abXdefghijYl").unwrap(), "other examples have the numbers 3, 11");
        assert_eq!(told("abcdefghij").unwrap(), "it has 12 examples, given are 10");
        assert_eq!(
            told("ABCDEFGHIJKLM").unwrap(),
            "it has 12 examples, given are 13, 12 other examples, the first ones 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
        );
    }
}
