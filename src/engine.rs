//! The Rust API: a model on a device with its tokenizer, and everything that can be done with them.
//!
//! ```no_run
//! use webreft::bytes::FileSource;
//! use webreft::engine::{Engine, Example, Input, MachineOptions};
//! use webreft::files::ModelFiles;
//! use webreft::generate::{GenerateOptions, Persona};
//! use webreft::model::LoadOptions;
//! use webreft::reft::ReftConfig;
//! use webreft::train::{TrainOptions, Trainer};
//! use std::rc::Rc;
//!
//! # async fn run() -> webreft::Result<()> {
//! let files = ModelFiles::gguf(FileSource::open("model.gguf")?).await?;
//! let engine = Engine::open(&mut MachineOptions::default(), &files, &LoadOptions::default(), &mut |_| ()).await?;
//! let reft = Rc::new(engine.reft(&[ReftConfig::default()])?);
//! let examples = [Example::answer("Hello?", "Ahoy!")];
//! let mut trainer = Trainer::new(&engine.model().backend, &reft)?;
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

#[cfg(not(target_arch = "wasm32"))]
use crate::backend::NoControl;
use crate::backend::{Backend, Control, Machine};
use crate::bytes::ByteSource;
use crate::data::{Class, Problems};
use crate::error::{Error, ErrorKind, Faults, Result};
use crate::files::ModelFiles;
use crate::generate::{GenerateOptions, Generation, Persona, Prompt};
use crate::gguf::{Header, Metadata, Origin};
use crate::model::{LoadOptions, LoadPhase, LoadProgress, Model, Outline, check_with, compile};
use crate::reft::foreign::pyreft_script::{IGNORED, Script, ScriptExample};
use crate::reft::foreign::{self, File, Unsaved};
use crate::reft::{Reft, ReftConfig, collect};
use crate::token::{ChatInputs, ChatOptions, ChatTemplate, HubText, Message, TextHashes, Tokenizer, Turns};
use crate::train::{
    self, Checkpoint, PreferenceLoss, Sequence, Target, Task, TrainOptions, Trainer, Training,
};
use serde::Serialize;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;

mod states;
mod steer;

pub use crate::data::{ContrastPair, Example, Input};
pub use states::{HiddenStates, StatesAt};
pub use steer::SteerOptions;

/// A model, its tokenizer and its chat template.
pub struct Engine {
    model: Model,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// What templates are given besides the messages.
    chat: ChatInputs,
    /// Whether the files are a repository's, whose template writes all special tokens.
    is_repository: bool,
    info: ModelInfo,
    warnings: Vec<String>,
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
    /// The kind of machine that it is on: `gpu` or `cpu`.
    pub backend: &'static str,
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

/// Another run of the bare model, whose hidden states interventions read: those of interchange, say.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What the model reads there.
    pub input: Input,
    /// Its tokens that are read, in the words of [`Positions`](crate::reft::Positions); if none, those that the interventions' own
    /// positions name in it.
    pub positions: Option<String>,
}

/// What to compute on, and what is known of it.
#[derive(Clone, Debug, Default)]
pub struct MachineOptions {
    /// The choice.
    pub machine: Machine,
    /// Threads of the CPU; 0 takes one for each core.
    pub threads: usize,
    /// What is known to compute rightly, as [`Model::check_key`] names devices and shapes. [`Engine::open`] adds what it finds.
    pub sound: BTreeSet<String>,
}

/// Reports a phase of loading after the weights.
struct PhaseProgress<'a>(LoadPhase, RefCell<&'a mut dyn FnMut(LoadProgress)>);

impl Control for PhaseProgress<'_> {
    fn progress(&self, share: f64) {
        let (phase, total, loaded) = (self.0, 1000, (1000.0 * share) as u64);
        (self.1.borrow_mut())(LoadProgress { phase, loaded, total });
    }
}

