//! `webreft train`: interventions from examples.

use super::{ModelOptions, print_line, read, read_lines, write};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use webreft::Result;
use webreft::engine::{Engine, Example};
use webreft::reft::{Components, HeadConfig, Layers, Pooling, Reft, ReftConfig};
use webreft::train::{StepTime, TrainOptions, TrainStep, Trainer, Training};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// JSON lines with "prompt" and "completion", or "messages", or "prompt", "chosen" and "rejected", or "text" and "label", "labels" or
    /// "values", or "base", "source" and "expected".
    #[arg(long)]
    examples: PathBuf,
    /// Where the interventions go.
    #[arg(long)]
    save: PathBuf,
    /// What is done to a hidden state: loreft, direft, noreft, nodireft, consreft, lobireft, dii_lowrank or lora.
    #[arg(long, default_value = "loreft")]
    kind: String,
    /// Parts of a layer, separated by commas: block_output, mlp_output, query_output, …; usual is what the kind stands at.
    #[arg(long, value_delimiter = ',', default_value = "usual")]
    component: Vec<String>,
    /// LoRA's alpha: edits are multiplied by alpha / rank; 0 leaves them.
    #[arg(long, default_value_t = 0.0)]
    alpha: f32,
    /// The function around what is learned: linear, gelu, relu, silu or tanh.
    #[arg(long, default_value = "usual")]
    act: String,
    /// Outputs of a trained head, for examples with a label or several, with values, or with chosen and rejected answers.
    #[arg(long)]
    head: Option<usize>,
    /// What the head reads: the last token, or the mean of all tokens.
    #[arg(long, value_enum, default_value_t = Pool::Last, requires = "head")]
    pooling: Pool,
    /// A file that a training left in the middle is written to after each epoch, and from which it goes on.
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Virtual tokens before the prompt, for the kinds that have them.
    #[arg(long, default_value_t = 8)]
    virtual_tokens: usize,
    /// Width of the network that virtual tokens follow from; 0 is the kind's own.
    #[arg(long, default_value_t = 0)]
    encoder: usize,
    /// Layers, counted from 0 and separated by commas; the kind's own if not given, which is all of them for nearly every kind.
    #[arg(long, value_delimiter = ',')]
    layers: Option<Vec<usize>>,
    /// Dimensions of each subspace.
    #[arg(long, default_value_t = 4)]
    rank: usize,
    /// Edited tokens: fN, lM, fN+lM, all, prompt, generated, 3, -1, 2:5; usual is f1+l1 for most kinds.
    #[arg(long, default_value = "usual")]
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
    /// constant, linear or cosine.
    #[arg(long, default_value = "constant")]
    schedule: String,
    /// adamw, adam or sgd.
    #[arg(long, default_value = "adamw")]
    optimizer: String,
    /// Weight decay.
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f64,
    /// The gradient is made no longer than this; 0 leaves it.
    #[arg(long, default_value_t = 0.0)]
    max_grad_norm: f64,
    /// Examples that go through the model at once; 0 takes a whole step's.
    #[arg(long, default_value_t = 0)]
    at_once: usize,
    /// How fast a difference counts in learning from preferences.
    #[arg(long, default_value_t = 0.1)]
    beta: f32,
    /// Steps over which the rate rises from 0.
    #[arg(long, default_value_t = 0)]
    warmup_steps: usize,
    /// Examples that are not learned, but asked after each epoch how they fare: a share below 1, or so many, the last ones.
    #[arg(long, default_value_t = 0.0)]
    validation: f64,
    /// Epochs in which the validation's loss does not fall, after which the training ends; 0 goes on to the end.
    #[arg(long, default_value_t = 0)]
    patience: usize,
    /// Saves what had the lowest loss in validation.
    #[arg(long)]
    keep_best: bool,
    /// The share of numbers that are dropped in training.
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Where the random start, the order of examples and what is dropped come from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pool {
    Last,
    Mean,
}

impl Options {
    fn head(&self) -> Option<HeadConfig> {
        let pooling = match self.pooling {
            Pool::Last => Pooling::Last,
            Pool::Mean => Pooling::Mean,
        };
        self.head.map(|outputs| HeadConfig { outputs, bias: false, pooling, seed: self.seed })
    }

    fn reft(&self) -> ReftConfig {
        ReftConfig {
            kind: self.kind.clone(),
            component: Components::List(self.component.clone()),
            alpha: self.alpha,
            virtual_tokens: self.virtual_tokens,
            encoder: self.encoder,
            act: self.act.clone(),
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
            optimizer: self.optimizer.clone(),
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            at_once: self.at_once,
            beta: self.beta,
            validation: self.validation,
            patience: self.patience,
            keep_best: self.keep_best,
            dropout: self.dropout,
            seed: self.seed,
        }
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let examples: Vec<Example> = read_lines(&options.examples)?;
    let engine = options.model.load()?;
    let bytes = pollster::block_on(train(&engine, options, &examples))?;
    write(&options.save, &bytes)
}

/// What is printed of a step.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    step: TrainStep,
    #[serde(flatten)]
    time: Option<StepTime>,
}

async fn train(engine: &Engine, options: &Options, examples: &[Example]) -> Result<Vec<u8>> {
    let (reft, mut trainer, mut training) = begin(engine, options, examples)?;
    while let Some(step) = training.next(engine.model(), &reft, &mut trainer).await? {
        print_line(&Line { step, time: training.step_time() });
        if let Some(path) = options.checkpoint.as_ref().filter(|_| step.epoch_ends) {
            write(path, &training.checkpoint(engine.model(), &reft, &trainer).await?)?;
        }
    }
    reft.save(engine.model()).await
}

/// A new training, or one that goes on from its checkpoint.
fn begin(engine: &Engine, options: &Options, examples: &[Example]) -> Result<(Reft, Trainer, Training)> {
    if let Some(path) = options.checkpoint.as_ref().filter(|path| path.exists()) {
        let asked =
            json!({ "configs": [options.reft()], "head": options.head(), "options": options.training() });
        return engine.resume_as(&read(path)?, examples, &asked);
    }
    let reft = Reft::with_head(engine.model(), &[options.reft()], options.head())?;
    let trainer = Trainer::new(&engine.model().backend, &reft)?;
    let training = engine.training(&reft, examples, &options.training())?;
    Ok((reft, trainer, training))
}
