//! The Rust API: a model on a device with its tokenizer, and everything that can be done with them.
//!
//! ```no_run
//! use webreft::backend::Backend;
//! use webreft::bytes::FileSource;
//! use webreft::engine::{Engine, Example, Input};
//! use webreft::generate::{GenerateOptions, Persona};
//! use webreft::reft::ReftConfig;
//! use webreft::train::{TrainOptions, Trainer};
//! use std::rc::Rc;
//!
//! # async fn run() -> webreft::Result<()> {
//! let backend = Backend::gpu().await?;
//! let engine = Engine::load(&backend, &FileSource::open("model.gguf")?, None, &mut |_| ()).await?;
//! let reft = Rc::new(engine.reft(&[ReftConfig::default()])?);
//! let examples = [Example::answer("Hello?", "Ahoy!")];
//! let mut trainer = Trainer::new(&backend, &reft)?;
//! let mut training = engine.training(&reft, &examples, &TrainOptions::default())?;
//! while let Some(step) = training.next(engine.model(), &reft, &mut trainer).await? {
//!     println!("{} {}", step.step, step.loss);
//! }
//! let prompts = [engine.prompt(&Input::Text("Hello?".into()), vec![Persona::new(reft)])?];
//! let mut generation = engine.generate(&prompts, &GenerateOptions::default())?;
//! while let Some(pieces) = generation.next(engine.tokenizer()).await? {
//!     pieces.iter().for_each(|piece| print!("{}", piece.text));
//! }
//! # Ok(())
//! # }
//! ```

use crate::backend::Backend;
use crate::bytes::ByteSource;
use crate::error::{Error, Result};
use crate::generate::{GenerateOptions, Generation, Persona, Prompt};
use crate::gguf::{self, Header};
use crate::model::{LoadProgress, Model};
use crate::reft::foreign::{self, File, Unsaved};
use crate::reft::kinds::KINDS;
use crate::reft::{Intervention, Reft, ReftConfig, Wanted, collect};
use crate::token::{ChatTemplate, Message, Tokenizer};
use crate::train::{self, Checkpoint, Sequence, Target, Task, TrainOptions, Trainer, Training};
use serde::{Deserialize, Serialize};

/// A model, its tokenizer and its chat template.
pub struct Engine {
    model: Model,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    info: ModelInfo,
}

/// What a loaded model is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// `general.name` of the file.
    pub name: String,
    /// `general.architecture` of the file.
    pub architecture: String,
    /// Weights in all.
    pub n_params: u64,
    /// Bytes of all weights in the file.
    pub bytes: u64,
    /// The formats of its matrices.
    pub formats: Vec<String>,
    /// Transformer layers.
    pub n_layer: usize,
    /// Width of the hidden state.
    pub n_embd: usize,
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
    /// Tokens that prompt and answer may have together.
    pub n_ctx: usize,
    /// Whether the file has a chat template.
    pub chat: bool,
    /// Tells the model from others, whatever its quantization.
    pub fingerprint: String,
    /// The machine's name.
    pub device: String,
}

/// Interventions out of a library's files.
pub struct Imported {
    /// The interventions.
    pub reft: Reft,
    /// Names of tensors that are none: trained parts of the base model but for a classifier's head.
    pub left_out: Vec<String>,
}

/// What a generation begins with.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// One thing said by the user; where the model has no chat template, the text itself.
    Text(String),
    /// A conversation, to be put through the model's chat template.
    Messages(Vec<Message>),
}

/// Another run of the bare model, whose hidden states interventions read: those of interchange, say.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What the model reads there.
    pub input: Input,
    /// Its tokens that are read, in the words of [`Positions`](crate::reft::Positions); if none, those that the interventions' own
    /// positions name in it.
    pub positions: Option<String>,
}

/// Something to be learned. What it is says what the task is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
    /// Numbers that belong to a text, by a head.
    Scored(Scored),
}

/// An answer to a prompt.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What the user says.
    pub prompt: String,
    /// What the model is to answer.
    pub completion: String,
}

/// A conversation, of which the assistant's turns are learned.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// Its turns.
    pub messages: Vec<Message>,
}

/// Of two answers, the better one: for a reward where the interventions have a head, else to make it likelier than without edits (DPO).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// What the user says.
    pub prompt: String,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// The class of a text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// Its class, counted from 0.
    pub label: u32,
}

/// Numbers that belong to a text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// The text.
    pub text: String,
    /// The numbers, one for each of the head's outputs.
    pub values: Vec<f32>,
}

