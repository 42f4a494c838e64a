//! The engine as JavaScript sees it. It runs in a worker; nothing here is called from a page's main thread.
//!
//! Interventions are numbers on this side of the border. The loops are the worker's: it calls `next` as long as the page
//! wants more, and lets go of what it made with `free`.

mod hash;
mod source;
pub mod types;
mod watch;

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tsify::{Ts, Tsify};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::backend::{Backend, Machine};
use crate::bench::{self, BenchOptions};
use crate::data::{self, Problems};
use crate::engine::{Engine, HiddenStates, MachineOptions, Source};
use crate::error::{Error, Result};
use crate::generate::{Generation, Persona, Prompt};
use crate::inspect::inspect;
use crate::model::{LoadOptions, LoadProgress};
use crate::reft::Reft;
use crate::reft::foreign::{pack_directory, unpack_directory};
use crate::train::{self, TrainStep, Trainer, Training};
use types::{
    EngineInfo, EngineStep, Example, HeadConfig, ReftConfig, Sampling, Sequence, SequencePersona,
    SequencePiece,
};

use watch::Told;

pub use hash::Sha256;
pub use source::Reader;
pub use watch::{RunWatch, StepWatch};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str =
    r#"type OnProgress = (phase: "weights" | "compile" | "check", loaded: number, total: number) => void;"#;

#[wasm_bindgen]
extern "C" {
    /// Hears of what is done of a phase, and of what there is to do in all.
    #[wasm_bindgen(typescript_type = "OnProgress")]
    pub type OnProgress;

    #[wasm_bindgen(method)]
    fn call(this: &OnProgress, nothing: &JsValue, phase: &str, loaded: f64, total: f64);
}

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// A model, and the interventions on it.
#[wasm_bindgen]
pub struct WebEngine {
    engine: Rc<Engine>,
    refts: Refts,
    sound: Vec<String>,
}

/// The interventions on a model, by number.
#[derive(Clone, Default)]
struct Refts(Rc<RefCell<Vec<Option<Held>>>>);

/// Interventions, and the optimizer of the single steps made on them.
struct Held {
    reft: Rc<Reft>,
    trainer: Option<Trainer>,
}

impl Refts {
    fn hold(&self, reft: Reft) -> usize {
        let mut refts = self.0.borrow_mut();
        refts.push(Some(Held { reft: Rc::new(reft), trainer: None }));
        refts.len() - 1
    }

    fn get(&self, number: usize) -> Result<Rc<Reft>> {
        match self.0.borrow().get(number) {
            Some(Some(held)) => Ok(held.reft.clone()),
            _ => Err(Error::input("these interventions were disposed")),
        }
    }

    /// The optimizer of single steps on interventions, which is theirs again with [`Refts::put_trainer`].
    fn take_trainer(&self, number: usize) -> Option<Trainer> {
        self.0.borrow_mut().get_mut(number)?.as_mut()?.trainer.take()
    }

    fn put_trainer(&self, number: usize, trainer: Option<Trainer>) {
        if let Some(Some(held)) = self.0.borrow_mut().get_mut(number) {
            held.trainer = trainer;
        }
    }

    /// Who edits a text. What they read of other runs is not read yet.
    fn persona(&self, asked: &SequencePersona) -> Result<Persona> {
        if asked.source.is_none() && asked.source_positions.is_some() {
            return Err(Error::input("sourcePositions: there is no source; give one, or leave them out"));
        }
        let (strength, subspace) = (asked.strength, asked.subspace.clone());
        Ok(Persona { strength, subspace, ..Persona::new(self.get(asked.reft)?) })
    }
}

#[wasm_bindgen]
impl WebEngine {
    /// Checks options before anything is fetched.
    ///
    /// # Errors
    /// `Input` for options that [`WebEngine::load`] refuses.
    #[wasm_bindgen(js_name = checkOptions)]
    pub fn check_options(options: Ts<types::LoadOptions>) -> Result<()> {
        let options = from_js("options", &options)?;
        types::LoadOptions::chat(&options)?;
        read_load_options(options).map(|_| ())
    }

