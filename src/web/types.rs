//! What crosses between Rust and JavaScript: written once, here; wasm-bindgen writes the TypeScript.
//!
//! Options become the engine's own by `same_fields!`, which names every field: a new one does not compile until it is here.

use serde::{Deserialize, Serialize};
use tsify::Tsify;

use crate::backend::Machine;
use crate::data;
use crate::engine;
use crate::error::{Error, Result};
use crate::generate;
use crate::inspect;
use crate::model;
use crate::quant;
use crate::reft;
use crate::token;
use crate::train;

/// A struct becomes another one whose fields, all of them, have the same names and types.
macro_rules! same_fields {
    ($from:path => $to:path { $($field:ident),+ }) => {
        impl From<$from> for $to {
            fn from(it: $from) -> $to {
                let $from { $($field),+ } = it;
                $to { $($field),+ }
            }
        }
    };
}

/// A model that is loaded.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct EngineInfo {
    /// Its own name, as the file says.
    pub name: String,
    /// The architecture, in GGUF's words: `llama`.
    pub architecture: String,
    /// The formats of its matrices: `Q8_0`.
    pub formats: Vec<String>,
    /// Bytes of all weights in the file.
    pub bytes: u64,
    /// Weights in all.
    pub n_params: u64,
    /// Transformer layers.
    pub n_layer: usize,
    /// Numbers in a hidden state.
    pub n_embd: usize,
    /// Tokens it knows.
    pub n_vocab: usize,
    /// Tokens that prompt and answer may have together.
    pub n_ctx: usize,
    /// Whether the file brings a chat template.
    pub chat: bool,
    /// Tells one model from another, whatever its quantization; saved interventions name it.
    pub fingerprint: String,
    /// Who computes.
    #[tsify(type = "\"gpu\" | \"cpu\"")]
    pub backend: &'static str,
    /// The machine's name: the adapter's, or the CPU's instruction set and threads.
    pub device: String,
    /// The kinds of intervention that there are.
    pub kinds: Vec<KindInfo>,
}

/// How a model is loaded.
#[derive(Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadOptions {
    /// Who computes; a real GPU where there is one, else the CPU, if left out. `gpu` takes a program in place of a GPU, too.
    #[tsify(optional, type = "\"auto\" | \"gpu\" | \"cpu\"")]
    pub backend: Option<String>,
    /// Tokens of context; as many as the file says, up to 4096, if left out.
    #[tsify(optional)]
    pub context_length: Option<usize>,
    /// What weights in F32, F16 or BF16 are quantized to while loading; they stay as they are if left out.
    #[tsify(optional, type = "\"Q8_0\" | \"Q4_0\" | \"Q4_K\"")]
    pub quantize: Option<String>,
    /// A chat template in the place of the model's own: its text, or the name of one; `raw` leaves text as it is.
    #[tsify(optional, type = "\"chatml\" | \"llama3\" | \"gemma\" | \"raw\" | (string & {})")]
    pub chat_template: Option<String>,
    /// The local date and time that templates write, such as `2025-07-04T12:30:00`; the clock's if left out.
    #[tsify(optional)]
    pub now: Option<String>,
    /// What templates see besides the messages: a JSON object as text, in whose order they write it, with `tools`, `documents`,
    /// `date_string` or `enable_thinking`, for example.
    #[tsify(optional)]
    pub template_variables: Option<String>,
}

impl LoadOptions {
    /// How conversations are written.
    pub(super) fn chat(&self) -> Result<token::ChatOptions> {
        let now = self.now.as_deref().map(token::ChatInputs::moment).transpose()?;
        let inputs = token::ChatInputs { now, variables: self.template_variables.iter().cloned().collect() };
        Ok(token::ChatOptions { template: self.chat_template.clone(), inputs })
    }
}

/// The machine that is asked for.
pub(super) fn machine(name: Option<&str>) -> Result<Machine> {
    name.map_or(Ok(Machine::default()), str::parse)
}

impl TryFrom<LoadOptions> for model::LoadOptions {
    type Error = Error;

    fn try_from(it: LoadOptions) -> Result<model::LoadOptions> {
        let quantize = it.quantize.as_deref().map(quant::quantizer).transpose()?;
        Ok(model::LoadOptions { n_ctx: it.context_length, quantize })
    }
}

