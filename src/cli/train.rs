//! `webreft train`: interventions from examples.

use super::{ModelOptions, print_line, read_lines};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use webreft::engine::{Engine, Example};
use webreft::reft::{Layers, ReftConfig};
use webreft::train::{TrainOptions, Trainer};
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// JSON lines with "prompt" and "completion".
    #[arg(long)]
    examples: PathBuf,
    /// Where the interventions go.
    #[arg(long)]
    save: PathBuf,
    /// Layers, counted from 0 and separated by commas; all of them if not given.
    #[arg(long, value_delimiter = ',')]
    layers: Option<Vec<usize>>,
    /// Dimensions of each subspace.
    #[arg(long, default_value_t = 4)]
    rank: usize,
    /// Edited tokens: fN, lM, fN+lM or all.
    #[arg(long, default_value = "f1+l1")]
    positions: String,
    /// One intervention for both ends of the prompt.
    #[arg(long)]
    tied: bool,
    /// Times that every example is seen.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Examples in a step; 0 takes all of them.
    #[arg(long, default_value_t = 0)]
    batch_size: usize,
    /// The learning rate at its highest.
    #[arg(long, default_value_t = 4e-3)]
    learning_rate: f64,
    /// constant or linear.
    #[arg(long, default_value = "constant")]
    schedule: String,
    /// Steps over which the rate rises from 0.
    #[arg(long, default_value_t = 0)]
    warmup_steps: usize,
    /// Where the random start and the order of examples come from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Options {
    fn reft(&self) -> ReftConfig {
        ReftConfig {
            layers: self.layers.clone().map_or_else(Layers::default, Layers::List),
            rank: self.rank,
            positions: self.positions.clone(),
            tied: self.tied,
            seed: self.seed,
            ..ReftConfig::default()
        }
    }

    fn training(&self) -> TrainOptions {
        TrainOptions {
            epochs: self.epochs,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            schedule: self.schedule.clone(),
            warmup_steps: self.warmup_steps,
            seed: self.seed,
        }
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let examples: Vec<Example> = read_lines(&options.examples)?;
    let engine = options.model.load()?;
    let bytes = pollster::block_on(train(&engine, options, &examples))?;
    fs::write(&options.save, bytes)
        .map_err(|error| Error::file(format!("{}: {error}", options.save.display())))
}

async fn train(engine: &Engine, options: &Options, examples: &[Example]) -> Result<Vec<u8>> {
    let reft = engine.reft(&[options.reft()])?;
    let mut trainer = Trainer::new(&engine.model().backend, &reft)?;
    let mut training = engine.training(&reft, examples, &options.training())?;
    while let Some(step) = training.next(engine.model(), &reft, &mut trainer).await? {
        print_line(&step);
    }
    reft.save(engine.model()).await
}
