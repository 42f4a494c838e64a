//! The benchmark of decode, prefill and a training step: natively, then in headless Chromium. Two lines of JSON.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::serve::serve;
use crate::shell::{command, output_of, root};
use crate::{tools, wasm, www};

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The GGUF file; webreft-nano if left out
    #[arg(long)]
    model: Option<PathBuf>,
    /// Tokens of the prompt, and of the training batch
    #[arg(long, default_value_t = 256)]
    tokens: usize,
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    tools::vulkan()?;
    let chromium = tools::chromium()?;
    let root = root();
    let model = match &options.model {
        Some(model) => model.canonicalize().with_context(|| format!("opening {}", model.display()))?,
        None => root.join("nano/webreft-nano-q8_0.gguf"),
    };
    let tokens = options.tokens.to_string();

    let cargo = "cargo run --quiet --release --package webreft --bin webreft -- bench --model";
    let native = output_of(command(&root, cargo).arg(&model).args(["--tokens", &tokens]))?;
    println!("{{\"where\":\"native\",\"report\":{native}}}");

    wasm::build()?;
    www::build()?;
    let address = serve(&www::dir().join("webreft"), 0)?;
    let node = format!("node bench.mjs {address}");
    let measured =
        output_of(command(&www::dir(), &node).arg(&model).arg(&tokens).env("WEBREFT_CHROMIUM", chromium))?;
    println!("{{\"where\":\"chromium\",\"report\":{measured}}}");
    Ok(())
}