/// What a model is asked about.
#[derive(Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InspectOptions {
    /// Who would compute; a real GPU where there is one, else the CPU, if left out. `gpu` takes a program in place of a GPU, too.
    #[tsify(optional, type = "\"auto\" | \"gpu\" | \"cpu\"")]
    pub backend: Option<String>,
    /// Tokens of context; as many as the file says, up to 4096, if left out.
    #[tsify(optional)]
    pub context_length: Option<usize>,
    /// What weights in F32, F16 or BF16 would be quantized to.
    #[tsify(optional, type = "\"Q8_0\" | \"Q4_0\" | \"Q4_K\"")]
    pub quantize: Option<String>,
    /// Tokens of a training example; 128 if left out.
    #[tsify(optional)]
    pub train_tokens: Option<usize>,
    /// Examples of a training step; 4 if left out.
    #[tsify(optional)]
    pub train_batch: Option<usize>,
}

impl TryFrom<InspectOptions> for inspect::InspectOptions {
    type Error = Error;

    fn try_from(it: InspectOptions) -> Result<inspect::InspectOptions> {
        let usual = inspect::InspectOptions::default();
        let quantize = it.quantize.as_deref().map(quant::quantizer).transpose()?;
        Ok(inspect::InspectOptions {
            load: model::LoadOptions { n_ctx: it.context_length, quantize },
            train_tokens: it.train_tokens.unwrap_or(usual.train_tokens),
            train_batch: it.train_batch.unwrap_or(usual.train_batch),
        })
    }
}

/// What a model is, and what it would take on this device; what its files do not say is left out.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Its own name.
    pub name: Option<String>,
    /// The architecture, in GGUF's words: `llama`.
    pub architecture: Option<String>,
    /// Weights in all.
    pub n_params: u64,
    /// Bytes of all weights in the file.
    pub bytes: u64,
    /// The formats of its tensors in the file, those with the most bytes first: `Q4_K`, `Q6_K`, `F32`.
    pub formats: Vec<String>,
    /// Tokens that the model was trained to see at once.
    pub n_ctx: Option<u32>,
    /// Tokens it knows.
    pub n_vocab: Option<usize>,
    /// Transformer layers.
    pub n_layer: Option<u32>,
    /// Numbers in a hidden state.
    pub n_embd: Option<u32>,
    /// Why it would not load, if it would not.
    pub problem: Option<String>,
    /// What it would take, if it would load.
    pub needs: Option<Needs>,
}

impl From<inspect::Inspection> for Inspection {
    fn from(it: inspect::Inspection) -> Inspection {
        Inspection {
            name: it.name,
            architecture: it.architecture,
            n_params: it.n_params,
            bytes: it.bytes,
            formats: it.formats,
            n_ctx: it.n_ctx,
            n_vocab: it.n_vocab,
            n_layer: it.n_layer,
            n_embd: it.n_embd,
            problem: it.problem,
            needs: it.needs.map(Needs::from),
        }
    }
}

/// What a model would take on this device.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// Tokens of context that are made ready.
    pub context_length: usize,
    /// Tokens of a training example.
    pub train_tokens: usize,
    /// Examples of a training step.
    pub train_batch: usize,
    /// The model by itself.
    pub load: Need,
    /// With an answer that fills the context.
    pub generate: Need,
    /// With a training of LoReFT in the usual layers.
    pub train: Need,
}

impl From<inspect::Needs> for Needs {
    fn from(it: inspect::Needs) -> Needs {
        Needs {
            context_length: it.context_length,
            train_tokens: it.train_tokens,
            train_batch: it.train_batch,
            load: it.load.into(),
            generate: it.generate.into(),
            train: it.train.into(),
        }
    }
}

/// Memory at its peak.
#[derive(Serialize, Tsify)]
pub struct Need {
    /// Bytes on the GPU.
    pub bytes: u64,
    /// Whether the GPU has so much now; drivers may promise more than they have.
    pub fits: bool,
}

same_fields!(inspect::Need => Need { bytes, fits });