impl Engine {
    /// Loads a model onto a machine, which is not checked.
    ///
    /// # Errors
    /// `File` or `Unsupported` for what is wrong with the file, `Input` for a context longer than the model's, `Device` for a
    /// device that is lost or full, or for a model that its memory cannot hold.
    pub async fn load(
        backend: &Backend,
        files: &ModelFiles<impl ByteSource>,
        options: &LoadOptions,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine> {
        let header = &files.header;
        let (tokenizer, template, outline) = checked(backend, files, options)?;
        let model = outline.load(backend, (header, &files.sources), options, on_progress).await?;
        let info = info(header, &model, template.is_some());
        let is_repository = matches!(header.origin, Origin::HuggingFace);
        let warnings = tokenizer.warnings().to_vec();
        Ok(Engine { model, tokenizer, template, chat: ChatInputs::default(), is_repository, info, warnings })
    }

    /// The same engine, which writes conversations in this way.
    ///
    /// # Errors
    /// `Input` for the name of a template that there is not.
    pub fn with_chat(mut self, options: ChatOptions) -> Result<Engine> {
        if options.template.is_some() {
            self.template = options.chosen(&self.tokenizer)?;
            self.info.chat = self.template.is_some();
        }
        self.chat = options.inputs;
        Ok(self)
    }

    /// Refuses what [`Engine::load`] refuses before it reads a weight.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn check<S>(backend: &Backend, files: &ModelFiles<S>, options: &LoadOptions) -> Result<()> {
        checked(backend, files, options).map(|_| ())
    }