    /// Checks the headers of a model's files before the files are fetched.
    ///
    /// # Errors
    /// As [`ModelFiles::open`](crate::files::ModelFiles::open) and [`Engine::check`]; what a GPU holds is not known.
    pub async fn check(files: Vec<Reader>, options: Ts<types::LoadOptions>) -> Result<()> {
        let (machine, options) = read_load_options(from_js("options", &options)?)?;
        let cpu = Backend::cpu();
        let backend = if machine == Machine::Cpu { cpu } else { cpu.tally() };
        Engine::check(&backend, &source::open(files).await?, &options)
    }

    /// Loads a model, onto a GPU that is compared with the CPU unless `sound` has its key: one GGUF file, all parts of a split one, or the files of a repository of safetensors.
    ///
    /// # Errors
    /// As [`ModelFiles::open`](crate::files::ModelFiles::open) and [`Engine::open`].
    pub async fn load(
        files: Vec<Reader>,
        options: Ts<types::LoadOptions>,
        sound: Vec<String>,
        on_progress: OnProgress,
    ) -> Result<WebEngine> {
        let options: types::LoadOptions = from_js("options", &options)?;
        let chat = options.chat()?;
        let (machine, options) = read_load_options(options)?;
        let mut report = |LoadProgress { phase, loaded, total }: LoadProgress| {
            on_progress.call(&JsValue::NULL, phase.name(), loaded as f64, total as f64);
        };
        let mut machine = MachineOptions { machine, sound: sound.into_iter().collect(), threads: 1 };
        let engine = Engine::open(&mut machine, &source::open(files).await?, &options, &mut report).await?;
        let engine = engine.with_chat(chat)?;
        let sound = machine.sound.into_iter().collect();
        Ok(WebEngine { engine: Rc::new(engine), refts: Refts::default(), sound })
    }

    /// Tells what a model is and what it would take, from the headers of its files.
    ///
    /// # Errors
    /// As [`inspect`](crate::inspect::inspect), [`ModelFiles::open`](crate::files::ModelFiles::open) and [`Machine::open`].
    pub async fn inspect(
        files: Vec<Reader>,
        options: Ts<types::InspectOptions>,
    ) -> Result<Ts<types::Inspection>> {
        let options: types::InspectOptions = from_js("options", &options)?;
        let (backend, _) = types::machine(options.backend.as_deref())?.open(0).await?;
        let inspection = inspect(&backend, &source::open(files).await?, &options.try_into()?).await?;
        to_js(types::Inspection::from(inspection))
    }

    /// What was loaded.
    ///
    /// # Errors
    /// None that the world can cause.
    pub fn info(&self) -> Result<Ts<EngineInfo>> {
        to_js(EngineInfo::from(self.engine.info()))
    }

    /// What is known to compute rightly, this machine with this model among it: to be given to the next [`WebEngine::load`].
    pub fn sound(&self) -> Vec<String> {
        self.sound.clone()
    }

    /// What the caller should hear about the machine.
    pub fn warnings(&self) -> Vec<String> {
        self.engine.warnings().to_vec()
    }

    /// Bytes of all buffers on the GPU; 0 on the CPU, whose memory is the wasm heap.
    #[wasm_bindgen(js_name = gpuBytes)]
    pub fn gpu_bytes(&self) -> f64 {
        let backend = &self.engine.model().backend;
        match backend {
            Backend::Gpu(_) => (backend.memory() + backend.staging_memory()) as f64,
            _ => 0.0,
        }
    }

    /// Makes new interventions; returns their number.
    ///
    /// # Errors
    /// As [`Engine::reft`].
    #[wasm_bindgen(js_name = newReft)]
    pub fn new_reft(&self, configs: Vec<Ts<ReftConfig>>, head: Option<Ts<HeadConfig>>) -> Result<usize> {
        let configs = configs.iter().map(|config| Ok(from_js("reft", config)?.into()));
        let configs = configs.collect::<Result<Vec<_>>>()?;
        let head: Option<types::HeadConfig> = head.map(|head| from_js("head", &head)).transpose()?;
        let reft = Reft::with_head(self.engine.model(), &configs, head.as_ref().map(Into::into))?;
        let classes = head.map(|head| head.classes).unwrap_or_default();
        Ok(self.refts.hold(reft.with_classes(classes)?))
    }