/// A kind of intervention.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct KindInfo {
    /// Its name, as options and files have it.
    pub name: String,
    /// What it makes of a hidden state h.
    pub equation: String,
    /// Whether there is something about it to train.
    pub trained: bool,
    /// Whether it reads hidden states of another run, and wants a source.
    pub reads_source: bool,
    /// Whether it edits virtual tokens, which come before the prompt; it has no places and positions to choose.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// The layers it stands in where none are asked for: `all`, or `first`.
    pub usual_layers: String,
    /// The parts of a layer it stands at where none are asked for.
    pub usual_components: Vec<String>,
    /// The positions it has where none are asked for.
    pub usual_positions: String,
}

impl From<&reft::Kind> for KindInfo {
    fn from(kind: &reft::Kind) -> KindInfo {
        KindInfo {
            name: kind.name.to_owned(),
            equation: kind.equation.to_owned(),
            trained: kind.is_trained(),
            reads_source: kind.reads_source(),
            is_virtual: kind.is_virtual(),
            usual_layers: kind.usual.layers.to_owned(),
            usual_components: kind.usual.components.iter().map(|name| (*name).to_owned()).collect(),
            usual_positions: kind.usual.positions.to_owned(),
        }
    }
}

impl From<&engine::ModelInfo> for EngineInfo {
    fn from(info: &engine::ModelInfo) -> EngineInfo {
        let info = info.clone();
        EngineInfo {
            name: info.name,
            architecture: info.architecture,
            formats: info.formats,
            bytes: info.bytes,
            n_params: info.n_params,
            n_layer: info.n_layer,
            n_embd: info.n_embd,
            n_vocab: info.n_vocab,
            n_ctx: info.n_ctx,
            chat: info.chat,
            fingerprint: info.fingerprint,
            backend: info.backend,
            device: info.device,
            kinds: reft::kinds::KINDS.into_iter().map(KindInfo::from).collect(),
        }
    }
}

/// Interventions of one kind, as they are asked for.
#[derive(Serialize, Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReftConfig {
    /// What is done to a hidden state h: `loreft` if left out. See the package's README for all of them.
    pub kind: String,
    /// The layers, counted from 0; if left out the kind's own, which is all of them for nearly every kind.
    #[tsify(type = "number[] | \"all\" | \"first\" | \"middle\" | \"usual\"")]
    pub layers: reft::Layers,
    /// The part of a layer that is edited, or several, by pyvene's names; if left out the kind's own, `block_output` for most.
    #[tsify(type = "string | string[]")]
    pub component: reft::Components,
    /// The heads, counted from 0, for components of single heads, whose names begin with `head_`.
    pub heads: Vec<usize>,
    /// Dimensions of the subspace that is edited; 4 if left out.
    pub rank: usize,
    /// The tokens that are edited: `fN` the first N of the prompt, `lM` the last M, `fN+lM`, `all`, `prompt`, `generated`, a place like
    /// `3` or `-1`, a range like `2:5`, or several joined by `+`; if left out the kind's own, `f1+l1` for most.
    pub positions: String,
    /// Whether all positions share one intervention; false if left out.
    pub tied: bool,
    /// Whether the interventions of all layers share their parameters; false if left out.
    pub shared: bool,
    /// The function around what is learned; if left out the kind's own, `linear` for most, which is none.
    #[tsify(type = "\"usual\" | \"linear\" | \"gelu\" | \"relu\" | \"silu\" | \"tanh\"")]
    pub act: String,
    /// Whether a free projection has a bias, too; false if left out.
    pub add_bias: bool,
    /// The edit is multiplied by alpha / rank; left out or 0 it is not.
    pub alpha: f32,
    /// Whether it is multiplied by alpha / √rank instead; false if left out.
    pub rslora: bool,
    /// Virtual tokens before the prompt, for the kinds that have them; 8 if left out.
    pub virtual_tokens: usize,
    /// Width of the network that virtual tokens follow from; 0, the kind's own, if left out.
    pub encoder: usize,
    /// The layer of the other run whose hidden states are read, for the kinds that read one; the edited layer itself if left out.
    #[tsify(optional)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_layer: Option<usize>,
    /// Where the random start comes from; 0 if left out.
    pub seed: u64,
}

impl Default for ReftConfig {
    fn default() -> ReftConfig {
        ReftConfig::from(reft::ReftConfig::default())
    }
}

