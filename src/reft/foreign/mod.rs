//! Files of the Python libraries, both ways: pyreft's directories ([`pyreft`]) and peft's ([`peft`]).
//!
//! A directory is a list of files, each with its name; folders in front of a name do not count. As one file it is a `.zip`
//! ([`unpack_directory`], [`pack_directory`]).

pub mod peft;
mod pickle;
pub mod pyreft;
mod torch;
mod zip;

pub use torch::{Tensor, Values};
pub use zip::{pack_directory, unpack_directory};

use super::{Params, Reft, ReftConfig};
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
    /// Trained tensors of the base model by their names, as a classifier's head: no interventions.
    pub others: BTreeMap<String, Tensor>,
}

impl Interventions {
    /// The interventions on a model.
    ///
    /// # Errors
    /// As [`Reft::with_params`].
    pub fn on(&self, model: &Model) -> Result<Reft> {
        let reft = Reft::with_params(model, &self.configs, &self.params)?;
        reft.rot.write_f32(&self.rotations.concat());
        Ok(reft)
    }
}

/// Reads a directory of pyreft's.
///
/// # Errors
/// As [`pyreft::read`]; `Unsupported` for a directory of peft's.
pub fn read(files: &[File], unsaved: &Unsaved) -> Result<Interventions> {
    match peft::is_ours(files)? {
        true => Err(Error::unsupported("a directory of peft's: LoRA is no kind of intervention yet")),
        false => pyreft::read(files, unsaved),
    }
}

/// Writes interventions as a directory of the library of this name.
///
/// # Errors
/// `Input` for another library than `pyreft`, else as [`pyreft::write`].
pub async fn write(_model: &Model, reft: &Reft, library: &str) -> Result<Vec<File>> {
    match library {
        "pyreft" => pyreft::write(reft).await,
        _ => Err(Error::input(format!("library {library:?} is not known (known: pyreft)"))),
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

/// A path without its folders.
fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn json(name: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| Error::file(format!("{name}: {error}")))
}

/// [C, R] from [R, C].
fn transposed(values: &[f32], n_cols: usize) -> Vec<f32> {
    (0..n_cols).flat_map(|col| values.iter().skip(col).step_by(n_cols).copied()).collect()
}