    /// What a trained head says of texts: its scores for each, as JSON.
    ///
    /// # Errors
    /// As [`Engine::scores`], and `Input` if there are no interventions of this number.
    pub async fn scores(&self, reft: usize, texts: Vec<String>) -> Result<String> {
        let scores = self.engine.scores(&*self.refts.get(reft)?, &texts).await?;
        Ok(serde_json::to_string(&scores).expect("plain data"))
    }

    /// The names of a head's classes, where they have some.
    ///
    /// # Errors
    /// `Input` if there are no interventions of this number.
    #[wasm_bindgen(js_name = reftClasses)]
    pub fn reft_classes(&self, reft: usize) -> Result<Vec<String>> {
        Ok(self.refts.get(reft)?.classes.clone())
    }

    /// Steering vectors from contrast pairs; returns the number of these interventions. `watch` may end it.
    ///
    /// # Errors
    /// As [`Engine::steer`].
    pub async fn steer(
        &self,
        pairs: Vec<Ts<types::ContrastPair>>,
        options: Ts<types::Steering>,
        watch: RunWatch,
    ) -> Result<usize> {
        let read =
            |(number, pair)| from_js::<types::ContrastPair>(&format!("pair {number}"), pair).map(Into::into);
        let pairs = (1..).zip(&pairs).map(read).collect::<Result<Vec<_>>>()?;
        let options = from_js::<types::Steering>("options", &options)?.try_into()?;
        Ok(self.refts.hold(self.engine.steer(&pairs, &options, &Told::new(&watch)).await?))
    }

    /// The hidden states of a text at some places. `watch` may end the run.
    ///
    /// # Errors
    /// As [`Engine::hidden_states`].
    #[wasm_bindgen(js_name = hiddenStates)]
    pub async fn hidden_states(
        &self,
        text: Ts<types::Prompt>,
        places: Vec<Ts<types::StatesAt>>,
        watch: RunWatch,
    ) -> Result<Vec<WebStates>> {
        let text = from_js::<types::Prompt>("text", &text)?.into();
        let read = |(number, at)| from_js::<types::StatesAt>(&format!("place {number}"), at).map(Into::into);
        let places = (1..).zip(&places).map(read).collect::<Result<Vec<_>>>()?;
        let states = self.engine.hidden_states(&text, &places, &Told::new(&watch)).await?;
        Ok(states.into_iter().map(WebStates).collect())
    }

    /// Trained numbers, and all of the model's.
    ///
    /// # Errors
    /// `Input` if there are no interventions of this number.
    #[wasm_bindgen(js_name = trainableParameters)]
    pub fn trainable_parameters(&self, reft: usize) -> Result<Vec<f64>> {
        Ok(vec![self.refts.get(reft)?.n_params() as f64, self.engine.info().n_params as f64])
    }

    /// Loads interventions from a file's bytes; returns their number.
    ///
    /// # Errors
    /// As [`Engine::load_reft`].
    #[wasm_bindgen(js_name = loadReft)]
    pub fn load_reft(&self, bytes: &[u8]) -> Result<usize> {
        Ok(self.refts.hold(self.engine.load_reft(bytes)?))
    }

    /// Loads interventions from a `.zip` of a directory that pyreft or peft wrote, or from llama.cpp's control vector; returns their number.
    ///
    /// # Errors
    /// As [`Engine::import_reft`], and `File` for bytes that are no archive.
    #[wasm_bindgen(js_name = importReft)]
    pub fn import_reft(&self, archive: &[u8], unsaved: Ts<types::Unsaved>) -> Result<usize> {
        let unsaved: types::Unsaved = from_js("import", &unsaved)?;
        let imported = self.engine.import_reft(&unpack_directory(archive)?, &unsaved.into())?;
        Ok(self.refts.hold(imported.reft))
    }