same_fields!(reft::ReftConfig => ReftConfig {
    kind, layers, component, heads, rank, positions, tied, shared, act, add_bias, alpha, rslora,
    virtual_tokens, encoder, source_layer, seed
});
same_fields!(ReftConfig => reft::ReftConfig {
    kind, layers, component, heads, rank, positions, tied, shared, act, add_bias, alpha, rslora,
    virtual_tokens, encoder, source_layer, seed
});

/// Something to learn. What it is says what the task is; all examples of a training are of one task. The engine reads them as it reads
/// files: by `data::Example`.
#[derive(Tsify)]
#[serde(untagged)]
pub enum Example {
    /// An answer to a prompt.
    Answer(Answer),
    /// A conversation, of which the assistant's turns are learned.
    Conversation(Conversation),
    /// Of two answers, the better one.
    Preference(Preference),
    /// The class of a text, by a head.
    Labelled(Labelled),
    /// The classes of a text, none, one or several, by a head.
    Tagged(Tagged),
    /// Numbers that belong to a text, by a head.
    Scored(Scored),
    /// What is answered with hidden states of another text.
    Counterfactual(Counterfactual),
}

/// An answer to a prompt.
#[derive(Tsify)]
pub struct Answer {
    /// What is asked. The model's chat template is put around it, if it has one.
    pub prompt: Prompt,
    /// What should be answered.
    pub completion: String,
}

/// A conversation, of which the assistant's turns are learned.
#[derive(Tsify)]
pub struct Conversation {
    /// Its turns.
    pub messages: Vec<Message>,
}

/// Of two answers, the better one: for a reward where there is a head, else to make it likelier (DPO).
#[derive(Tsify)]
pub struct Preference {
    /// What is asked.
    pub prompt: Prompt,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// The class of a text.
#[derive(Tsify)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// Its class, counted from 0, or by its name, where the head's classes have names.
    #[tsify(type = "number | string")]
    pub label: data::Class,
}

/// The classes of a text: none, one or several.
#[derive(Tsify)]
pub struct Tagged {
    /// The text.
    pub text: String,
    /// Its classes, counted from 0, or by their names.
    #[tsify(type = "(number | string)[]")]
    pub labels: Vec<data::Class>,
}

/// Numbers that belong to a text.
#[derive(Tsify)]
pub struct Scored {
    /// The text.
    pub text: String,
    /// The numbers, one for each of the head's outputs.
    pub values: Vec<f32>,
}

/// What is answered to a text where the interventions put hidden states of another one; for kinds that read one, like `dii_lowrank`.
#[derive(Tsify)]
pub struct Counterfactual {
    /// What is asked.
    pub base: String,
    /// What is asked in the other run, which is not edited.
    pub source: String,
    /// What should be answered to the base then.
    pub expected: String,
}

/// What another library's files do not say of the interventions in them.
#[derive(Default, Deserialize, Tsify)]
#[serde(deny_unknown_fields, default)]
pub struct Unsaved {
    /// The tokens that are edited; if left out `f1+l1` where there are two interventions at a place, else `l1`.
    #[tsify(optional)]
    pub positions: Option<String>,
    /// The function around what is learned; `linear` if left out.
    #[tsify(optional)]
    pub act: Option<String>,
    /// The kind, where the files do not tell it.
    #[tsify(optional)]
    pub kind: Option<String>,
}

same_fields!(Unsaved => reft::foreign::Unsaved { positions, act, kind });

/// A trained head, which reads a text.
#[derive(Deserialize, Tsify)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Scores it gives: one for each class, or the numbers, or one reward; as many as there are `classes` if left out.
    #[tsify(optional)]
    pub outputs: Option<usize>,
    /// The names of the classes, in the order of the scores; they have none if left out.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Whether it has a bias; false if left out.
    #[serde(default)]
    pub bias: bool,
    /// What it reads: the `last` token, the default, or the `mean` of all tokens.
    #[tsify(type = "\"last\" | \"mean\"")]
    #[serde(default)]
    pub pooling: reft::Pooling,
    /// Where the random start comes from; 0 if left out.
    #[serde(default)]
    pub seed: u64,
}

