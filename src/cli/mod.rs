//! Commands and their options.

mod bench;
mod chat;
mod compare;
mod foreign;
mod generate;
mod inspect;
mod output;
mod persona;
mod quiet;
mod random;
mod reft;
mod scores;
mod steer;
mod train;

use clap::{Args, Parser, Subcommand};
use output::warn;
use quiet::quiet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use webreft::backend::{Backend, Machine};
use webreft::data::{self, Data};
use webreft::engine::{Engine, MachineOptions};
use webreft::files::{self, ModelFiles};
use webreft::model::LoadOptions;
use webreft::quant::{self, Format};
use webreft::reft::Reft;
use webreft::token::{ChatInputs, ChatOptions};
use webreft::{Error, Result};

/// Trains and runs ReFT interventions on language models.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON lines in place of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Answer prompts, with the model as it is or with interventions.
    Generate(generate::Options),
    /// Hold a conversation with the model.
    Chat(chat::Options),
    /// Train interventions on examples and save them.
    Train(Box<train::Options>),
    /// Find steering vectors from pairs of texts that differ in one respect.
    Steer(steer::Options),
    /// Print what a trained head says of texts.
    Scores(scores::Options),
    /// Print what a model or an intervention file holds, from its header alone.
    Inspect(inspect::Options),
    /// Read interventions from a directory that pyreft or peft wrote, or from a control vector.
    Import(foreign::ImportOptions),
    /// Write interventions as a directory that pyreft or peft loads, or as a control vector.
    Export(foreign::ExportOptions),
    /// Tools for measuring webreft itself.
    #[command(subcommand)]
    Lab(Lab),
}

#[derive(Subcommand)]
enum Lab {
    /// Write a model with random weights in the shape of a real one.
    Random(random::Options),
    /// Measure decoding, prefill and a training step, as one line of JSON.
    Bench(bench::Options),
    /// Train methods on the same tasks with the same budget; each run is a line of JSON.
    Compare(compare::Options),
}

/// The model, and the machine to run it on.
#[derive(Args)]
struct ModelOptions {
    /// A GGUF file, one part of a split one, or a directory with config.json, tokenizer.json and .safetensors.
    #[arg(long)]
    model: PathBuf,
    /// Format to which weights in F32, F16 or BF16 are quantized while loading: Q8_0, Q4_0 or Q4_K.
    #[arg(long)]
    quantize: Option<String>,
    /// Longest context in tokens; the model's own up to 4096 by default.
    #[arg(long)]
    context: Option<usize>,
    /// A chat template in the place of the model's own: its text, or chatml, llama3, gemma, or raw for none.
    #[arg(long)]
    chat_template: Option<String>,
    /// The local date and time that templates write, such as 2025-07-04T12:30:00; the clock's if not given.
    #[arg(long)]
    now: Option<String>,
    /// What templates see besides the messages, as JSON: {"tools": [...], "documents": [...], "enable_thinking": false}.
    #[arg(long)]
    template_variables: Option<String>,
    /// What to compute on: auto (a real GPU, if there is one, else the CPU), gpu or cpu.
    #[arg(long, default_value_t)]
    backend: Machine,
    /// Threads of the CPU; one for each core by default.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    threads: usize,
}

fn quantizer(name: Option<&str>) -> Result<Option<&'static Format>> {
    name.map(quant::quantizer).transpose()
}

impl ModelOptions {
    fn load(&self) -> Result<Engine> {
        let engine = pollster::block_on(async {
            let files = ModelFiles::open(files::find(&self.model)?).await?;
            let opened = open(self.backend, self.threads)?;
            let mut machine =
                MachineOptions { machine: self.backend, threads: self.threads, ..Default::default() };
            Engine::open_on(opened, &mut machine, &files, &self.load_options()?, &mut |_| ()).await
        })?;
        let engine = engine.with_chat(self.chat_options()?)?;
        engine.warnings().iter().for_each(warn);
        Ok(engine)
    }

    fn chat_options(&self) -> Result<ChatOptions> {
        let now = self.now.as_deref().map(ChatInputs::moment).transpose()?;
        let inputs = ChatInputs { now, variables: self.template_variables.iter().cloned().collect() };
        Ok(ChatOptions { template: self.chat_template.clone(), inputs })
    }

    fn load_options(&self) -> Result<LoadOptions> {
        Ok(LoadOptions { n_ctx: self.context, quantize: quantizer(self.quantize.as_deref())? })
    }

    fn load_on(&self, backend: &Backend) -> Result<Engine> {
        pollster::block_on(async {
            let files = ModelFiles::open(files::find(&self.model)?).await?;
            let engine = Engine::load(backend, &files, &self.load_options()?, &mut |_| ()).await?;
            engine.with_chat(self.chat_options()?)
        })
    }
}

/// Opens a machine; what its driver prints is dropped.
fn open(machine: Machine, threads: usize) -> Result<(Backend, Option<String>)> {
    quiet(|| pollster::block_on(machine.open(threads)))
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let Cli { command, json } = Cli::parse();
    let done = match command {
        Command::Generate(options) => generate::run(&options, json),
        Command::Chat(options) => chat::run(&options, json),
        Command::Train(options) => train::run(&options, json),
        Command::Steer(options) => steer::run(&options, json),
        Command::Scores(options) => scores::run(&options, json),
        Command::Inspect(options) => inspect::run(&options, json),
        Command::Import(options) => foreign::import(&options, json),
        Command::Export(options) => foreign::export(&options, json),
        Command::Lab(Lab::Random(options)) => random::run(&options),
        Command::Lab(Lab::Bench(options)) => bench::run(&options),
        Command::Lab(Lab::Compare(options)) => compare::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("webreft: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Loads interventions that `train` saved; warns where the model differs from the one they were saved with.
fn load_reft(engine: &Engine, path: &Path) -> Result<Reft> {
    let reft = engine.load_reft(&read(path)?).map_err(|error| error.at(path.display()))?;
    reft.warnings.iter().for_each(|warning| warn(format!("{}: {warning}", path.display())));
    Ok(reft)
}

/// Reads a file of examples; warns of fields that are not read.
fn read_examples(path: &Path) -> Result<Data> {
    let data = data::read(&read(path)?).map_err(|error| error.at(path.display()))?;
    data.warnings.iter().for_each(|warning| warn(format!("{}: {warning}", path.display())));
    Ok(data)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::file(format!("{}: {error}", path.display())))
}

/// Writes a file whole, or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = part(path);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| Error::file(format!("{}: {error}", path.display())))
}

/// Fails if [`write`] could not write this file.
fn check_writable(option: &str, path: &Path) -> Result<()> {
    let refuse = |reason: String| Err(Error::input(format!("{option} {}: {reason}", path.display())));
    if path.is_dir() {
        return refuse("is a directory: expected the name of a file".to_owned());
    }
    let part = part(path);
    match fs::write(&part, []).and_then(|()| fs::remove_file(&part)) {
        Ok(()) => Ok(()),
        Err(error) => refuse(format!("cannot be written: {error}")),
    }
}

/// Where a file lies while it is written.
fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::Parser;

    #[test]
    fn an_unknown_backend_is_refused_with_the_list() {
        let error =
            Cli::try_parse_from(["webreft", "generate", "--model", "m.gguf", "--backend", "tpu"]).err();
        let message = error.expect("there is no such machine").to_string();
        assert!(message.contains("backend \"tpu\" is not known (known: auto, gpu, cpu)"), "{message}");
    }
}