    /// Interventions as a `.zip` of the directory that `pyreft` or `peft` would write, or as `llama.cpp`'s control vector.
    ///
    /// # Errors
    /// As [`Engine::export_reft`], and `Input` if there are none of this number.
    #[wasm_bindgen(js_name = exportReft)]
    pub async fn export_reft(&self, reft: usize, library: String) -> Result<Vec<u8>> {
        let reft = self.refts.get(reft)?;
        Ok(pack_directory(&self.engine.export_reft(&reft, &library).await?))
    }

    /// The training of interventions like these on examples, as a `.zip` of a script for pyreft.
    ///
    /// # Errors
    /// As [`Engine::export_script`], and `Input` if there are none of this number.
    #[wasm_bindgen(js_name = exportScript)]
    pub async fn export_script(
        &self,
        reft: usize,
        examples: Vec<Ts<Example>>,
        training: Ts<types::Training>,
    ) -> Result<Vec<u8>> {
        let options = from_js("options", &training)?.into();
        let (reft, examples) = (self.refts.get(reft)?, read_examples(&examples)?);
        Ok(pack_directory(&self.engine.export_script(&reft, &examples, &options).await?))
    }

    /// How interventions were asked for.
    ///
    /// # Errors
    /// `Input` if there are none of this number.
    #[wasm_bindgen(js_name = reftConfigs)]
    pub fn reft_configs(&self, reft: usize) -> Result<Vec<Ts<ReftConfig>>> {
        self.refts.get(reft)?.configs.iter().map(|config| to_js(ReftConfig::from(config.clone()))).collect()
    }

    /// What is other with the model than it was when interventions were saved.
    ///
    /// # Errors
    /// `Input` if there are none of this number.
    #[wasm_bindgen(js_name = reftWarnings)]
    pub fn reft_warnings(&self, reft: usize) -> Result<Vec<String>> {
        Ok(self.refts.get(reft)?.warnings.clone())
    }

    /// Interventions as a file's bytes.
    ///
    /// # Errors
    /// As [`Reft::save`], and `Input` if there are none of this number.
    #[wasm_bindgen(js_name = saveReft)]
    pub async fn save_reft(&self, reft: usize) -> Result<Vec<u8>> {
        self.refts.get(reft)?.save(self.engine.model()).await
    }

    /// Gives back the memory of interventions.
    #[wasm_bindgen(js_name = removeReft)]
    pub fn remove_reft(&self, reft: usize) {
        if let Some(held) = self.refts.0.borrow_mut().get_mut(reft) {
            *held = None;
        }
    }

    /// Begins an answer to each of the sequences, all in one batch: reads their prompts, which `watch` may end.
    ///
    /// # Errors
    /// As [`Engine::prompt`], [`Engine::sources`] and [`Engine::generate_with`].
    pub async fn generate(
        &self,
        sequences: Vec<Ts<Sequence>>,
        sampling: Ts<Sampling>,
        watch: RunWatch,
    ) -> Result<WebGeneration> {
        let options = from_js("options", &sampling)?.into();
        let mut prompts = Vec::with_capacity(sequences.len());
        for sequence in &sequences {
            prompts.push(self.prompt(from_js("prompt", sequence)?).await?);
        }
        let generation = self.engine.generate_with(&prompts, &options, &Told::new(&watch)).await?;
        Ok(WebGeneration { engine: self.engine.clone(), refts: self.refts.clone(), watch, generation })
    }

    /// Begins a training, with an optimizer of its own.
    ///
    /// # Errors
    /// As [`Engine::training`] and [`Trainer::new`].
    pub fn train(
        &self,
        number: usize,
        examples: Vec<Ts<Example>>,
        training: Ts<types::Training>,
    ) -> Result<WebTraining> {
        let reft = self.refts.get(number)?;
        let options = from_js("options", &training)?.into();
        let training = self.engine.training(&reft, &read_examples(&examples)?, &options)?;
        let trainer = Trainer::new(&self.engine.model().backend, &reft)?;
        Ok(WebTraining { engine: self.engine.clone(), reft, number, trainer, training })
    }