impl From<&HeadConfig> for reft::HeadConfig {
    fn from(it: &HeadConfig) -> reft::HeadConfig {
        let HeadConfig { outputs, ref classes, bias, pooling, seed } = *it;
        reft::HeadConfig { outputs: outputs.unwrap_or(classes.len()), bias, pooling, seed }
    }
}

/// One turn of a conversation.
#[derive(Deserialize, Tsify)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, as far as the model's template knows them.
    pub role: String,
    /// What is said.
    pub content: String,
}

same_fields!(Message => token::Message { role, content });

/// A text, or a conversation. The model's chat template is put around it, if it has one.
#[derive(Deserialize, Tsify)]
#[serde(untagged)]
pub enum Prompt {
    /// One thing said by the user.
    Text(String),
    /// A conversation.
    Messages(Vec<Message>),
}

impl From<Prompt> for engine::Input {
    fn from(prompt: Prompt) -> engine::Input {
        match prompt {
            Prompt::Text(text) => engine::Input::Text(text),
            Prompt::Messages(messages) => {
                engine::Input::Messages(messages.into_iter().map(token::Message::from).collect())
            }
        }
    }
}

/// Where hidden states are read.
#[derive(Deserialize, Tsify)]
#[serde(deny_unknown_fields, default)]
pub struct StatesAt {
    /// The layers, counted from 0; all if left out.
    #[tsify(type = "number[] | \"all\" | \"first\" | \"middle\"")]
    pub layers: reft::Layers,
    /// The part of a layer, or several, by pyvene's names; `block_output` if left out.
    #[tsify(type = "string | string[]")]
    pub component: reft::Components,
    /// The heads, counted from 0, for components of single heads, whose names begin with `head_`.
    pub heads: Vec<usize>,
    /// The tokens, in the words of `ReftConfig.positions`; all if left out.
    pub positions: String,
}

impl Default for StatesAt {
    fn default() -> StatesAt {
        StatesAt::from(engine::StatesAt::default())
    }
}

same_fields!(engine::StatesAt => StatesAt { layers, component, heads, positions });
same_fields!(StatesAt => engine::StatesAt { layers, component, heads, positions });

/// Two texts that differ in what a vector is to steer.
#[derive(Deserialize, Tsify)]
#[serde(deny_unknown_fields)]
pub struct ContrastPair {
    /// The side that a positive strength leads to.
    pub positive: Prompt,
    /// The side that a negative strength leads to.
    pub negative: Prompt,
}

impl From<ContrastPair> for engine::ContrastPair {
    fn from(ContrastPair { positive, negative }: ContrastPair) -> engine::ContrastPair {
        engine::ContrastPair { positive: positive.into(), negative: negative.into() }
    }
}

/// How steering vectors are found, and where they stand.
#[derive(Deserialize, Tsify)]
#[serde(deny_unknown_fields, default)]
pub struct Steering {
    /// The layers, each with a vector of its own; all if left out.
    #[tsify(type = "number[] | \"all\" | \"first\" | \"middle\"")]
    pub layers: reft::Layers,
    /// The part of a layer, or several; `block_output` if left out.
    #[tsify(type = "string | string[]")]
    pub component: reft::Components,
    /// The tokens that are steered; all if left out.
    pub positions: String,
    /// The tokens of a pair whose hidden states are compared, of several their mean; the last one if left out.
    pub read: String,
    /// The mean of the differences, or their first principal component, of length 1; `mean` if left out.
    #[tsify(type = "\"mean\" | \"pca\"")]
    pub method: String,
}

impl Default for Steering {
    fn default() -> Steering {
        let engine::SteerOptions { layers, component, positions, read, method } =
            engine::SteerOptions::default();
        Steering { layers, component, positions, read, method: method.name().to_owned() }
    }
}

impl TryFrom<Steering> for engine::SteerOptions {
    type Error = Error;

    fn try_from(it: Steering) -> Result<engine::SteerOptions> {
        let Steering { layers, component, positions, read, method } = it;
        let method = reft::SteerMethod::named(&method)?;
        Ok(engine::SteerOptions { layers, component, positions, read, method })
    }
}

