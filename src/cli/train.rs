//! `webreft train`: interventions from examples.

use super::output::{bytes, count, print, print_json, warn};
use super::reft::ReftOptions;
use super::{ModelOptions, check_writable, read, read_examples, write};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use webreft::Result;
use webreft::data::Data;
use webreft::engine::Engine;
use webreft::reft::Reft;
use webreft::train::{StepTime, TrainOptions, TrainStep, Trainer, Training};

const BAR: &str = "{bar:30} {pos}/{len} steps, {msg}, {eta} left";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// A file of examples: JSON lines, a JSON array, CSV or TSV with a header, with the fields prompt and completion; instruction, input
    /// and output; messages; conversations; chosen and rejected; text and label, labels or values; or base, source and expected.
    #[arg(long)]
    examples: PathBuf,
    /// File that the interventions are saved to.
    #[arg(long)]
    save: PathBuf,
    #[command(flatten)]
    reft: ReftOptions,
    /// File that a training writes after each epoch, and from which it resumes.
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Times that every example is seen.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Examples in a step; 0 takes all of them.
    #[arg(long, default_value_t = 0)]
    batch_size: usize,
    /// Learning rate at its highest.
    #[arg(long, default_value_t = 4e-3)]
    learning_rate: f64,
    /// Schedule of the learning rate: constant, linear or cosine.
    #[arg(long, default_value = "constant")]
    schedule: String,
    /// Optimizer: adamw, adam or sgd.
    #[arg(long, default_value = "adamw")]
    optimizer: String,
    /// Weight decay.
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f64,
    /// Longest gradient, to which longer ones are clipped; 0 leaves them.
    #[arg(long, default_value_t = 0.0)]
    max_grad_norm: f64,
    /// Examples that go through the model at once; 0 takes a whole step's.
    #[arg(long, default_value_t = 0)]
    at_once: usize,
    /// DPO's beta.
    #[arg(long, default_value_t = 0.1)]
    beta: f32,
    /// What is learned from chosen and rejected answers: dpo or reps.
    #[arg(long, default_value = "dpo")]
    preference_loss: String,
    /// Strengths that reps draws from, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    strengths: Vec<f32>,
    /// Steps over which the rate rises from 0.
    #[arg(long, default_value_t = 0)]
    warmup_steps: usize,
    /// Examples held back for validation: a share below 1, or a count, the last ones.
    #[arg(long, default_value_t = 0.0)]
    validation: f64,
    /// Epochs without a lower validation loss after which the training ends; 0 never ends it.
    #[arg(long, default_value_t = 0)]
    patience: usize,
    /// Save what had the lowest validation loss.
    #[arg(long)]
    keep_best: bool,
    /// Share of numbers that are dropped in training.
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Seed of the random start, the order of examples and the dropout.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Options {
    fn training(&self) -> TrainOptions {
        TrainOptions {
            epochs: self.epochs,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            schedule: self.schedule.clone(),
            warmup_steps: self.warmup_steps,
            optimizer: self.optimizer.clone(),
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            at_once: self.at_once,
            beta: self.beta,
            preference_loss: self.preference_loss.clone(),
            strengths: self.strengths.clone(),
            validation: self.validation,
            patience: self.patience,
            keep_best: self.keep_best,
            dropout: self.dropout,
            seed: self.seed,
        }
    }
}

pub(super) fn run(options: &Options, json: bool) -> Result<()> {
    check_writable("--save", &options.save)?;
    options.checkpoint.iter().try_for_each(|path| check_writable("--checkpoint", path))?;
    let data = read_examples(&options.examples)?;
    let engine = options.model.load()?;
    pollster::block_on(train(&engine, options, &data, json))
}

/// How often a step is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A step, as it is printed.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    step: TrainStep,
    #[serde(flatten)]
    time: Option<StepTime>,
}

async fn train(engine: &Engine, options: &Options, data: &Data, json: bool) -> Result<()> {
    let (reft, mut trainer, mut training) = begin(engine, options, data)?;
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(training.n_steps() as u64) };
    bar.set_style(ProgressStyle::with_template(BAR).expect("a template"));
    let (start, mut first, mut last) = (Instant::now(), None, None);
    let mut told = start; // without a terminal there is no bar
    while let Some(step) = training.next(engine.model(), &reft, &mut trainer).await? {
        let time = training.step_time();
        bar.set_position(step.step as u64);
        bar.set_message(message(&step, time));
        if json {
            print_json(&Line { step, time });
        } else if bar.is_hidden() && told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("step {} of {}: {}", step.step, step.steps, message(&step, time));
        }
        first.get_or_insert(step);
        last = Some(step);
        if let Some(path) = options.checkpoint.as_ref().filter(|_| step.epoch_ends) {
            write(path, &training.checkpoint(engine.model(), &reft, &trainer).await?)?;
        }
    }
    bar.finish_and_clear();
    let file = reft.save(engine.model()).await?;
    write(&options.save, &file)?;
    let saved = options.save.display().to_string();
    match (json, first.zip(last)) {
        (true, _) => print_json(&json!({
            "saved": saved, "bytes": file.len(), "parameters": reft.n_params(), "seconds": start.elapsed().as_secs_f64(),
        })),
        (false, steps) => {
            let numbers = count(reft.n_params() as u64);
            let share = 100.0 * reft.n_params() as f64 / engine.info().n_params as f64;
            let told = steps.map_or("no step was left to make\n".to_owned(), |steps| summary(steps, start));
            let size = bytes(file.len() as u64);
            print(&format!("{told}saved {saved}: {numbers} numbers, {share:.3} % of the model, {size}\n"));
        }
    }
    Ok(())
}

/// What is printed beside the bar.
fn message(step: &TrainStep, time: Option<StepTime>) -> String {
    let rate = time.map_or(String::new(), |time| format!(", {:.0} tokens/s", time.tokens_per_second));
    let validation = step.validation_loss.map_or(String::new(), |loss| format!(", validation {loss:.4}"));
    format!("loss {:.4}{validation}{rate}", step.loss)
}

/// What a training came to, line by line.
fn summary((first, last): (TrainStep, TrainStep), start: Instant) -> String {
    let (steps, seconds) = (last.step - first.step + 1, start.elapsed().as_secs_f64());
    let mut text = format!("{} steps in {seconds:.1} s\n", count(steps as u64));
    text += &format!("loss {:.4} at first, {:.4} at the last step\n", first.loss, last.loss);
    if let Some(accuracy) = last.accuracy {
        text += &format!("accuracy {:.1} % at the last step\n", 100.0 * accuracy);
    }
    if let Some(loss) = last.validation_loss {
        text += &format!("validation loss {loss:.4}\n");
    }
    text
}

/// A new training, or one that resumes from its checkpoint, which must be of the same interventions and options.
fn begin(engine: &Engine, options: &Options, data: &Data) -> Result<(Reft, Trainer, Training)> {
    let (reft, training) = (options.reft.make(engine, options.seed, data)?, options.training());
    if let Some(path) = options.checkpoint.as_ref().filter(|path| path.exists()) {
        let head = reft.head.map(|head| head.config);
        let asked = json!({ "configs": reft.configs, "head": head, "options": training });
        return engine.resume_as(&read(path)?, &data.examples, &asked);
    }
    let trainer = Trainer::new(&engine.model().backend, &reft)?;
    let training = engine.training(&reft, &data.examples, &training)?;
    training.warnings().iter().for_each(warn);
    Ok((reft, trainer, training))
}