    /// Goes on with a training on the same examples from a checkpoint, on interventions of its own. Options that are given must be those
    /// of the checkpoint.
    ///
    /// # Errors
    /// As [`Engine::resume_as`].
    pub fn resume(
        &self,
        checkpoint: &[u8],
        examples: Vec<Ts<Example>>,
        training: Ts<types::Training>,
    ) -> Result<WebTraining> {
        from_js::<types::Training>("options", &training)?;
        let asked = serde_json::json!({ "options": plain("options", &training.js_value())? });
        let examples = read_examples(&examples)?;
        let (reft, trainer, training) = self.engine.resume_as(checkpoint, &examples, &asked)?;
        let number = self.refts.hold(reft);
        Ok(WebTraining {
            engine: self.engine.clone(),
            reft: self.refts.get(number)?,
            number,
            trainer,
            training,
        })
    }

    /// Goes on with a training from a checkpoint, on interventions of that training that were made anew.
    ///
    /// # Errors
    /// As [`Engine::resume_on`].
    #[wasm_bindgen(js_name = resumeOn)]
    pub fn resume_on(
        &self,
        number: usize,
        checkpoint: &[u8],
        examples: Vec<Ts<Example>>,
    ) -> Result<WebTraining> {
        let reft = self.refts.get(number)?;
        let (trainer, training) = self.engine.resume_on(&reft, checkpoint, &read_examples(&examples)?)?;
        Ok(WebTraining { engine: self.engine.clone(), reft, number, trainer, training })
    }

    /// What training has changed of interventions, single steps included, as bytes.
    ///
    /// # Errors
    /// As [`train::snapshot`], and `Input` if there are none of this number.
    pub async fn snapshot(&self, number: usize) -> Result<Vec<u8>> {
        let reft = self.refts.get(number)?;
        let trainer = self.refts.take_trainer(number);
        let bytes = train::snapshot(&reft, trainer.as_ref()).await;
        self.refts.put_trainer(number, trainer);
        bytes
    }

    /// Gives interventions that were made anew what training had changed of them.
    ///
    /// # Errors
    /// As [`train::restore`], and `Input` if there are none of this number.
    pub fn restore(&self, number: usize, snapshot: &[u8]) -> Result<()> {
        let reft = self.refts.get(number)?;
        let trainer = train::restore(&self.engine.model().backend, &reft, snapshot)?;
        self.refts.put_trainer(number, trainer);
        Ok(())
    }

    /// Whether the machine was lost, so that the same work can be done on another one.
    #[wasm_bindgen(js_name = isLost)]
    pub fn is_lost(&self) -> bool {
        self.engine.model().backend.is_lost()
    }

    /// Whether the machine is of no more use, and the model must be loaded again.
    #[wasm_bindgen(js_name = isBroken)]
    pub fn is_broken(&self) -> bool {
        self.engine.model().backend.is_broken()
    }

    /// Makes one step on all of the examples, which `watch` may end. The optimizer goes on from step to step.
    ///
    /// # Errors
    /// As [`WebEngine::train`] and [`Training::next_with`].
    #[wasm_bindgen(js_name = trainStep)]
    pub async fn train_step(
        &self,
        number: usize,
        examples: Vec<Ts<Example>>,
        training: Ts<types::Training>,
        watch: StepWatch,
    ) -> Result<Ts<EngineStep>> {
        let reft = self.refts.get(number)?;
        let options: types::Training = from_js("options", &training)?;
        let options = types::Training { epochs: 1, batch_size: 0, ..options };
        let mut training = self.engine.training(&reft, &read_examples(&examples)?, &options.into())?;
        let mut trainer = match self.refts.take_trainer(number) {
            Some(trainer) => trainer,
            None => Trainer::new(&self.engine.model().backend, &reft)?,
        };
        let step = training.next_with(self.engine.model(), &reft, &mut trainer, &watch).await;
        self.refts.put_trainer(number, Some(trainer));
        reported(step?.expect("a training has a step"), &training)
    }

