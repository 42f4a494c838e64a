//! `webreft inspect`: a file's header.

use super::print_line;
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use webreft::Result;
use webreft::bytes::FileSource;
use webreft::gguf;

#[derive(Args)]
pub(super) struct Options {
    /// A GGUF file.
    model: PathBuf,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let header = pollster::block_on(gguf::read(&FileSource::open(&options.model)?))?;
    let metadata = header.metadata.describe().map(|(key, text)| (key.to_owned(), Value::String(text)));
    print_line(&json!({ "version": header.version, "metadata": metadata.collect::<Map<_, _>>() }));
    for tensor in &header.tensors {
        let format = tensor.format.name;
        print_line(
            &json!({ "tensor": tensor.name, "format": format, "shape": tensor.dims, "bytes": tensor.bytes }),
        );
    }
    Ok(())
}
