//! Files of other libraries, both ways: pyreft's directories ([`pyreft`]), peft's ([`peft`]), and llama.cpp's control vectors
//! ([`control_vector`]).
//!
//! A directory is a list of files, each with its name; folders in front of a name do not count. As one file it is a `.zip`
//! ([`unpack_directory`], [`pack_directory`]). A training goes to pyreft as a script ([`pyreft_script`]).

pub mod control_vector;
mod keys;
pub mod peft;
mod peft_files;
mod peft_ia3;
mod peft_keys;
mod peft_names;
mod peft_patterns;
mod peft_prompt;
mod pickle;
pub mod pyreft;
mod pyreft_keys;
pub mod pyreft_script;
mod torch;
mod zip;

pub use torch::{Tensor, Values};
pub use zip::{pack_directory, unpack_directory};

use super::kinds::Function;
use super::{HeadConfig, HeadParams, Intervention, Params, Reft, ReftConfig};
use crate::error::{Error, Result};
use crate::model::Model;
use serde_json::Value;
use std::collections::BTreeMap;

/// A file of a directory: its name, and its bytes.
pub type File = (String, Vec<u8>);

/// What the libraries do not write into their files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unsaved {
    /// The edited tokens, as [`super::Positions::parse`] reads them; `f1+l1` where there are two interventions at each place, else
    /// `l1`, if not given. One intervention at a place that two words name is tied.
    pub positions: Option<String>,
    /// The function around what is learned; `linear` if not given.
    pub act: Option<String>,
    /// The kind, where the tensors' names do not tell it: a trainer's directory has no `config.json`.
    pub kind: Option<String>,
}

/// Interventions as they were read, for [`Reft::with_params`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interventions {
    /// What they are.
    pub configs: Vec<ReftConfig>,
    /// Their parameters, in the order of the configurations.
    pub params: Vec<Params>,
    /// R [R, D] of each that has one, to the bit; what follows from new parameters is rounded.
    pub rotations: Vec<Vec<f32>>,
    /// A classifier's head, `score.weight` of the base model.
    pub head: Option<(HeadConfig, HeadParams)>,
    /// Other trained tensors of the base model by their names: no interventions.
    pub others: BTreeMap<String, Tensor>,
}

impl Interventions {
    /// The interventions on a model.
    ///
    /// # Errors
    /// As [`Reft::with_params`].
    pub fn on(&self, model: &Model) -> Result<Reft> {
        let reft = Reft::with_params(model, &self.configs, &self.params, self.head.clone())?;
        reft.write_rotations(&self.rotations);
        Ok(reft)
    }
}

/// Reads a directory of pyreft or peft; of peft's, LoRA, (IA)³, prompt tuning, P-tuning and prefix tuning. Or one file, a control vector.
///
/// # Errors
/// As [`pyreft::read`], [`peft::read`] and [`control_vector::read`].
pub fn read(files: &[File], unsaved: &Unsaved) -> Result<Interventions> {
    if let [(_, bytes)] = files
        && control_vector::is_one(bytes)
    {
        return control_vector::read(bytes);
    }
    match find(files, peft_files::CONFIG)? {
        Some(config) => match json(peft_files::CONFIG, config)?["peft_type"].as_str() {
            Some("IA3") => peft_ia3::read(files),
            Some("PROMPT_TUNING" | "P_TUNING" | "PREFIX_TUNING") => peft_prompt::read(files),
            _ => peft::read(files)?.interventions(),
        },
        None if files.iter().any(|(path, _)| peft_files::is_weights(base_name(path))) => {
            Err(Error::file(format!("{} is missing", peft_files::CONFIG)))
        }
        None => pyreft::read(files, unsaved),
    }
}

/// Writes interventions as a directory of the library of this name: `pyreft` or `peft`; or steering vectors as one file, `llama.cpp`'s.
///
/// # Errors
/// `Input` for another library, else as [`pyreft::write`] and [`peft::PeftLora::of`]; `Unsupported` for what a control vector cannot say.
pub async fn write(model: &Model, reft: &Reft, library: &str) -> Result<Vec<File>> {
    match library {
        "pyreft" => pyreft::write(reft).await,
        "peft" => match reft.interventions[0].kind.function {
            Function::Scale => peft_ia3::write(model, reft).await,
            Function::Rows { .. } => peft_prompt::write(model, reft).await,
            _ => Ok(peft::write(&peft::PeftLora::of(reft).await?, &model.name)),
        },
        "llama.cpp" => control_vector::write(model, reft).await,
        _ => Err(Error::not_known("library", library, ["pyreft", "peft", "llama.cpp"])),
    }
}

/// The file of this name, whatever the folder.
fn find<'a>(files: &'a [File], name: &str) -> Result<Option<&'a [u8]>> {
    let mut found = files.iter().filter(|(path, _)| base_name(path) == name);
    match (found.next(), found.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(Error::input(format!("{first} and {second}: expected the files of one directory")))
        }
        (found, _) => Ok(found.map(|(_, bytes)| bytes.as_slice())),
    }
}

/// A path without its folders, as archives of Windows have them, too.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

fn json(name: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| Error::file(format!("{name}: {error}")))
}

/// The parameters of an intervention among those of [`Reft::values`], its own or those it shares.
pub(super) fn values_of<'a>(reft: &Reft, it: &Intervention, values: &'a [Params]) -> &'a Params {
    let owner = reft.owners().position(|(number, _)| number == it.owner);
    &values[owner.expect("an owner")]
}

/// Layers in which interventions stand at the same components, together: the components, and the layers.
fn alike(layers: impl IntoIterator<Item = (usize, Vec<String>)>) -> Vec<(Vec<String>, Vec<usize>)> {
    let mut alike: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
    for (layer, components) in layers {
        match alike.iter_mut().find(|(known, _)| *known == components) {
            Some((_, layers)) => layers.push(layer),
            None => alike.push((components, vec![layer])),
        }
    }
    alike
}

/// [C, R] from [R, C].
fn transposed(values: &[f32], n_cols: usize) -> Vec<f32> {
    (0..n_cols).flat_map(|col| values.iter().skip(col).step_by(n_cols).copied()).collect()
}