    /// Measures the model on its machine, with a prompt and a training batch of so many tokens; returns a report as JSON.
    ///
    /// # Errors
    /// As [`bench::run`].
    pub async fn bench(&self, tokens: usize, sequences: usize) -> Result<String> {
        let report = bench::run(&self.engine, &BenchOptions { tokens, sequences }).await?;
        Ok(serde_json::to_string(&report).expect("a report is plain data"))
    }

    /// A text as tokens, and who edits it, with what they read of other runs.
    async fn prompt(&self, sequence: Sequence) -> Result<Prompt> {
        let Sequence { prompt, variables, personas } = sequence;
        let mut prompt = self.engine.prompt_with(&prompt.into(), variables.as_deref(), vec![])?;
        for asked in personas {
            let mut persona = self.refts.persona(&asked)?;
            if let Some(source) = asked.source {
                let source = Source { input: source.into(), positions: asked.source_positions };
                persona.sources = self.engine.sources(&persona.reft, &source, prompt.tokens.len()).await?;
            }
            prompt.personas.push(persona);
        }
        Ok(prompt)
    }
}

/// Hidden states at one place.
#[wasm_bindgen]
pub struct WebStates(HiddenStates);

#[wasm_bindgen]
impl WebStates {
    /// The layer, counted from 0.
    #[wasm_bindgen(getter)]
    pub fn layer(&self) -> usize {
        self.0.layer
    }

    /// The part of it, by pyvene's name.
    #[wasm_bindgen(getter)]
    pub fn component(&self) -> String {
        self.0.component.to_owned()
    }

    /// The head, where it is one.
    #[wasm_bindgen(getter)]
    pub fn head(&self) -> Option<usize> {
        self.0.head
    }

    /// The tokens, counted from 0.
    #[wasm_bindgen(getter)]
    pub fn positions(&self) -> Vec<u32> {
        self.0.positions.clone()
    }

    /// Numbers of each token.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.0.width
    }

    /// The states, token after token.
    #[wasm_bindgen(getter)]
    pub fn values(&self) -> Vec<f32> {
        self.0.values.clone()
    }
}

/// Answers under way.
#[wasm_bindgen]
pub struct WebGeneration {
    engine: Rc<Engine>,
    refts: Refts,
    watch: RunWatch,
    generation: Generation,
}

#[wasm_bindgen]
impl WebGeneration {
    /// The next token of each answer that is not at its end; none when all are.
    ///
    /// # Errors
    /// As [`Generation::next_with`].
    pub async fn next(&mut self) -> Result<Option<Vec<Ts<SequencePiece>>>> {
        let pieces = self.generation.next_with(self.engine.tokenizer(), &self.watch).await?;
        let Some(pieces) = pieces else { return Ok(None) };
        pieces.into_iter().map(|piece| to_js(SequencePiece::from(piece))).collect::<Result<_>>().map(Some)
    }

    /// From the next token on, others edit a sequence.
    ///
    /// # Errors
    /// As [`Generation::switch`], and `Input` for a source: the prompt is read already.
    #[wasm_bindgen(js_name = switchPersonas)]
    pub async fn switch(&mut self, sequence: usize, personas: Vec<Ts<SequencePersona>>) -> Result<()> {
        let persona = |asked: &Ts<SequencePersona>| {
            let asked: SequencePersona = from_js("persona", asked)?;
            match asked.source {
                Some(_) => Err(Error::input(
                    "source: only a prompt's edits read another run, and this one's are made; leave it out",
                )),
                None => self.refts.persona(&asked),
            }
        };
        let personas = personas.iter().map(persona).collect::<Result<_>>()?;
        self.generation.switch(self.engine.model(), sequence, personas).await
    }
}

/// A training under way.
#[wasm_bindgen]
pub struct WebTraining {
    engine: Rc<Engine>,
    reft: Rc<Reft>,
    number: usize,
    trainer: Trainer,
    training: Training,
}

