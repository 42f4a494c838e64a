//! Commands and their options.

mod bench;
mod compare;
mod foreign;
mod generate;
mod inspect;
mod random;
mod train;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use webreft::backend::{Backend, Machine};
use webreft::engine::{Engine, MachineOptions};
use webreft::files::{self, ModelFiles};
use webreft::model::LoadOptions;
use webreft::quant::{self, Format};
use webreft::reft::Reft;
use webreft::{Error, Result};

/// Trains and runs ReFT interventions on GGUF models.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers prompts, as the model is or with interventions.
    Generate(generate::Options),
    /// Trains interventions on examples and saves them.
    Train(Box<train::Options>),
    /// Makes interventions of a directory that pyreft or peft wrote.
    Import(foreign::ImportOptions),
    /// Writes interventions as a directory that pyreft or peft loads.
    Export(foreign::ExportOptions),
    /// Tells what a model's file or an intervention file holds, from its header alone.
    Inspect(inspect::Options),
    /// Writes a model with random weights in the shape of a real one, for measuring.
    Random(random::Options),
    /// Measures decoding, reading a prompt, and a training step, as one line of JSON.
    Bench(bench::Options),
    /// Trains methods on the same tasks with the same budget; each run is a line of JSON.
    Compare(compare::Options),
}

/// The model, and the machine to run it on.
#[derive(Args)]
struct ModelOptions {
    /// A GGUF file, one part of a split one, or a directory with config.json, tokenizer.json and .safetensors.
    #[arg(long)]
    model: PathBuf,
    /// What weights in F32, F16 or BF16 are quantized to while loading: Q8_0, Q4_0 or Q4_K.
    #[arg(long)]
    quantize: Option<String>,
    /// The longest context, in tokens; the model's own up to 4096 if not given.
    #[arg(long)]
    context: Option<usize>,
    /// What to compute on: auto (a real GPU, if there is one, else the CPU), gpu or cpu.
    #[arg(long, default_value_t)]
    backend: Machine,
    /// Threads of the CPU; one for each core if not given.
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
            let mut machine =
                MachineOptions { machine: self.backend, threads: self.threads, ..Default::default() };
            Engine::open(&mut machine, &files, &self.load_options()?, &mut |_| ()).await
        })?;
        engine.warnings().iter().for_each(|warning| eprintln!("webreft: {warning}"));
        Ok(engine)
    }

    fn load_options(&self) -> Result<LoadOptions> {
        Ok(LoadOptions { n_ctx: self.context, quantize: quantizer(self.quantize.as_deref())? })
    }

    fn load_on(&self, backend: &Backend) -> Result<Engine> {
        pollster::block_on(async {
            let files = ModelFiles::open(files::find(&self.model)?).await?;
            Engine::load(backend, &files, &self.load_options()?, &mut |_| ()).await
        })
    }
}

/// Runs the command that the arguments say.
pub(crate) fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Generate(options) => generate::run(&options),
        Command::Train(options) => train::run(&options),
        Command::Import(options) => foreign::import(&options),
        Command::Export(options) => foreign::export(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Random(options) => random::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Compare(options) => compare::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("webreft: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Interventions from a file that `train` saved; what is other with the model than it was then is told.
fn load_reft(engine: &Engine, path: &Path) -> Result<Reft> {
    let reft = engine.load_reft(&read(path)?).map_err(|error| error.at(path.display()))?;
    reft.warnings.iter().for_each(|warning| eprintln!("webreft: {}: {warning}", path.display()));
    Ok(reft)
}

/// Prints a value as one line of JSON. Where nobody reads any more, as after `| head`, that is the end.
fn print_line(value: &impl Serialize) {
    let line = serde_json::to_string(value).expect("plain data");
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::file(format!("{}: {error}", path.display())))
}

/// Writes a file whole, or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| Error::file(format!("{}: {error}", path.display())))
}

/// The values of a file of JSON lines; empty lines are passed over.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = String::from_utf8(read(path)?)
        .map_err(|error| Error::file(format!("{}: {error}", path.display())))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let values = lines.map(|(number, line)| {
        serde_json::from_str(line)
            .map_err(|error| Error::input(format!("{}:{number}: {error}", path.display())))
    });
    values.collect()
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
