//! Models with random weights in the shapes of real ones, loaded in headless Chromium.

use std::fs;

use anyhow::Result;

use crate::serve::serve;
use crate::shell::{command, root, run};
use crate::{tools, wasm, www};

/// The first is for the GPU, the others are for the CPU.
const SHAPES: [&str; 4] = ["wide-vocabulary", "smollm2-135m", "qwen2.5-0.5b", "llama-3.2-1b"];

/// Writes the models where they are not there yet, and loads each: some 1.3 GB in all. The package must be built.
pub(crate) fn load() -> Result<()> {
    let chromium = tools::chromium()?;
    let folder = wasm::target_dir(&root()).join("shapes");
    fs::create_dir_all(&folder)?;
    let address = serve(&www::dir().join("webreft"), 0)?;
    let mut node = command(&www::dir(), &format!("node shapes.mjs {address}"));
    for shape in SHAPES {
        let file = folder.join(format!("{shape}.gguf"));
        if !file.exists() {
            let part = file.with_extension("part");
            let cargo = format!("cargo run --quiet --package webreft --bin webreft -- lab random {shape}");
            run(command(&root(), &cargo).arg(&part))?;
            fs::rename(&part, &file)?;
        }
        node.arg(file);
    }
    run(node.env("WEBREFT_CHROMIUM", chromium))
}