    /// Opens a machine and loads a model onto it. A GPU is compared with the CPU first, at the model's own shapes, unless the verdict is
    /// known. Where the choice is `Auto` and no GPU computes rightly, the CPU computes, and [`warnings`](Engine::warnings) say why.
    ///
    /// # Errors
    /// As [`Engine::load`]; `Device` if a GPU is asked for and there is none, or it computes wrong values.
    pub async fn open(
        options: &mut MachineOptions,
        files: &ModelFiles<impl ByteSource>,
        load: &LoadOptions,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine> {
        let opened = options.machine.open(options.threads).await?;
        Engine::open_on(opened, options, files, load, on_progress).await
    }

    /// As [`Engine::open`], on a machine that [`Machine::open`] has opened, which comes with a warning where it is not the best there is.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn open_on(
        (backend, mut warning): (Backend, Option<String>),
        options: &mut MachineOptions,
        files: &ModelFiles<impl ByteSource>,
        load: &LoadOptions,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine> {
        if matches!(backend, Backend::Gpu(_)) {
            match Engine::load_checked(&backend, options, files, load, on_progress).await {
                Err(error) if options.machine == Machine::Auto && error.kind() == ErrorKind::Device => {
                    warning = Some(format!("The CPU computes: {error}"));
                }
                loaded => return loaded,
            }
        }
        let cpu = match backend {
            Backend::Cpu(_) => backend,
            _ => Backend::cpu_with(options.threads),
        };
        let mut engine = Engine::load(&cpu, files, load, on_progress).await?;
        engine.warnings.extend(warning);
        Ok(engine)
    }

    /// Loads a model onto a GPU that computes it as the CPU does.
    async fn load_checked(
        gpu: &Backend,
        options: &mut MachineOptions,
        files: &ModelFiles<impl ByteSource>,
        load: &LoadOptions,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine> {
        let engine = Engine::load(gpu, files, load, on_progress).await?;
        compile(&engine.model, &PhaseProgress(LoadPhase::Compile, RefCell::new(&mut *on_progress))).await?;
        let key = engine.model.check_key();
        if !options.sound.contains(&key) {
            let progress = PhaseProgress(LoadPhase::Check, RefCell::new(on_progress));
            let verdict = check_with(&engine.model, &progress).await?;
            if let Some(first) = verdict.faults.first() {
                let (device, count) = (&engine.info.device, verdict.faults.len());
                return Err(Error::device(format!(
                    "{device} computes wrong values: {first}, the first of {count} such products; use the CPU or another driver"
                )));
            }
            options.sound.insert(key);
        }
        gpu.release_staging();
        Ok(engine)
    }

    /// What the caller should hear about the machine.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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
        let mut reft = read.on(&self.model)?;
        let left_out: Vec<String> = read.others.into_keys().collect();
        if let Some(first) = left_out.first() {
            let n = left_out.len();
            reft.warnings.push(format!(
                "{n} trained tensors of the base model are left out ({first:?} is the first): answers may differ from those after the training"
            ));
        }
        Ok(Imported { reft, left_out })
    }

    /// Interventions as the files of a library's directory: `pyreft`'s, or `peft`'s.
    ///
    /// # Errors
    /// `Input` for another library, `Unsupported` for what its files cannot say, `Device` if the parameters cannot be read.
    pub async fn export_reft(&self, reft: &Reft, library: &str) -> Result<Vec<File>> {
        foreign::write(&self.model, reft, library).await
    }

    /// The training of interventions like these on examples as the files of a script for pyreft; what it trains comes back by
    /// [`Engine::import_reft`].
    ///
    /// # Errors
    /// As [`Engine::training`]; `Unsupported` for tasks other than answers and conversations, and as [`Script::write`].
    pub async fn export_script(
        &self,
        reft: &Reft,
        examples: &[Example],
        options: &TrainOptions,
    ) -> Result<Vec<File>> {
        let training = self.training(reft, examples, options)?;
        let settings = training.script_settings()?;
        let examples = self.sequences(reft, examples)?.into_iter().map(|sequence| {
            let mut labels = vec![IGNORED; sequence.tokens.len()];
            sequence.labels.iter().for_each(|(row, id)| labels[row + 1] = i64::from(*id));
            let positions = sequence.edits.iter().map(|edits| {
                let rows = edits.rows.iter().map(|[row, count]| vec![*row; *count as usize]);
                rows.flatten().collect()
            });
            let (positions, text) = (positions.collect(), self.tokenizer.decode(&sequence.tokens, true));
            ScriptExample { input_ids: sequence.tokens, labels, positions, text }
        });
        let script = Script { examples: examples.collect(), settings, orders: training.orders() };
        script.write(&self.model, reft).await
    }

    /// An input as tokens, and who edits it.
    ///
    /// # Errors
    /// `Unsupported` for messages where the model has no chat template, `Input` if the template refuses them.
    pub fn prompt(&self, input: &Input, personas: Vec<Persona>) -> Result<Prompt> {
        self.prompt_with(input, None, personas)
    }

    /// As [`Engine::prompt`], with a chat template that sees these variables, too: a JSON object as text, whose names win over those that
    /// the model was loaded with.
    ///
    /// # Errors
    /// As [`Engine::prompt`], and `Input` for variables that are no JSON object, or where there is no chat template to see them, or it does
    /// not use tools or documents that are given.
    pub fn prompt_with(
        &self,
        input: &Input,
        variables: Option<&str>,
        personas: Vec<Persona>,
    ) -> Result<Prompt> {
        let inputs = variables.map_or_else(|| self.chat.clone(), |variables| self.chat.with(variables));
        match &self.template {
            Some(template) => template.check_used(&inputs)?,
            None if inputs.variables.is_empty() => {}
            None => {
                return Err(Error::input(
                    "the model has no chat template, which would see tools, documents and other variables: leave them out, or choose a chatTemplate",
                ));
            }
        }
        Ok(Prompt { tokens: self.encode(&self.render_as(input, true, &inputs)?), personas })
    }

    /// What interventions read of another run when they edit a prompt of `n_prompt` tokens: [`Persona::sources`].
    ///
    /// # Errors
    /// `Input` if none of the interventions reads another run, or the source has not as many tokens at its positions as are edited in
    /// the prompt, or does not fit into the context; as [`Engine::prompt`] for its text; `Device` if the device was lost or is full.
    pub async fn sources(&self, reft: &Reft, source: &Source, n_prompt: usize) -> Result<Vec<Vec<f32>>> {
        let tokens = self.encode(&self.render(&source.input)?);
        let n_edited = reft.interventions.iter().map(|it| it.rows(0, n_prompt, n_prompt).len());
        let wanted = reft.wanted([tokens.len(), self.model.n_ctx], source.positions.as_deref(), n_edited)?;
        collect(&self.model, &tokens, &wanted).await
    }

    /// As [`Engine::generate_with`], with nobody watching.
    ///
    /// # Errors
    /// As [`Generation::start`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn generate(&self, prompts: &[Prompt], options: &GenerateOptions) -> Result<Generation> {
        pollster::block_on(self.generate_with(prompts, options, &NoControl))
    }

