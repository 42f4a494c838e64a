//! A model as Transformers keeps it, seen as a GGUF header: `config.json` as metadata, the tensors of its `.safetensors` by their GGUF
//! names. Everything above reads the one and the other alike.
//!
//! Source: `convert_hf_to_gguf.py` of llama.cpp for what becomes of a configuration; the safetensors format of Hugging Face.

mod config;
mod index;
mod keys;
mod model_types;
mod names;
mod rope;

pub use self::index::Index;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

use self::config::Config;
use self::names::Role;
use crate::bytes::{ByteSource, check_range};
use crate::error::{Error, Faults, Result};
use crate::gguf::{GgmlType, Header, Origin, TensorInfo};
use crate::model::Architecture;
use crate::quant::{BF16, F16, F32};

/// The file that tells what the model is.
pub const CONFIG: &str = "config.json";

/// The longest header of a file; safetensors itself allows no more.
const MAX_HEADER: u64 = 100_000_000;

/// Reads a repository: its configuration, its index if it has one, and the headers of its files of tensors, each with its name and with its
/// number among the model's files.
///
/// # Errors
///
/// `File` for a configuration or a header that is damaged, and for files that are not what the index says; `Unsupported` for a model that
/// webreft does not have, with all that it lacks.
pub async fn read<S: ByteSource>(
    config: &[u8],
    index: Option<&Index>,
    files: &[(usize, &str, &S)],
) -> Result<Header> {
    let json: Value =
        serde_json::from_slice(config).map_err(|error| Error::file(format!("{CONFIG}: {error}")))?;
    let arch = config::architecture_of(&json).map_err(|error| error.at(CONFIG))?;
    let (mut tensors, mut faults) = (Tensors::default(), Faults::default());
    for (number, name, source) in files {
        let entries = read_entries(*source).await?;
        if let Some(index) = index {
            index.check(name, entries.keys(), &mut faults);
        }
        tensors.add(entries, *number, source.len(), arch, &mut faults)?;
    }
    let shape_of = |name: &str| tensors.infos.iter().find(|it| it.name == name).map(|it| it.dims.clone());
    let config = config::read(&json, shape_of).map_err(|error| error.at(CONFIG))?;
    tensors.check(&config, &mut faults);
    faults.check()?;
    let mut header = Header::new(Origin::HuggingFace, config.metadata, tensors.infos)?;
    (header.derived, header.own_names) = (config.derived, tensors.own_names);
    Ok(header)
}

/// The tensors of all files, by their names in GGUF, and what the files call them.
#[derive(Default)]
struct Tensors {
    infos: Vec<TensorInfo>,
    own_names: HashMap<String, String>,
}

impl Tensors {
    /// Adds the tensors of a file, of which `faults` gets those that no model here has.
    fn add(
        &mut self,
        entries: Entries,
        file: usize,
        file_len: u64,
        arch: &Architecture,
        faults: &mut Faults,
    ) -> Result<()> {
        for (name, entry) in entries.tensors {
            let gguf_name = match names::role(&name, arch) {
                Role::Weight(gguf_name) => gguf_name,
                Role::Harmless => continue,
                Role::Unknown => {
                    faults.add(not_supported(&name, arch));
                    continue;
                }
            };
            let info =
                tensor(entry, entries.end, file_len).map_err(|error| error.at(format!("tensor {name:?}")))?;
            self.own_names.insert(gguf_name.clone(), name);
            self.infos.push(TensorInfo { name: gguf_name, file, ..info });
        }
        Ok(())
    }

    /// Holds biases and the output matrix against what the configuration says of them.
    fn check(&mut self, config: &Config, faults: &mut Faults) {
        if config.tied {
            self.infos.retain(|tensor| tensor.name != "output.weight"); // a copy of the embedding, where it is stored at all
        } else if !self.own_names.contains_key("output.weight") {
            let text = "tensor \"lm_head.weight\" is missing: tie_word_embeddings is false";
            faults.add(Error::file(text));
        }
        let wanted: BTreeSet<String> = (0..config.n_layer.min(self.infos.len()))
            .flat_map(|number| config.biases.iter().map(move |stem| format!("blk.{number}.{stem}.bias")))
            .collect();
        // A matrix that is missing itself is told by the model.
        let lacks_bias = |name: &&String| {
            let matrix = name.replace(".bias", ".weight");
            self.own_names.contains_key(&matrix) && !self.own_names.contains_key(*name)
        };
        for name in wanted.iter().filter(lacks_bias) {
            faults.add(Error::file(format!("tensor {name:?} is missing: {CONFIG} has it")));
        }
        for tensor in self.infos.iter().filter(|tensor| tensor.name.ends_with(".bias")) {
            if !wanted.contains(&tensor.name) {
                faults.add(not_supported(&self.own_names[&tensor.name], config.arch));
            }
        }
    }
}

/// A tensor without which the model would be another.
fn not_supported(name: &str, arch: &Architecture) -> Error {
    Error::unsupported(format!(
        "tensor {name:?} is not supported for {}: the model would be computed without it",
        arch.name
    ))
}

/// What a header of safetensors says of a tensor. Offsets are 64 bits in a browser too, where the crate's own are not: files grow beyond 4 GiB.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header of one file: what it says of its tensors, by their names, and where it ends.
struct Entries {
    tensors: BTreeMap<String, Value>,
    end: u64,
}

impl Entries {
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

async fn read_entries(source: &impl ByteSource) -> Result<Entries> {
    let mut len = [0; 8];
    source.read(0, &mut len).await?;
    let len = u64::from_le_bytes(len);
    if len > MAX_HEADER {
        return Err(Error::file(format!(
            "a header of {len} bytes: expected safetensors, at most {MAX_HEADER}"
        )));
    }
    check_range(source.len(), 8, len)?;
    let mut bytes = vec![0; len as usize];
    source.read(8, &mut bytes).await?;
    let mut tensors: BTreeMap<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(format!("the header is not that of safetensors: {error}")))?;
    tensors.remove("__metadata__");
    Ok(Entries { tensors, end: 8 + len })
}

/// A tensor without its name, once its values are seen to lie in the file.
fn tensor(entry: Value, data_start: u64, file_len: u64) -> Result<TensorInfo> {
    let Entry { dtype, shape, data_offsets: [start, end] } =
        serde_json::from_value(entry).map_err(|error| Error::file(error.to_string()))?;
    let format = [&F32, &F16, &BF16].into_iter().find(|format| format.name == dtype);
    let Some(format) = format.and_then(|format| GgmlType::from_id(format.ggml_type)) else {
        return Err(Error::unsupported(format!("{dtype} is not supported (supported: F32, F16, BF16)")));
    };
    let count = |shape: &[u64]| shape.iter().try_fold(1, |n: u64, d| n.checked_mul(*d)).filter(|n| *n > 0);
    let bytes = count(&shape).and_then(|n| n.checked_mul(format.block_bytes.into()));
    let small = shape.iter().all(|n| *n <= u64::from(u32::MAX)) && (1..=2).contains(&shape.len());
    let (Some(bytes), true) = (bytes, small) else {
        return Err(Error::file(format!("shape {shape:?} is not possible")));
    };
    if end.checked_sub(start) != Some(bytes) {
        return Err(Error::file(format!(
            "shape {shape:?} in {dtype}: expected {bytes} bytes, got {start} to {end}"
        )));
    }
    check_range(file_len - data_start, start, bytes)?;
    let dims = shape.into_iter().map(|n| n as usize).collect();
    Ok(TensorInfo { name: String::new(), format, dims, file: 0, offset: data_start + start, bytes })
}
