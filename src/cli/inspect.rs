//! `webreft inspect`: a file's header, and what a model would take.

use super::{print_line, quantizer, read};
use clap::Args;
use safetensors::tensor::SafeTensors;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use webreft::backend::Machine;
use webreft::bytes::{ByteSource, FileSource};
use webreft::files::{self, ModelFiles};
use webreft::inspect::{InspectOptions, inspect};
use webreft::model::LoadOptions;
use webreft::reft::About;
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    /// A GGUF file, one part of a split one, a directory with config.json, tokenizer.json and .safetensors, or interventions that were saved.
    file: PathBuf,
    /// The context a model would be loaded for, in tokens; its own up to 4096 if not given.
    #[arg(long)]
    context: Option<usize>,
    /// What weights in F32, F16 or BF16 would be quantized to: Q8_0, Q4_0 or Q4_K.
    #[arg(long)]
    quantize: Option<String>,
    /// Tokens of an example that it would be trained on.
    #[arg(long, default_value_t = InspectOptions::default().train_tokens)]
    train_tokens: usize,
    /// Examples of a step.
    #[arg(long, default_value_t = InspectOptions::default().train_batch)]
    train_batch: usize,
    /// Whose memory it would take: auto (a real GPU, if there is one, else the CPU), gpu or cpu.
    #[arg(long, default_value_t)]
    backend: Machine,
}

pub(super) fn run(options: &Options) -> Result<()> {
    if options.file.is_dir() || !is_safetensors(&FileSource::open(&options.file)?)? {
        pollster::block_on(model(options))
    } else {
        interventions(&options.file)
    }
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

async fn model(options: &Options) -> Result<()> {
    let files = ModelFiles::open(files::find(&options.file)?).await?;
    let load = LoadOptions { n_ctx: options.context, quantize: quantizer(options.quantize.as_deref())? };
    let Options { train_tokens, train_batch, .. } = *options;
    let (backend, _) = options.backend.open(0).await?;
    print_line(&inspect(&backend, &files, &InspectOptions { load, train_tokens, train_batch }).await?);
    let header = files.header;
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