    /// Starts a generation; each prompt gets an answer, all in one batch. The prompts are read, which `control` watches.
    ///
    /// # Errors
    /// As [`Generation::start`].
    pub async fn generate_with(
        &self,
        prompts: &[Prompt],
        options: &GenerateOptions,
        control: &dyn Control,
    ) -> Result<Generation> {
        Generation::start(&self.model, &self.tokenizer, prompts, options, control).await
    }

    /// An answer as the model sees it: the prompt as [`Engine::prompt`] makes it, the answer, and the token that ends it, if it is to.
    fn answer(&self, reft: &Reft, prompt: &Input, completion: &str, ends: bool) -> Result<Sequence> {
        if completion.is_empty() {
            return Err(Error::input("the completion is empty"));
        }
        let prompt = self.render(prompt)?;
        let mut tokens = self.encode(&format!("{prompt}{completion}"));
        let n_prompt = common(&tokens, &self.encode(&prompt));
        tokens.extend(self.tokenizer.eos().filter(|_| ends));
        Sequence::new(reft, tokens, n_prompt, self.model.n_ctx)
    }

    /// A text of which nothing is foretold: a head reads it.
    fn text(&self, reft: &Reft, text: &str, target: Target) -> Result<Sequence> {
        let tokens = self.encode(&self.render(&Input::Text(text.to_owned()))?);
        Ok(Sequence { target, ..Sequence::of_text(reft, tokens, self.model.n_ctx)? })
    }

    /// A conversation as the model sees it: labels are the tokens that the template makes of the assistant's turns.
    fn conversation(
        &self,
        reft: &Reft,
        messages: &[Message],
        warnings: &mut Vec<String>,
    ) -> Result<Sequence> {
        let template = self.template.as_ref();
        let template = template
            .ok_or_else(|| Error::unsupported("the model has no chat template for a conversation"))?;
        let Turns { text, spans, with_end, dropped } = template.turns(messages, &self.chat)?;
        let tokens = self.encode(&text);
        let mut labels = Vec::new();
        for span in spans {
            let [start, mut end] =
                [span.start, span.end].map(|at| common(&tokens, &self.encode(&text[..at])));
            if with_end && tokens.get(end).is_some_and(|&id| self.tokenizer.is_end(id)) {
                end += 1;
            }
            labels.extend((start.max(1)..end).map(|at| (at - 1, tokens[at])));
        }
        let Some((before, _)) = labels.first().copied() else {
            return Err(Error::input("the conversation has no turn of the assistant"));
        };
        warnings.extend(dropped);
        Ok(Sequence::new(reft, tokens, before + 1, self.model.n_ctx)?.with_labels(labels))
    }

