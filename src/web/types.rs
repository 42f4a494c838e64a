//! What crosses between Rust and JavaScript: written once, here; wasm-bindgen writes the TypeScript.

use serde::{Deserialize, Serialize};
use tsify::Tsify;

/// The GPU that a browser offers.
#[derive(Clone, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct Adapter {
    /// As its driver calls itself; may be empty.
    pub name: String,
    /// Whether it is a program on the CPU, and not a GPU.
    pub software: bool,
    /// Bytes in the largest buffer it can make.
    pub max_buffer_size: f64,
    /// Bytes of one buffer that a shader can see.
    pub max_binding_size: f64,
}

/// What loading is doing.
#[derive(Clone, Copy, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Fetching a file whose server knows no byte ranges.
    Download,
    /// Reading the file's header: metadata and the table of tensors.
    Header,
    /// Reading tensors and moving them to the GPU.
    Weights,
}

/// Where loading stands.
#[derive(Clone, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct LoadProgress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of this phase that are done.
    pub loaded: f64,
    /// Bytes of this phase in all; 0 where the server does not say.
    pub total: f64,
}

/// A model that is loaded.
#[derive(Clone, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// Its own name, as the file says.
    pub name: Option<String>,
    /// The architecture, in GGUF's words: `llama`.
    pub architecture: String,
    /// The format of most of its weights: `Q8_0`.
    pub format: String,
    /// Transformer layers.
    pub n_layer: u32,
    /// Numbers in a hidden state.
    pub n_embd: u32,
    /// Tokens it knows.
    pub n_vocab: u32,
    /// Tokens that fit into the context as it was loaded.
    pub n_ctx: u32,
    /// Weights in all.
    pub n_params: f64,
    /// Whether the file brings a chat template.
    pub has_chat_template: bool,
    /// Tells one base model from another; a saved intervention names it.
    pub fingerprint: String,
    /// The GPU it runs on.
    pub adapter: Adapter,
}

/// Bytes in use.
#[derive(Clone, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// In buffers on the GPU.
    pub gpu: f64,
    /// In the wasm heap, which never shrinks: this is its peak.
    pub wasm: f64,
}

/// How a model is loaded.
#[derive(Clone, Debug, Default, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EngineOptions {
    /// Tokens of context; what the file says if left out.
    pub context_length: Option<u32>,
}

/// Which layers an intervention edits: their numbers from 0, or all of them.
#[derive(Clone, Debug, Serialize, Deserialize, Tsify)]
#[serde(untagged)]
pub enum Layers {
    /// These.
    List(Vec<u32>),
    /// Every one.
    All(All),
}

/// The word for every layer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub enum All {
    /// Every one.
    All,
}

/// The kinds of intervention.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// h + Rᵀ(W·h + b − R·h), the rows of R orthonormal.
    Loreft,
}

/// A set of interventions, as it is asked for.
#[derive(Clone, Debug, Serialize, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReftConfig {
    /// What is done to a hidden state.
    pub kind: Kind,
    /// Where: the outputs of these layers.
    pub layers: Layers,
    /// Dimensions of the subspace that is edited.
    pub rank: u32,
    /// At which tokens of the prompt: `f1+l1` is the first and the last, `all` is each.
    pub positions: String,
    /// Whether first and last positions share one intervention; true if left out.
    #[serde(default)]
    pub tied: Option<bool>,
    /// Draws the initial values; 0 if left out.
    #[serde(default)]
    pub seed: Option<u32>,
}

/// One thing to learn: the answer to a prompt.
#[derive(Clone, Debug, Serialize, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Example {
    /// What is asked. The model's chat template is put around it, if it has one.
    pub prompt: String,
    /// What should be answered.
    pub completion: String,
}

/// One turn of a conversation.
#[derive(Clone, Debug, Serialize, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// One of the texts that are continued together.
#[derive(Clone, Debug, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sequence {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The interventions it is read with, by number; the bare model if left out.
    #[serde(default)]
    pub reft: Option<u32>,
}

/// How an answer is chosen, and when it ends.
#[derive(Clone, Debug, Default, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sampling {
    /// Tokens at most; as many as fit into the context if left out.
    pub max_tokens: Option<u32>,
    /// 0 takes the likeliest token each time, which is the default; 1 samples as the model says.
    pub temperature: Option<f32>,
    /// Only so many of the likeliest tokens; all if left out.
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that together have this probability.
    pub top_p: Option<f32>,
    /// Only tokens at least this likely, relative to the likeliest.
    pub min_p: Option<f32>,
    /// The same seed gives the same answer.
    pub seed: Option<u32>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Option<Vec<String>>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub enum Finish {
    /// The model said so, or a stop text came.
    Stop,
    /// The tokens asked for are there, or the context is full.
    Length,
}

/// The next bit of one sequence's answer.
#[derive(Clone, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct SequencePiece {
    /// Which sequence, in the order given.
    pub sequence: u32,
    /// The token.
    pub id: u32,
    /// The text that has become certain with it; may be empty.
    pub text: String,
    /// Set on the last piece.
    pub finish: Option<Finish>,
}

/// How the learning rate goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to 0 in a line.
    #[default]
    Linear,
}

/// How interventions are trained.
#[derive(Clone, Debug, Default, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Training {
    /// Times through the examples; 20 if left out.
    pub epochs: Option<u32>,
    /// Examples in a step; all of them if left out.
    pub batch_size: Option<u32>,
    /// AdamW's, at its highest; 4e-3 if left out.
    pub learning_rate: Option<f32>,
    /// How it goes on; `linear` if left out.
    pub schedule: Option<Schedule>,
    /// Steps in which it first rises from 0; none if left out.
    pub warmup_steps: Option<u32>,
    /// Draws the order of the examples; 0 if left out.
    pub seed: Option<u32>,
}

/// One step of training, after it.
#[derive(Clone, Debug, Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct TrainStep {
    /// Its number, from 1.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// The time through the examples it belongs to, from 1.
    pub epoch: u32,
    /// Nats per token of the completions, before the step.
    pub loss: f32,
    /// The learning rate it was made with.
    pub learning_rate: f32,
    /// Tokens that went through the model.
    pub tokens: u32,
    /// How long it took.
    pub seconds: f64,
}