#[wasm_bindgen]
impl WebTraining {
    /// The next step's report; none at the end. `watch` hears how far it is, and may end it.
    ///
    /// # Errors
    /// As [`Training::next_with`].
    pub async fn next(&mut self, watch: &StepWatch) -> Result<Option<Ts<EngineStep>>> {
        let model = self.engine.model();
        let step = self.training.next_with(model, &self.reft, &mut self.trainer, watch).await?;
        step.map(|step| reported(step, &self.training)).transpose()
    }

    /// What of the examples is not learned.
    pub fn warnings(&self) -> Vec<String> {
        self.training.warnings().to_vec()
    }

    /// The number of the interventions that are trained.
    #[wasm_bindgen(getter)]
    pub fn reft(&self) -> usize {
        self.number
    }

    /// All that is wanted to go on, as a file's bytes.
    ///
    /// # Errors
    /// As [`Training::checkpoint`].
    pub async fn checkpoint(&mut self) -> Result<Vec<u8>> {
        self.training.checkpoint(self.engine.model(), &self.reft, &self.trainer).await
    }
}

/// A step, and how long it took.
fn reported(step: TrainStep, training: &Training) -> Result<Ts<EngineStep>> {
    to_js(EngineStep::of(step, training.step_time().expect("a step that is reported was timed")))
}

fn read_load_options(options: types::LoadOptions) -> Result<(Machine, LoadOptions)> {
    Ok((types::machine(options.backend.as_deref())?, options.try_into()?))
}

/// Reads a file of training examples; returns them as JSON, with the names of their classes and what the caller should know.
///
/// # Errors
/// As [`data::read`].
#[wasm_bindgen(js_name = parseExamples)]
pub fn parse_examples(bytes: &[u8]) -> Result<String> {
    Ok(serde_json::to_string(&data::read(bytes)?).expect("plain data"))
}

fn read_examples(examples: &[Ts<Example>]) -> Result<Vec<data::Example>> {
    let (mut read, mut problems) = (Vec::with_capacity(examples.len()), Problems::default());
    for (number, example) in (1..).zip(examples) {
        match from_json(&format!("example {number}"), &example.js_value()) {
            Ok(example) => read.push(example),
            Err(error) => problems.add(error),
        }
    }
    problems.check().map(|()| read)
}

/// What JavaScript gave, if it is what was asked for.
fn from_js<T: Tsify + DeserializeOwned>(what: &str, value: &Ts<T>) -> Result<T>
where
    T::JsType: JsCast,
{
    from_json(what, &value.js_value())
}

/// Deserializes a JavaScript value by way of JSON, where a field that is not known is told.
fn from_json<T: DeserializeOwned>(what: &str, value: &JsValue) -> Result<T> {
    serde_json::from_value(plain(what, value)?).map_err(|error| Error::input(error.to_string()).at(what))
}

/// What JavaScript gave, as JSON.
fn plain(what: &str, value: &JsValue) -> Result<serde_json::Value> {
    let wrong = |reason: String| Error::input(reason).at(what);
    let text = js_sys::JSON::stringify(value).map_err(|_| wrong("no plain data".to_owned()))?;
    serde_json::from_str(&text.as_string().unwrap_or_default()).map_err(|error| wrong(error.to_string()))
}

fn to_js<T: Tsify + Serialize>(value: T) -> Result<Ts<T>> {
    value.into_ts().map_err(|error| Error::input(error.to_string()))
}

/// An error crosses as `{ kind, message }`.
impl From<Error> for JsValue {
    fn from(error: Error) -> JsValue {
        let object = js_sys::Object::new();
        for (name, value) in [("kind", error.kind().name()), ("message", &error.to_string())] {
            js_sys::Reflect::set(&object, &name.into(), &value.into()).expect("a new object takes fields");
        }
        if error.is_retryable() {
            js_sys::Reflect::set(&object, &"retryable".into(), &JsValue::TRUE)
                .expect("a new object takes fields");
        }
        object.into()
    }
}
