//! What a model is and what it would take on a device, from its headers alone: no weight is read.
//!
//! Memory is not estimated: the code that loads, generates and trains runs on a [`Tally`](crate::backend::Tally), which counts.

use serde::Serialize;

use crate::backend::{Backend, NoControl};
use crate::bytes::ByteSource;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::generate::{GenerateOptions, Prompt};
use crate::kernel::Hyper;
use crate::model::LoadOptions;
use crate::reft::ReftConfig;
use crate::train::{Sequence, Trainer};

/// Tokens of a prompt that are read at once at the most.
const PROMPT: usize = 256;
/// Tokens of a training step whose memory is counted: more than any device trains at once.
const MAX_STEP_TOKENS: usize = 1 << 20;

/// What for.
#[derive(Clone, Copy, Debug)]
pub struct InspectOptions {
    /// How it would be loaded.
    pub load: LoadOptions,
    /// Tokens of a training example.
    pub train_tokens: usize,
    /// Examples of a step.
    pub train_batch: usize,
}

impl Default for InspectOptions {
    fn default() -> InspectOptions {
        InspectOptions { load: LoadOptions::default(), train_tokens: 128, train_batch: 4 }
    }
}

/// What a model is, and what it would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// `general.name`, where the file has one.
    pub name: Option<String>,
    /// `general.architecture`, where the file has one.
    pub architecture: Option<String>,
    /// Weights in all.
    pub n_params: u64,
    /// Bytes of all weights in the file.
    pub bytes: u64,
    /// The formats of its tensors in the file, those with the most bytes first.
    pub formats: Vec<String>,
    /// Tokens that the model was trained to see at once.
    pub n_ctx: Option<u32>,
    /// Tokens in the vocabulary.
    pub n_vocab: Option<usize>,
    /// Transformer layers.
    pub n_layer: Option<u32>,
    /// Width of the hidden state.
    pub n_embd: Option<u32>,
    /// Why it would not load, if it would not.
    pub problem: Option<String>,
    /// What it would take, if it would load.
    pub needs: Option<Needs>,
}

/// What a model would take on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// Tokens of context that are made ready.
    pub context_length: usize,
    /// Tokens of a training example.
    pub train_tokens: usize,
    /// Examples of a step.
    pub train_batch: usize,
    /// The model by itself.
    pub load: Need,
    /// With an answer that fills the context.
    pub generate: Need,
    /// With a training of LoReFT in the usual layers.
    pub train: Need,
}

/// Memory at its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Bytes on the device.
    pub bytes: u64,
    /// Whether the device has so much beside what it holds; drivers may promise more than they have.
    pub fits: bool,
}

/// Tells what a model is and what it would take on a machine.
///
/// # Errors
/// `Input` for a training without tokens, or with too many in a step, `Device` if the device was lost. A model that would not load is told in the result.
pub async fn inspect<S: ByteSource>(
    backend: &Backend,
    files: &ModelFiles<S>,
    options: &InspectOptions,
) -> Result<Inspection> {
    let header = &files.header;
    let architecture = header.metadata.get::<&str>("general.architecture").ok().flatten();
    let count = |what: &str| header.metadata.get(&format!("{}.{what}", architecture?)).ok()?;
    let text = |text: &str| text.to_owned();
    let tally = backend.tally();
    let (needs, problem) = match Engine::load(&tally, files, &options.load, &mut |_| ()).await {
        Ok(engine) => (Some(needs(backend, &engine, options).await?), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Inspection {
        name: header.metadata.get("general.name").ok().flatten().map(text),
        architecture: architecture.map(text),
        n_params: header.n_params(),
        bytes: header.bytes(),
        formats: formats(files),
        n_ctx: count("context_length"),
        n_vocab: header.tensor("token_embd.weight").map(|embed| embed.rows()),
        n_layer: count("block_count"),
        n_embd: count("embedding_length"),
        problem,
        needs,
    })
}

/// The names of formats, by the bytes that tensors have in them.
fn formats<S>(files: &ModelFiles<S>) -> Vec<String> {
    let mut bytes: Vec<(&str, u64)> = Vec::new();
    for tensor in &files.header.tensors {
        match bytes.iter_mut().find(|(name, _)| *name == tensor.format.name) {
            Some((_, bytes)) => *bytes += tensor.bytes,
            None => bytes.push((tensor.format.name, tensor.bytes)),
        }
    }
    bytes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    bytes.into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// Generates and trains on a model whose machine counts.
async fn needs(backend: &Backend, engine: &Engine, options: &InspectOptions) -> Result<Needs> {
    let (tally, n_ctx) = (&engine.model().backend, engine.model().n_ctx);
    let (train_tokens, train_batch) = (options.train_tokens.min(n_ctx), options.train_batch);
    if train_tokens.saturating_mul(train_batch) > MAX_STEP_TOKENS {
        let message = format!(
            "trainBatch {train_batch}, of {train_tokens} tokens each: expected at most {MAX_STEP_TOKENS} tokens in all"
        );
        return Err(Error::input(message));
    }
    let load = tally.memory();
    generate(engine).await?;
    let generate = tally.peak();
    tally.restart_peak();
    train(engine, train_tokens, train_batch).await?;
    let train = tally.peak();
    let need = async |bytes| Ok::<_, Error>(Need { bytes, fits: backend.has_room(bytes).await? });
    Ok(Needs {
        context_length: n_ctx,
        train_tokens,
        train_batch,
        load: need(load).await?,
        generate: need(generate).await?,
        train: need(train).await?,
    })
}

async fn generate(engine: &Engine) -> Result<()> {
    let n_ctx = engine.model().n_ctx;
    let n_prompt = PROMPT.min(n_ctx.div_ceil(2));
    let prompt = Prompt { tokens: vec![0; n_prompt], personas: vec![] };
    let options = GenerateOptions { max_tokens: (n_ctx - n_prompt).max(1), ..GenerateOptions::default() };
    engine.generate_with(&[prompt], &options, &NoControl).await.map(|_| ())
}

async fn train(engine: &Engine, n_tokens: usize, n_sequences: usize) -> Result<()> {
    let model = engine.model();
    let reft = engine.reft(&[ReftConfig::default()])?;
    let sequence = Sequence::new(&reft, vec![0; n_tokens], n_tokens / 2, model.n_ctx)?;
    let mut trainer = Trainer::new(&model.backend, &reft)?;
    let (sequences, hyper) = (vec![&sequence; n_sequences], Hyper::with_rate(0.0));
    trainer.step_with(model, &reft, &sequences, &hyper, &NoControl).await.map(|_| ())
}