impl Example {
    /// An answer to a prompt.
    pub fn answer(prompt: impl Into<String>, completion: impl Into<String>) -> Example {
        Example::Answer(Answer { prompt: prompt.into(), completion: completion.into() })
    }

    fn task(&self, reft: &Reft, beta: f32) -> Task {
        match self {
            Example::Answer(_) | Example::Conversation(_) => Task::Language,
            Example::Preference(_) if reft.head.is_some() => Task::Reward,
            Example::Preference(_) => Task::Preference { beta },
            Example::Labelled(_) => Task::Classification,
            Example::Scored(_) => Task::Regression,
        }
    }
}

impl Engine {
    /// Loads a GGUF model onto a machine.
    ///
    /// # Errors
    /// `File` or `Unsupported` for what is wrong with the file, `Input` for a context longer than the model's, `Device` for a
    /// device that is lost or full.
    pub async fn load(
        backend: &Backend,
        source: &impl ByteSource,
        n_ctx: Option<usize>,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine> {
        let header = gguf::read(source).await?;
        let tokenizer = Tokenizer::from_gguf(&header.metadata)?;
        let template = ChatTemplate::from_gguf(&header.metadata, &tokenizer)?;
        let model = Model::load(backend, &header, source, n_ctx, on_progress).await?;
        let info = info(&header, &model, template.is_some());
        Ok(Engine { model, tokenizer, template, info })
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How text becomes tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What was loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// New interventions with random parameters.
    ///
    /// # Errors
    /// `Input` if the configuration asks for what the model does not have.
    pub fn reft(&self, configs: &[ReftConfig]) -> Result<Reft> {
        Reft::new(&self.model, configs)
    }

    /// What a trained head says of texts: its scores for each.
    ///
    /// # Errors
    /// `Input` if there is no head or a text is too long, `Device` if the device was lost.
    pub async fn scores(&self, reft: &Reft, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let sequences = texts.iter().map(|text| self.text(reft, text, Target::None));
        let sequences = sequences.collect::<Result<Vec<_>>>()?;
        train::scores(&self.model, reft, &sequences.iter().collect::<Vec<_>>()).await
    }

    /// Interventions from a file.
    ///
    /// # Errors
    /// As [`Reft::load`].
    pub fn load_reft(&self, bytes: &[u8]) -> Result<Reft> {
        Reft::load(&self.model, bytes)
    }

    /// Interventions from a directory that pyreft or peft wrote, as files with their names.
    ///
    /// # Errors
    /// As [`foreign::read`] and [`Reft::with_params`].
    pub fn import_reft(&self, files: &[File], unsaved: &Unsaved) -> Result<Imported> {
        let read = foreign::read(files, unsaved)?;
        Ok(Imported { reft: read.on(&self.model)?, left_out: read.others.into_keys().collect() })
    }

    /// Interventions as the files of a library's directory: `pyreft`'s, or `peft`'s.
    ///
    /// # Errors
    /// `Input` for another library, `Unsupported` for what its files cannot say, `Device` if the parameters cannot be read.
    pub async fn export_reft(&self, reft: &Reft, library: &str) -> Result<Vec<File>> {
        foreign::write(&self.model, reft, library).await
    }

    /// An input as tokens, and who edits it.
    ///
    /// # Errors
    /// `Unsupported` for messages where the model has no chat template, `Input` if the template refuses them.
    pub fn prompt(&self, input: &Input, personas: Vec<Persona>) -> Result<Prompt> {
        Ok(Prompt { tokens: self.encode(&self.render(input)?), personas })
    }

    /// What interventions read of another run when they edit a prompt of `n_prompt` tokens: [`Persona::sources`].
    ///
    /// # Errors
    /// `Input` if none of the interventions reads another run, or the source has not as many tokens at its positions as are edited in
    /// the prompt, or does not fit into the context; as [`Engine::prompt`] for its text; `Device` if the device was lost or is full.
    pub async fn sources(&self, reft: &Reft, source: &Source, n_prompt: usize) -> Result<Vec<Vec<f32>>> {
        let tokens = self.encode(&self.render(&source.input)?);
        let (n_source, n_ctx) = (tokens.len(), self.model.n_ctx);
        if !(1..=n_ctx).contains(&n_source) {
            return Err(Error::input(format!("source: expected 1 to {n_ctx} tokens, got {n_source}")));
        }
        if !reft.interventions.iter().any(|it| it.kind.reads_source()) {
            let known = KINDS.into_iter().filter(|kind| kind.reads_source()).map(|kind| kind.name);
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(Error::input(format!(
                "source: none of these interventions reads another run; those that do: {known}"
            )));
        }
        let wanted = reft.interventions.iter().map(|it| wanted(it, source, n_source, n_prompt));
        collect(&self.model, &tokens, &wanted.collect::<Result<Vec<_>>>()?).await
    }

    /// Starts a generation; each prompt gets an answer, all in one batch.
    ///
    /// # Errors
    /// As [`Generation::start`].
    pub fn generate(&self, prompts: &[Prompt], options: &GenerateOptions) -> Result<Generation> {
        Generation::start(&self.model, &self.tokenizer, prompts, options)
    }

    /// An answer as the model sees it: the prompt as [`Engine::prompt`] makes it, the answer, and the token that ends it.
    fn answer(&self, reft: &Reft, prompt: &str, completion: &str) -> Result<Sequence> {
        if completion.is_empty() {
            return Err(Error::input("the completion is empty"));
        }
        let prompt = self.render(&Input::Text(prompt.to_owned()))?;
        let mut tokens = self.encode(&format!("{prompt}{completion}"));
        let n_prompt = common(&tokens, &self.encode(&prompt));
        tokens.extend(self.tokenizer.eos());
        Sequence::new(reft, tokens, n_prompt, self.model.n_ctx)
    }

    /// A text of which nothing is foretold: a head reads its end.
    fn text(&self, reft: &Reft, text: &str, target: Target) -> Result<Sequence> {
        let tokens = self.encode(&self.render(&Input::Text(text.to_owned()))?);
        Ok(Sequence { target, ..Sequence::of_text(reft, tokens, self.model.n_ctx)? })
    }

    /// A conversation as the model sees it: labels are the tokens that the template makes of the assistant's turns.
    fn conversation(&self, reft: &Reft, messages: &[Message]) -> Result<Sequence> {
        let template = self.template.as_ref();
        let template = template
            .ok_or_else(|| Error::unsupported("the model has no chat template for a conversation"))?;
        let up_to = |n: usize, asks: bool| {
            Ok::<_, Error>(self.encode(&template.render(&messages[..n], asks, None)?))
        };
        let tokens = up_to(messages.len(), false)?;
        let mut labels = Vec::new();
        for (turn, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let (start, end) =
                (common(&tokens, &up_to(turn, true)?), common(&tokens, &up_to(turn + 1, false)?));
            labels.extend((start.max(1)..end).map(|at| (at - 1, tokens[at])));
        }
        let Some((before, _)) = labels.first().copied() else {
            return Err(Error::input("the conversation has no turn of the assistant"));
        };
        Ok(Sequence { labels, ..Sequence::new(reft, tokens, before + 1, self.model.n_ctx)? })
    }

    /// A training on examples; nothing is run yet. What the examples are says what is learned.
    ///
    /// # Errors
    /// `Input` if there are no examples, they are not all of one task, one is empty or too long (all of them are named), or an
    /// option makes no sense.
    pub fn training(&self, reft: &Reft, examples: &[Example], options: &TrainOptions) -> Result<Training> {
        let task = examples.first().map_or(Task::Language, |example| example.task(reft, options.beta));
        let differs = |example: &Example| example.task(reft, options.beta) != task;
        if let Some(number) = examples.iter().position(differs) {
            return Err(Error::input(format!("example {}: is not of the first one's task", number + 1)));
        }
        let sequences = self.sequences(reft, examples)?;
        if !sequences.is_empty() {
            task.check(reft, &sequences.iter().collect::<Vec<_>>())?;
        }
        Training::new(sequences, task, options)
    }

    /// Goes on with a training on the same examples from a file that [`Training::checkpoint`] made: bit for bit as if it had never been
    /// left, on the same device.
    ///
    /// # Errors
    /// As [`Checkpoint::read`] and [`Engine::training`]; `Input` if the examples are others.
    pub fn resume(&self, file: &[u8], examples: &[Example]) -> Result<(Reft, Trainer, Training)> {
        let checkpoint = Checkpoint::read(&self.model, file)?;
        let reft = checkpoint.reft(&self.model)?;
        let mut trainer = Trainer::new(&self.model.backend, &reft)?;
        let mut training = self.training(&reft, examples, checkpoint.options())?;
        training.resume(&checkpoint, &reft, &mut trainer)?;
        Ok((reft, trainer, training))
    }

    /// Examples as the model sees them; a preference is two sequences.
    ///
    /// # Errors
    /// `Input` if prompt or answer is empty or both are too long for the context, for all examples in one message.
    pub fn sequences(&self, reft: &Reft, examples: &[Example]) -> Result<Vec<Sequence>> {
        let (mut made, mut wrong) = (Vec::new(), Vec::new());
        for (number, example) in (1..).zip(examples) {
            match self.sequences_of(reft, example) {
                Ok(sequences) => made.extend(sequences),
                Err(error) => wrong.push(format!("example {number}: {error}")),
            }
        }
        if wrong.is_empty() { Ok(made) } else { Err(Error::input(wrong.join("; "))) }
    }

    fn sequences_of(&self, reft: &Reft, example: &Example) -> Result<Vec<Sequence>> {
        match example {
            Example::Answer(it) => Ok(vec![self.answer(reft, &it.prompt, &it.completion)?]),
            Example::Conversation(it) => Ok(vec![self.conversation(reft, &it.messages)?]),
            Example::Preference(it) => {
                let answers = [&it.chosen, &it.rejected];
                answers.into_iter().map(|answer| self.answer(reft, &it.prompt, answer)).collect()
            }
            Example::Labelled(it) => Ok(vec![self.text(reft, &it.text, Target::Class(it.label))?]),
            Example::Scored(it) => Ok(vec![self.text(reft, &it.text, Target::Values(it.values.clone()))?]),
        }
    }

    fn render(&self, input: &Input) -> Result<String> {
        match (&self.template, input) {
            (None, Input::Text(text)) => Ok(text.clone()),
            (None, Input::Messages(_)) => {
                Err(Error::unsupported("the model has no chat template; give the prompt as text"))
            }
            (Some(template), Input::Messages(messages)) => template.render(messages, true, None),
            (Some(template), Input::Text(text)) => {
                let message = Message { role: "user".to_owned(), content: text.clone() };
                template.render(&[message], true, None)
            }
        }
    }

    /// Tokens with the model's own begin token, once, whether the template writes it or not.
    fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.tokenizer.encode(text, true, true);
        if tokens.len() > 1 && tokens[0] == tokens[1] && self.tokenizer.bos() == Some(tokens[0]) {
            tokens.remove(0);
        }
        if self.tokenizer.eos().is_some()
            && tokens.last() == self.tokenizer.eos().as_ref()
            && !self.ends_itself(text)
        {
            tokens.pop(); // the file asks for an end token after every text; a prompt goes on
        }
        tokens
    }

    /// Whether a text ends with the end token of its own.
    fn ends_itself(&self, text: &str) -> bool {
        self.tokenizer.encode(text, true, false).last().copied() == self.tokenizer.eos()
    }
}

/// What an intervention on a prompt of `n_prompt` tokens reads of a source of `n_source`: a row for each that it edits.
fn wanted(it: &Intervention, source: &Source, n_source: usize, n_prompt: usize) -> Result<Wanted> {
    let mut rows = Vec::new();
    if it.kind.reads_source() {
        let positions = match &source.positions {
            Some(text) => it.positions.part_of(text).map_err(|error| error.at("source"))?,
            None => it.positions.clone(),
        };
        rows = positions.rows(n_source, n_source).into_iter().map(|[row, _]| row).collect();
        let (expected, got) = (it.positions.rows(n_prompt, n_prompt).len(), rows.len());
        if expected != got {
            return Err(Error::input(format!(
                "source: expected {expected} of its {n_source} tokens at {positions}, as many as {} edits in the prompt, got {got}; give \
                 another source, or other positions of it",
                it.kind.name
            )));
        }
    }
    Ok(Wanted { place: it.place, window: it.window(), rows })
}

/// Tokens that two sequences begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn info(header: &Header, model: &Model, chat: bool) -> ModelInfo {
    let mut formats: Vec<String> = Vec::new();
    for format in model.matrices().flat_map(|matrix| matrix.slabs.iter().map(|slab| slab.format.name)) {
        if !formats.iter().any(|known| known == format) {
            formats.push(format.to_owned());
        }
    }
    let counts = header.tensors.iter().map(|tensor| tensor.dims.iter().map(|n| *n as u64).product::<u64>());
    ModelInfo {
        name: model.name.clone(),
        architecture: model.arch.name.to_owned(),
        n_params: counts.sum(),
        bytes: header.tensors.iter().map(|tensor| tensor.bytes).sum(),
        formats,
        n_layer: model.dims.n_layer,
        n_embd: model.dims.n_embd,
        n_vocab: model.dims.n_vocab,
        n_ctx: model.n_ctx,
        chat,
        fingerprint: model.fingerprint.clone(),
        device: model.backend.name(),
    }
}
