//! `webreft inspect`: a file's header.

use super::{print_line, read};
use clap::Args;
use safetensors::tensor::SafeTensors;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use webreft::bytes::{ByteSource, FileSource};
use webreft::gguf;
use webreft::reft::About;
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    /// A GGUF file, or interventions that were saved.
    file: PathBuf,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let source = FileSource::open(&options.file)?;
    if is_safetensors(&source)? { interventions(&options.file) } else { model(&source) }
}

/// Whether a file begins as safetensors do: eight bytes of length, then JSON.
fn is_safetensors(source: &FileSource) -> Result<bool> {
    let mut start = [0; 9];
    if source.len() < start.len() as u64 {
        return Ok(false);
    }
    pollster::block_on(source.read(0, &mut start))?;
    Ok(!start.starts_with(b"GGUF") && start[8] == b'{')
}

fn model(source: &FileSource) -> Result<()> {
    let header = pollster::block_on(gguf::read(source))?;
    let metadata = header.metadata.describe().map(|(key, text)| (key.to_owned(), Value::String(text)));
    print_line(
        &json!({ "format": format!("{:?}", header.origin), "metadata": metadata.collect::<Map<_, _>>() }),
    );
    for tensor in &header.tensors {
        let format = tensor.format.name;
        print_line(
            &json!({ "tensor": tensor.name, "format": format, "shape": tensor.dims, "bytes": tensor.bytes }),
        );
    }
    Ok(())
}

fn interventions(path: &Path) -> Result<()> {
    let bytes = read(path)?;
    let at = |error: Error| error.at(path.display());
    print_line(&About::read(&bytes).map_err(at)?);
    let file = SafeTensors::deserialize(&bytes).map_err(|error| at(Error::file(error.to_string())))?;
    let mut tensors = file.tensors();
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, view) in tensors {
        let (format, bytes) = (format!("{:?}", view.dtype()), view.data().len());
        print_line(&json!({ "tensor": name, "format": format, "shape": view.shape(), "bytes": bytes }));
    }
    Ok(())
}
