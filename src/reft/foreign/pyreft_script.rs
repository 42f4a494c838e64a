//! A training as a script for pyreft (0.1.0, on pyvene 0.1.8), which comes back by [`super::pyreft::read`].
//!
//! ```text
//! train.py, requirements.txt, README.md    the same for every training, but for how the README names model and import
//! settings.json                            interventions; how they are trained
//! examples.jsonl                           tokens, labels, edited positions
//! order.jsonl                              for each epoch the order of the examples
//! start.safetensors                        the parameters before the first step, as [`Reft::save`] writes them
//! ```
//!
//! Examples go as tokens, and positions as numbers: templates, tokenizers and all words of [`super::super::Positions`] stay here.

use super::{File, pyreft};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::reft::kinds::{Function, Learned};
use crate::reft::{Intervention, Reft};
use serde::Serialize;
use serde_json::{Value, json};

const TRAIN: &str = include_str!("pyreft_script/train.py");
const REQUIREMENTS: &str = include_str!("pyreft_script/requirements.txt");
const README: &str = include_str!("pyreft_script/README.md");

/// The label of a token that is not to be foretold.
pub const IGNORED: i64 = -100;

/// An example as the script reads it.
#[derive(Serialize)]
pub struct ScriptExample {
    /// All tokens.
    pub input_ids: Vec<u32>,
    /// For each token its id where it is to be foretold, else [`IGNORED`].
    pub labels: Vec<i64>,
    /// For each intervention the tokens that it edits; one that counts twice in gradients is there twice.
    pub positions: Vec<Vec<u32>>,
    /// The tokens as text, for people.
    pub text: String,
}

/// A training.
pub struct Script {
    /// What is learned.
    pub examples: Vec<ScriptExample>,
    /// How: options of `train::TrainOptions` by their names in files.
    pub settings: Value,
    /// The order of the examples in each epoch.
    pub orders: Vec<Vec<usize>>,
}

impl Script {
    /// Writes the training of interventions like these, from their own random start.
    ///
    /// # Errors
    /// `Unsupported` for what pyreft does not have or would train as something else; `Device` if the start finds no room.
    pub async fn write(&self, model: &Model, reft: &Reft) -> Result<Vec<File>> {
        let training = &self.settings;
        let (positions, act) = check(reft, training)?;
        let start = Reft::new(model, &reft.configs)?.save(model).await?;
        let interventions = reft.interventions.iter().map(|it| {
            json!({
                "class": it.kind.class.rsplit('.').next(),
                "layer": it.place.layer,
                "component": it.place.component.name(),
                "width": it.sizes.n_embd,
                "rank": it.sizes.rank,
                "act": it.edit().map(|edit| edit.act.name()),
            })
        });
        let settings = json!({ "interventions": interventions.collect::<Vec<_>>(), "training": training });
        let settings = serde_json::to_string_pretty(&settings).expect("plain data");
        let act = if act == "linear" { String::new() } else { format!(" --act {act}") };
        let import = format!("--positions={positions}{act}");
        let readme = README.replace("{model}", &model.name).replace("{import}", &import);
        let texts = [
            ("README.md", readme),
            ("train.py", TRAIN.to_owned()),
            ("requirements.txt", REQUIREMENTS.to_owned()),
            ("settings.json", settings),
            ("examples.jsonl", lines(&self.examples)),
            ("order.jsonl", lines(&self.orders)),
        ];
        let texts = texts.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes()));
        Ok(texts.chain([("start.safetensors".to_owned(), start)]).collect())
    }
}

fn lines(values: &[impl Serialize]) -> String {
    values.iter().map(|value| serde_json::to_string(value).expect("plain data") + "\n").collect()
}

/// The positions and the function around what is learned, which all interventions must have in common to come back; fails for what
/// pyreft cannot train.
fn check<'a>(reft: &'a Reft, training: &Value) -> Result<(String, &'a str)> {
    let refuse = |what: &str| Err(Error::unsupported(format!("{what}: not in a script for pyreft")));
    let decays = training["weightDecay"].as_f64().is_some_and(|decay| decay != 0.0);
    for (number, it) in reft.interventions.iter().enumerate() {
        let at = |error: Error| error.at(format!("intervention {number}"));
        pyreft::check(it).map_err(at)?;
        if it.owner != number {
            return refuse("shared parameters").map_err(at);
        }
        let is_constant = matches!(it.kind.function, Function::LowRank { learned: Learned::Bias, .. });
        if let Some(edit) = it.edit().filter(|edit| is_constant && edit.act.name() != "linear") {
            return refuse(&format!("act {} of {}", edit.act.name(), it.kind.name)).map_err(at);
        }
        if it.rotation().is_some() && decays {
            return refuse("weight decay of a rotation, which is nothing after a step there").map_err(at);
        }
        if it.rotation().is_some() && it.sizes.rank == it.sizes.n_embd {
            return refuse("a rotation of full rank, which turns in another way there").map_err(at);
        }
    }
    if reft.head.is_some() {
        return refuse("a head");
    }
    let unsaved =
        |it: &'a Intervention| (it.positions.to_string(), it.edit().map_or("linear", |edit| edit.act.name()));
    let first = unsaved(&reft.interventions[0]);
    if reft.interventions.iter().any(|it| unsaved(it) != first) {
        return refuse("configurations with different positions or acts, which the files do not keep");
    }
    Ok(first)
}