/// One of the texts that are continued together.
#[derive(Deserialize, Tsify)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// What it begins with.
    pub prompt: Prompt,
    /// What its chat template sees besides the messages and what is given to all: a JSON object as text.
    #[tsify(optional)]
    pub variables: Option<String>,
    /// Who edits it, in this order; nobody if left out.
    #[serde(default)]
    pub personas: Vec<SequencePersona>,
}

/// Interventions on a text.
#[derive(Deserialize, Tsify)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SequencePersona {
    /// Their number.
    pub reft: usize,
    /// What edits are multiplied by; 1, as they were trained, if left out.
    #[serde(default = "as_trained")]
    pub strength: f32,
    /// The dimensions of each subspace that are edited; all of them if left out.
    #[serde(default)]
    pub subspace: Option<Vec<usize>>,
    /// What the bare model reads in the run whose hidden states they take, where their kind takes some.
    #[serde(default)]
    pub source: Option<Prompt>,
    /// The source's tokens that are read; those that their own positions name if left out.
    #[serde(default)]
    pub source_positions: Option<String>,
}

fn as_trained() -> f32 {
    1.0
}

/// How an answer is chosen, and when it ends.
#[derive(Deserialize, Tsify)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sampling {
    /// Tokens at most; 128 if left out.
    pub max_tokens: usize,
    /// 0, the default, takes the likeliest token each time; 1 samples as the model says.
    pub temperature: f32,
    /// Only the k likeliest tokens; 0, the default, keeps all.
    pub top_k: u32,
    /// Only the fewest tokens that have this probability together; 1, the default, keeps all.
    pub top_p: f32,
    /// Only tokens with at least this share of the likeliest one's probability; 0, the default, keeps all.
    pub min_p: f32,
    /// The same seed gives the same answer on the same device; 0 if left out.
    pub seed: u32,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling::from(generate::GenerateOptions::default())
    }
}

same_fields!(generate::GenerateOptions => Sampling { max_tokens, temperature, top_k, top_p, min_p, seed, stop });
same_fields!(Sampling => generate::GenerateOptions { max_tokens, temperature, top_k, top_p, min_p, seed, stop });

/// Why an answer ended.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it, or a stop text did.
    Stop,
    /// It has as many tokens as were asked for, or the context is full.
    Length,
}

/// The next bit of one sequence's answer.
#[derive(Serialize, Tsify)]
pub struct SequencePiece {
    /// Which sequence, in the order given.
    pub sequence: usize,
    /// The token.
    pub id: u32,
    /// The text that has become certain with it; may be empty.
    pub text: String,
    /// Set on the last piece.
    #[tsify(optional)]
    pub finish: Option<Finish>,
}

impl From<generate::Piece> for SequencePiece {
    fn from(piece: generate::Piece) -> SequencePiece {
        let generate::Piece { sequence, id, text, finish } = piece;
        let finish = finish.map(|finish| match finish {
            generate::Finish::Stop => Finish::Stop,
            generate::Finish::Length => Finish::Length,
        });
        SequencePiece { sequence, id, text, finish }
    }
}

/// How interventions are trained.
#[derive(Deserialize, Tsify)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Training {
    /// Times through the examples; 20 if left out.
    pub epochs: usize,
    /// Examples in a step; 0, the default, takes all of them.
    pub batch_size: usize,
    /// The learning rate at its highest; 4e-3 if left out.
    pub learning_rate: f64,
    /// `adamw` if left out.
    #[tsify(type = "\"adamw\" | \"adam\" | \"sgd\"")]
    pub optimizer: String,
    /// Weight decay; 0 if left out. A rotation's fixed parts never decay.
    pub weight_decay: f64,
    /// The gradient is made no longer than this; 0, the default, leaves it as it is.
    pub max_grad_norm: f64,
    /// Examples that go through the model at once, where a whole step's find no room; 0, the default, takes all of them.
    pub at_once: usize,
    /// How fast a difference counts in learning from preferences (DPO); 0.1 if left out.
    pub beta: f32,
    /// What is learned from preferences: `dpo`, the default, or `reps`, which learns to bring the first answers about where the strength is
    /// above 0, and to suppress them below 0.
    #[tsify(type = "\"dpo\" | \"reps\"")]
    pub preference_loss: String,
    /// The strengths that `reps` draws from; `[1]` if left out.
    pub strengths: Vec<f32>,
    /// How the rate goes on: `constant`, the default, or `linear` or `cosine`, which fall to 0.
    #[tsify(type = "\"constant\" | \"linear\" | \"cosine\"")]
    pub schedule: String,
    /// Steps in which it first rises from 0; none if left out.
    pub warmup_steps: usize,
    /// Examples that are not learned, but asked after each epoch how they fare: below 1 a share of all, drawn by the seed; from 1 on a
    /// count, the last ones given; none if left out.
    pub validation: f64,
    /// Epochs in which the validation's loss does not fall, after which the training ends; 0, the default, goes on to the end.
    pub patience: usize,
    /// Whether what is learned is in the end what had the lowest loss in validation; false if left out.
    pub keep_best: bool,
    /// The share of numbers that are dropped in training, of the rows that are edited, and of the input of a LoRA; 0 if left out.
    pub dropout: f32,
    /// Where the order of the examples comes from, and what is dropped; 0 if left out.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Training {
        Training::from(train::TrainOptions::default())
    }
}

