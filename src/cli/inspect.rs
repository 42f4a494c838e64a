//! `webreft inspect`: a file's header, and what a model would take.

use super::output::{bytes, count, print, print_json, table};
use super::{open, quantizer, read};
use clap::Args;
use safetensors::tensor::SafeTensors;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use webreft::backend::Machine;
use webreft::bytes::{ByteSource, FileSource};
use webreft::files::{self, ModelFiles};
use webreft::inspect::{InspectOptions, Inspection, Need, Needs, inspect};
use webreft::model::LoadOptions;
use webreft::reft::{About, ReftConfig};
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    /// A GGUF file, one part of a split one, a directory with config.json, tokenizer.json and .safetensors, or saved interventions.
    file: PathBuf,
    /// List the tensors, too.
    #[arg(long)]
    tensors: bool,
    /// Context a model would be loaded for, in tokens; its own up to 4096 by default.
    #[arg(long)]
    context: Option<usize>,
    /// Format to which weights in F32, F16 or BF16 would be quantized: Q8_0, Q4_0 or Q4_K.
    #[arg(long)]
    quantize: Option<String>,
    /// Tokens of a training example.
    #[arg(long, default_value_t = InspectOptions::default().train_tokens)]
    train_tokens: usize,
    /// Examples of a training step.
    #[arg(long, default_value_t = InspectOptions::default().train_batch)]
    train_batch: usize,
    /// Machine whose memory it would take: auto (a real GPU, if there is one, else the CPU), gpu or cpu.
    #[arg(long, default_value_t)]
    backend: Machine,
}

/// A tensor, as it is listed.
#[derive(Serialize)]
struct Tensor {
    tensor: String,
    format: String,
    shape: Vec<usize>,
    bytes: u64,
}

pub(super) fn run(options: &Options, json: bool) -> Result<()> {
    let tensors = if options.file.is_dir() || !is_safetensors(&FileSource::open(&options.file)?)? {
        pollster::block_on(model(options, json))?
    } else {
        interventions(&options.file, json)?
    };
    match (options.tensors, json) {
        (false, _) => (),
        (true, true) => tensors.iter().for_each(print_json),
        (true, false) => print(&format!("\n{}", listed(&tensors))),
    }
    Ok(())
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

async fn model(options: &Options, json: bool) -> Result<Vec<Tensor>> {
    let files = ModelFiles::open(files::find(&options.file)?).await?;
    let load = LoadOptions { n_ctx: options.context, quantize: quantizer(options.quantize.as_deref())? };
    let Options { train_tokens, train_batch, .. } = *options;
    let (backend, _) = open(options.backend, 0)?;
    let inspection = inspect(&backend, &files, &InspectOptions { load, train_tokens, train_batch }).await?;
    let header = files.header;
    if json {
        print_json(&inspection);
        let metadata = header.metadata.describe().map(|(key, text)| (key.to_owned(), Value::String(text)));
        let metadata = metadata.collect::<Map<_, _>>();
        print_json(&json!({ "format": format!("{:?}", header.origin), "metadata": metadata }));
    } else {
        print(&table(&described(&inspection)));
    }
    let tensors = header.tensors.iter().map(|tensor| Tensor {
        tensor: tensor.name.clone(),
        format: tensor.format.name.to_owned(),
        shape: tensor.dims.clone(),
        bytes: tensor.bytes,
    });
    Ok(tensors.collect())
}

/// What a model is and would take, a row each.
fn described(it: &Inspection) -> Vec<Vec<String>> {
    let known = |value: Option<u64>| value.map_or("unknown".to_owned(), count);
    let mut rows = vec![
        ["name".to_owned(), it.name.clone().unwrap_or("unknown".to_owned())],
        ["architecture".to_owned(), it.architecture.clone().unwrap_or("unknown".to_owned())],
        [
            "layers".to_owned(),
            format!("{} of width {}", known(it.n_layer.map(u64::from)), known(it.n_embd.map(u64::from))),
        ],
        ["vocabulary".to_owned(), known(it.n_vocab.map(|n| n as u64))],
        ["context".to_owned(), known(it.n_ctx.map(u64::from))],
        [
            "weights".to_owned(),
            format!("{}, {}: {}", count(it.n_params), bytes(it.bytes), it.formats.join(", ")),
        ],
    ];
    if let Some(Needs { context_length, train_tokens, train_batch, load, generate, train }) = it.needs {
        let need = |need: Need| bytes(need.bytes) + if need.fits { "" } else { ", which does not fit" };
        rows.push(["to load".to_owned(), need(load)]);
        rows.push([
            "to generate".to_owned(),
            format!("{} ({} tokens)", need(generate), count(context_length as u64)),
        ]);
        rows.push([
            "to train".to_owned(),
            format!("{} ({train_batch} examples of {train_tokens} tokens)", need(train)),
        ]);
    }
    rows.extend(it.problem.iter().map(|problem| ["does not load".to_owned(), problem.clone()]));
    rows.into_iter().map(Vec::from).collect()
}

fn interventions(path: &Path, json: bool) -> Result<Vec<Tensor>> {
    let content = read(path)?;
    let at = |error: Error| error.at(path.display());
    let about = About::read(&content).map_err(at)?;
    match json {
        true => print_json(&about),
        false => print(&table(&about_rows(&about))),
    }
    let file = SafeTensors::deserialize(&content).map_err(|error| at(Error::file(error.to_string())))?;
    let mut tensors: Vec<Tensor> = file
        .iter()
        .map(|(name, view)| Tensor {
            tensor: name.to_owned(),
            format: format!("{:?}", view.dtype()),
            shape: view.shape().to_vec(),
            bytes: view.data().len() as u64,
        })
        .collect();
    tensors.sort_by(|one, other| one.tensor.cmp(&other.tensor));
    Ok(tensors)
}

/// What a file of interventions says of itself, a row each.
fn about_rows(about: &About) -> Vec<Vec<String>> {
    let mut rows = vec![["model".to_owned(), format!("{} ({})", about.base_model, about.fingerprint)]];
    for config in &about.configs {
        rows.push(["interventions".to_owned(), chosen(config)]);
    }
    if let Some(head) = &about.head {
        rows.push(["head".to_owned(), format!("{} outputs", head.outputs)]);
    }
    if !about.classes.is_empty() {
        rows.push(["classes".to_owned(), about.classes.join(", ")]);
    }
    if let Some(trained) = &about.training {
        let loss = trained.loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
        rows.push([
            "trained".to_owned(),
            format!("{} steps on {} examples{loss}", trained.steps, trained.examples),
        ]);
    }
    rows.into_iter().map(Vec::from).collect()
}

/// The kind, and what is not by default.
fn chosen(config: &ReftConfig) -> String {
    let fields = |config: &ReftConfig| match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let default = fields(&ReftConfig::default());
    let mut parts = vec![config.kind.clone(), format!("rank {}", config.rank)];
    for (name, value) in fields(config) {
        if name != "kind" && name != "rank" && default.get(&name) != Some(&value) {
            parts.push(format!("{name} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
    }
    parts.join(", ")
}

fn listed(tensors: &[Tensor]) -> String {
    let header = ["tensor", "format", "shape", "size"].map(str::to_owned).to_vec();
    let rows = tensors.iter().map(|it| {
        let shape = it.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        vec![it.tensor.clone(), it.format.clone(), shape, bytes(it.bytes)]
    });
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}