    /// A training on examples; nothing is run yet. What the examples are says what is learned.
    ///
    /// # Errors
    /// `Input` if there are no examples, they are not all of one task, one is empty or too long (all of them are named), none has a token
    /// that an intervention edits, or an option makes no sense.
    pub fn training(&self, reft: &Reft, examples: &[Example], options: &TrainOptions) -> Result<Training> {
        let asked = preference_task(options)?;
        let task = examples.first().map_or(Task::Language, |example| task_of(example, reft, asked));
        let differs = |example: &Example| task_of(example, reft, asked) != task;
        if let Some(number) = examples.iter().position(differs) {
            return Err(Error::input(format!("example {}: is not of the first one's task", number + 1)));
        }
        if asked == Task::Steering && task != asked {
            return Err(Error::input(
                "preferenceLoss reps: expected examples with `chosen` and `rejected`, and interventions without a head",
            ));
        }
        let mut warnings = Vec::new();
        let mut sequences = self.sequences_with(reft, examples, &mut warnings)?;
        if task == Task::Steering {
            sequences = train::reps::steered(reft, &sequences)?;
        }
        if !sequences.is_empty() {
            task.check(reft, &sequences.iter().collect::<Vec<_>>())?;
            train::check_edited(reft, &sequences)?;
        }
        if options.dropout > 0.0 && !reft.interventions.iter().any(|it| it.drops().is_some()) {
            return Err(Error::input("dropout: these interventions have no place for it"));
        }
        Ok(Training::new(sequences, task, options)?.with_warnings(warnings))
    }

    /// Goes on with a training on the same examples from a file that [`Training::checkpoint`] made: bit for bit as if it had never been
    /// left, on the same device.
    ///
    /// # Errors
    /// As [`Checkpoint::read`] and [`Engine::training`]; `Input` if the examples are others.
    pub fn resume(&self, file: &[u8], examples: &[Example]) -> Result<(Reft, Trainer, Training)> {
        self.resume_as(file, examples, &Value::Null)
    }

    /// As [`Engine::resume`], of a training that is as it's asked for: any of the fields `configs`, `head` and `options`, with any of
    /// their fields.
    ///
    /// # Errors
    /// As [`Engine::resume`]; `Input` with all differences if the checkpoint's training is another.
    pub fn resume_as(
        &self,
        file: &[u8],
        examples: &[Example],
        asked: &Value,
    ) -> Result<(Reft, Trainer, Training)> {
        let checkpoint = Checkpoint::read(&self.model, file)?;
        let reft = checkpoint.reft(&self.model)?;
        let (trainer, training) = self.go_on(&reft, &checkpoint, examples, asked)?;
        Ok((reft, trainer, training))
    }

    /// As [`Engine::resume`], on interventions that are equal to those of the checkpoint but for what training changes.
    ///
    /// # Errors
    /// As [`Engine::resume`].
    pub fn resume_on(&self, reft: &Reft, file: &[u8], examples: &[Example]) -> Result<(Trainer, Training)> {
        self.go_on(reft, &Checkpoint::read(&self.model, file)?, examples, &Value::Null)
    }

    fn go_on(
        &self,
        reft: &Reft,
        checkpoint: &Checkpoint,
        examples: &[Example],
        asked: &Value,
    ) -> Result<(Trainer, Training)> {
        let mut trainer = Trainer::new(&self.model.backend, reft)?;
        let mut training = self.training(reft, examples, checkpoint.options())?;
        training.resume(checkpoint, asked, reft, &mut trainer)?;
        Ok((trainer, training))
    }

    /// Examples as the model sees them; a preference is two sequences.
    ///
    /// # Errors
    /// `Input` if prompt or answer is empty or both are too long for the context, or a class is none of the head's, for all examples in one
    /// message.
    pub fn sequences(&self, reft: &Reft, examples: &[Example]) -> Result<Vec<Sequence>> {
        self.sequences_with(reft, examples, &mut Vec::new())
    }

