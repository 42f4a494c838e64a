//! A model as Transformers keeps it, seen as a GGUF header: `config.json` as metadata, the tensors of its `.safetensors` by their GGUF
//! names. Everything above reads the one and the other alike.
//!
//! Source: `convert_hf_to_gguf.py` of llama.cpp for what becomes of a configuration; the safetensors format of Hugging Face.

mod config;
mod names;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::bytes::{ByteSource, check_range};
use crate::error::{Error, Result};
use crate::gguf::{GgmlType, Header, Origin, TensorInfo};
use crate::model::Architecture;
use crate::quant::{BF16, F16, F32};

/// The file that tells what the model is.
pub const CONFIG: &str = "config.json";

/// The longest header of a file; safetensors itself allows no more.
const MAX_HEADER: u64 = 100_000_000;

/// Reads a repository: its configuration, and the headers of its files of tensors, each with its number among the model's files.
///
/// # Errors
///
/// `File` for a configuration or a header that is damaged; `Unsupported` for a model that webreft does not have, with all that it lacks.
pub async fn read<S: ByteSource>(config: &[u8], files: &[(usize, &S)]) -> Result<Header> {
    let config: Value =
        serde_json::from_slice(config).map_err(|error| Error::file(format!("{CONFIG}: {error}")))?;
    let (arch, metadata, derived) = config::read(&config).map_err(|error| error.at(CONFIG))?;
    let mut tensors = Vec::new();
    for (file, source) in files {
        tensors.extend(read_tensors(*source, *file, arch).await?);
    }
    if config["tie_word_embeddings"] == true {
        tensors.retain(|tensor| tensor.name != "output.weight"); // a copy of the embedding, where it is stored at all
    }
    let mut header = Header::new(Origin::HuggingFace, metadata, tensors)?;
    header.derived = derived;
    Ok(header)
}

/// What a header of safetensors says of a tensor. Offsets are 64 bits in a browser too, where the crate's own are not: files grow beyond 4 GiB.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The tensors of one file that an architecture may read.
async fn read_tensors(source: &impl ByteSource, file: usize, arch: &Architecture) -> Result<Vec<TensorInfo>> {
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
    let entries: BTreeMap<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(format!("the header is not that of safetensors: {error}")))?;
    let mut tensors = Vec::new();
    for (name, entry) in entries {
        let Some(gguf_name) = names::gguf_name(&name, arch) else { continue };
        let info =
            tensor(entry, 8 + len, source.len()).map_err(|error| error.at(format!("tensor {name:?}")))?;
        tensors.push(TensorInfo { name: gguf_name, file, ..info });
    }
    Ok(tensors)
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