same_fields!(train::TrainOptions => Training {
    epochs, batch_size, learning_rate, optimizer, weight_decay, max_grad_norm, at_once, beta, preference_loss,
    strengths, schedule, warmup_steps, validation, patience, keep_best, dropout, seed
});
same_fields!(Training => train::TrainOptions {
    epochs, batch_size, learning_rate, optimizer, weight_decay, max_grad_norm, at_once, beta, preference_loss,
    strengths, schedule, warmup_steps, validation, patience, keep_best, dropout, seed
});

/// One step of training, after it.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct EngineStep {
    /// Its number, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The time through the examples it belongs to, from 1.
    pub epoch: usize,
    /// Whether it is the last of its epoch.
    pub epoch_ends: bool,
    /// Nats per token of the completions, or the task's own loss, before the step.
    pub loss: f64,
    /// Of these the share that was right, before the step: tokens that were the likeliest, classes, pairs; none for numbers.
    #[tsify(optional)]
    pub accuracy: Option<f64>,
    /// The length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// The learning rate it was made with.
    pub learning_rate: f64,
    /// Tokens that went through the model.
    pub tokens: usize,
    /// Seconds in which the device computed it.
    pub seconds: f64,
    /// Of its tokens, in a second.
    pub tokens_per_second: f64,
    /// The loss of the examples that are held back, after the step; where the step ends an epoch.
    #[tsify(optional)]
    pub validation_loss: Option<f64>,
    /// The share of them that is right, likewise.
    #[tsify(optional)]
    pub validation_accuracy: Option<f64>,
}

impl EngineStep {
    /// A step, and how long it took.
    pub(super) fn of(step: train::TrainStep, time: train::StepTime) -> EngineStep {
        let train::StepTime { seconds, tokens_per_second } = time;
        EngineStep {
            step: step.step,
            steps: step.steps,
            epoch: step.epoch,
            epoch_ends: step.epoch_ends,
            loss: step.loss,
            accuracy: step.accuracy,
            grad_norm: step.grad_norm,
            learning_rate: step.learning_rate,
            tokens: step.tokens,
            seconds,
            tokens_per_second,
            validation_loss: step.validation_loss,
            validation_accuracy: step.validation_accuracy,
        }
    }
}

/// What a training computes.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// What every step uses, before the first one.
    Prepare,
    /// A step.
    Step,
    /// The loss of what is held back.
    Validate,
}

/// How far a training is within a step.
#[derive(Serialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct StepProgress {
    /// What is computed.
    pub phase: Phase,
    /// The step's number, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The share of the phase that is done, from 0 to 1.
    pub share: f64,
    /// Seconds that the rest of the phase is expected to take, as soon as there is anything to go by.
    #[tsify(optional)]
    pub seconds_left: Option<f64>,
}

impl From<train::StepProgress> for StepProgress {
    fn from(it: train::StepProgress) -> StepProgress {
        let train::StepProgress { phase, step, steps, share, seconds_left } = it;
        let phase = match phase {
            train::Phase::Prepare => Phase::Prepare,
            train::Phase::Step => Phase::Step,
            train::Phase::Validate => Phase::Validate,
        };
        StepProgress { phase, step, steps, share, seconds_left }
    }
}