    fn sequences_with(
        &self,
        reft: &Reft,
        examples: &[Example],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Sequence>> {
        let (mut made, mut problems) = (Vec::new(), Problems::default());
        for (number, example) in (1..).zip(examples) {
            let mut dropped = Vec::new();
            match self.sequences_of(reft, example, &mut dropped) {
                Ok(sequences) => made.extend(sequences),
                Err(error) => problems.add(error.at(format!("example {number}"))),
            }
            warnings.extend(dropped.into_iter().map(|text| format!("example {number}: {text}")));
        }
        problems.check().map(|()| made)
    }

    fn sequences_of(
        &self,
        reft: &Reft,
        example: &Example,
        dropped: &mut Vec<String>,
    ) -> Result<Vec<Sequence>> {
        match example {
            Example::Answer(it) => Ok(vec![self.answer(reft, &it.prompt, &it.completion, true)?]),
            Example::Conversation(it) => Ok(vec![self.conversation(reft, &it.messages, dropped)?]),
            Example::Preference(it) => {
                let answers = [&it.chosen, &it.rejected];
                answers.into_iter().map(|answer| self.answer(reft, &it.prompt, answer, true)).collect()
            }
            Example::Labelled(it) => {
                let target = Target::Class(class(reft, &it.label)?);
                Ok(vec![self.text(reft, &it.text, target)?])
            }
            Example::Tagged(it) => {
                let classes = it.labels.iter().map(|label| class(reft, label)).collect::<Result<_>>()?;
                Ok(vec![self.text(reft, &it.text, Target::Classes(classes))?])
            }
            Example::Scored(it) => Ok(vec![self.text(reft, &it.text, Target::Values(it.values.clone()))?]),
            Example::Counterfactual(it) => {
                let sequence = self.answer(reft, &it.base.as_str().into(), &it.expected, false)?;
                let source = self.encode(&self.render(&Input::Text(it.source.clone()))?);
                Ok(vec![sequence.with_source(reft, source, self.model.n_ctx)?])
            }
        }
    }

    fn render(&self, input: &Input) -> Result<String> {
        self.render_as(input, true, &self.chat)
    }

    /// An input as text, with or without what makes the assistant begin.
    fn render_as(&self, input: &Input, begins: bool, inputs: &ChatInputs) -> Result<String> {
        match (&self.template, input) {
            (None, Input::Text(text)) => Ok(text.clone()),
            (None, Input::Messages(_)) => Err(Error::unsupported(
                "the model has no chat template; give the prompt as text, or choose a chatTemplate (--chat-template)",
            )),
            (Some(template), Input::Messages(messages)) => template.render(messages, begins, inputs),
            (Some(template), Input::Text(text)) => {
                let message = Message { role: "user".to_owned(), content: text.clone() };
                template.render(&[message], begins, inputs)
            }
        }
    }

    /// Tokens with the model's own begin token. As in transformers, a repository's template writes it or leaves it out; as in llama.cpp,
    /// a GGUF file's text has it once, whether the template writes it or not.
    fn encode(&self, text: &str) -> Vec<u32> {
        if self.is_repository && self.template.is_some() {
            return self.tokenizer.encode(text, true, false);
        }
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

/// Tokenizer, chat template, and their hashes where the header does not have what they are of.
type Text = (Tokenizer, Option<ChatTemplate>, Option<TextHashes>);

/// What files say of text and of the model, which the machine's memory can hold.
fn checked<S>(
    backend: &Backend,
    files: &ModelFiles<S>,
    options: &LoadOptions,
) -> Result<(Tokenizer, Option<ChatTemplate>, Outline)> {
    let (tokenizer, template, outline) = read(files, options)?;
    check_room(outline.bytes(&files.header, options.quantize), backend.max_bytes())?;
    Ok((tokenizer, template, outline))
}

/// What files say of text and of the model; one error tells all that is wrong with them.
fn read<S>(
    files: &ModelFiles<S>,
    options: &LoadOptions,
) -> Result<(Tokenizer, Option<ChatTemplate>, Outline)> {
    let mut faults = Faults::default();
    let text = match files.header.origin {
        Origin::Gguf(_) => gguf_text(&files.header.metadata, &mut faults),
        Origin::HuggingFace => {
            let text = HubText::read(|name| files.texts.get(name).map(Vec::as_slice));
            faults.note(text).map(|text| (text.tokenizer, text.template, Some(text.hashes)))
        }
    };
    let outline = faults.note(Outline::read(&files.header, options));
    let fitting = text.zip(outline).and_then(|((tokenizer, template, hashes), outline)| {
        let tokenizer = faults.note(tokenizer.for_rows(outline.n_vocab()))?;
        Some(((tokenizer, template, hashes), outline))
    });
    faults.check()?;
    let ((tokenizer, template, hashes), mut outline) = fitting.expect("nothing is wrong");
    if let Some(hashes) = hashes {
        outline.text = hashes;
    }
    Ok((tokenizer, template, outline))
}

/// Refuses a model that the machine's memory cannot hold, before a weight is read.
fn check_room(needed: u64, room: u64) -> Result<()> {
    if needed <= room {
        return Ok(());
    }
    let gb = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let (needed, room) = (gb(needed), gb(room));
    Err(Error::device(format!(
        "the model needs {needed} with its context, but memory here holds {room}; load a smaller model, a shorter context, or use a GPU"
    )))
}

fn gguf_text(metadata: &Metadata, faults: &mut Faults) -> Option<Text> {
    let tokenizer = faults.note(Tokenizer::from_gguf(metadata));
    let tokenizer = tokenizer?;
    let template = faults.note(ChatTemplate::from_gguf(metadata, &tokenizer))?;
    Some((tokenizer, template, None))
}

/// What is learned from preferences without a head.
fn preference_task(options: &TrainOptions) -> Result<Task> {
    Ok(match options.preference_loss()? {
        PreferenceLoss::Dpo => Task::Preference { beta: options.beta },
        PreferenceLoss::Reps => Task::Steering,
    })
}

/// The task that an example belongs to.
fn task_of(example: &Example, reft: &Reft, preference: Task) -> Task {
    match example {
        Example::Answer(_) | Example::Conversation(_) | Example::Counterfactual(_) => Task::Language,
        Example::Preference(_) if reft.head.is_some() => Task::Reward,
        Example::Preference(_) => preference,
        Example::Labelled(_) => Task::Classification,
        Example::Tagged(_) => Task::MultiLabel,
        Example::Scored(_) => Task::Regression,
    }
}

/// The number of a class, which the head's classes may name.
fn class(reft: &Reft, class: &Class) -> Result<u32> {
    match class {
        Class::Number(number) => Ok(*number),
        Class::Name(name) => match reft.classes.iter().position(|known| known == name) {
            Some(number) => Ok(number as u32),
            None if reft.classes.is_empty() => Err(Error::input(format!(
                "label {name:?}: the head's classes have no names: give it `classes`"
            ))),
            None => Err(Error::not_known("label", name, &reft.classes)),
        },
    }
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
    ModelInfo {
        name: model.name.clone(),
        architecture: model.arch.name.to_owned(),
        n_params: header.n_params(),
        bytes: header.bytes(),
        formats,
        n_layer: model.dims.n_layer,
        n_embd: model.dims.n_embd,
        n_vocab: model.dims.n_vocab,
        n_ctx: model.n_ctx,
        chat,
        fingerprint: model.fingerprint.clone(),
        backend: model.backend.kind(),
        device: model.backend.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::check_room;
    use crate::error::ErrorKind;

    #[test]
    fn a_model_larger_than_memory_is_refused_with_both_sizes() {
        assert!(check_room(4 << 30, 4 << 30).is_ok());
        let error = check_room((4 << 30) + 100_000_000, 4 << 30).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("needs 4.4 GB") && error.to_string().contains("holds 4.3 GB"));
    }
}
