//! `model.safetensors.index.json`: which files a repository's tensors lie in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::{Error, Faults, Result};

/// The file that a repository without an index has its tensors in.
const ONE_FILE: &str = "model.safetensors";

/// Which file each tensor lies in.
#[derive(Debug, Deserialize)]
pub struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// The name of the index among a repository's files.
    pub const NAME: &str = "model.safetensors.index.json";

    /// Reads an index.
    ///
    /// # Errors
    /// `File` for what is not one.
    pub fn read(bytes: &[u8]) -> Result<Index> {
        serde_json::from_slice(bytes).map_err(|error| Error::file(format!("{}: {error}", Index::NAME)))
    }

    /// Whether the tensors of a file count. Without an index they do, unless `model.safetensors` is among the files: then only its own do.
    ///
    /// # Errors
    /// `File` for files that the index names and that are not there.
    pub fn choose<'n>(
        index: Option<&Index>,
        files: impl Iterator<Item = &'n str>,
    ) -> Result<BTreeSet<String>> {
        let there: BTreeSet<String> = files.map(str::to_owned).collect();
        let Some(index) = index else {
            let one = ONE_FILE.to_owned();
            return Ok(if there.contains(&one) { BTreeSet::from([one]) } else { there });
        };
        let named: BTreeSet<String> = index.weight_map.values().cloned().collect();
        let mut faults = Faults::default();
        for file in named.difference(&there) {
            faults.add(Error::file(format!("{}: file {file:?} is missing", Index::NAME)));
        }
        faults.check()?;
        Ok(named)
    }

    /// Notes tensors that the index has in this file and the file has not, and the other way round.
    pub(super) fn check<'n>(&self, file: &str, tensors: impl Iterator<Item = &'n str>, faults: &mut Faults) {
        let there: BTreeSet<&str> = tensors.collect();
        let of_file = self.weight_map.iter().filter(|(_, it)| *it == file);
        let named: BTreeSet<&str> = of_file.map(|(tensor, _)| tensor.as_str()).collect();
        for tensor in named.difference(&there) {
            let text = format!("{}: tensor {tensor:?} is not in {file:?}", Index::NAME);
            faults.add(Error::file(text));
        }
        for tensor in there.difference(&named) {
            let text = format!("{}: tensor {tensor:?} of {file:?} is not named", Index::NAME);
            faults.add(Error::file(text));
        }
    }
}
