//! `webreft lab compare`: methods trained on the same tasks with the same budget, each run a line of JSON.
//!
//! Each method's learning rate is chosen by what is held out for tuning, with one seed and the same rates for all; then it is trained
//! from each seed, and asked after what is held out for the test. Runs are kept in a file: one that is there is not made again.

use super::{ModelOptions, read};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;
use webreft::engine::{Engine, Example};
use webreft::reft::{HeadConfig, Pooling, Reft, ReftConfig};
use webreft::train::{Sequence, TrainOptions, Trainer};
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// The file of tasks and methods.
    #[arg(long)]
    plan: PathBuf,
    /// The file of runs: those that it holds are not made again, others are added to it.
    #[arg(long)]
    runs: PathBuf,
    /// The tasks, separated by commas; all that the file has if not given.
    #[arg(long, value_delimiter = ',')]
    tasks: Option<Vec<String>>,
    /// The methods, separated by semicolons; all that the file has if not given.
    #[arg(long, value_delimiter = ';')]
    methods: Option<Vec<String>>,
    /// Learning rates to choose from, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1e-3, 4e-3, 1.6e-2, 6.4e-2])]
    rates: Vec<f64>,
    /// The task whose examples choose the rates for all tasks; each task chooses its own if not given.
    #[arg(long)]
    rates_of: Option<String>,
    /// Trainings with the chosen rate, each from a seed of its own.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Steps of a training.
    #[arg(long, default_value_t = 40)]
    steps: usize,
    /// Steps between two looks at what is held out.
    #[arg(long, default_value_t = 5)]
    every: usize,
}

/// The file of tasks and methods.
#[derive(Deserialize)]
struct Plan {
    tasks: Vec<Task>,
    methods: Vec<Method>,
}

#[derive(Deserialize)]
struct Task {
    name: String,
    /// Outputs of a head, for classes.
    outputs: Option<usize>,
    learn: Vec<Example>,
    tune: Vec<Example>,
    test: Vec<Example>,
}

#[derive(Deserialize)]
struct Method {
    name: String,
    configs: Vec<ReftConfig>,
}

/// Which run it is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Setting {
    task: String,
    method: String,
    /// `tune` or `test`: what is asked after.
    asked: String,
    learning_rate: f64,
    seed: u64,
    /// Steps of the training.
    budget: usize,
}

/// What a training came to.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    #[serde(flatten)]
    setting: Setting,
    /// Trained numbers.
    trained: usize,
    /// Bytes of the saved file.
    saved_bytes: usize,
    /// Bytes on the device beyond the model's own, at the most.
    device_bytes: u64,
    /// Seconds of training, with the looks at what is held out.
    seconds: f64,
    /// Steps made before each look.
    steps: Vec<usize>,
    /// Mean loss of what is held out at each look; none where a training went astray.
    losses: Vec<Option<f64>>,
    /// Share of what is held out that is right at each look: tokens, or classes.
    accuracies: Vec<Option<f64>>,
}

impl Run {
    /// The loss in the end; a training that went astray is the worst.
    fn last_loss(&self) -> f64 {
        self.losses.last().copied().flatten().unwrap_or(f64::INFINITY)
    }
}

/// The runs that there are, and the file that keeps them.
struct Runs {
    made: Vec<Run>,
    file: File,
}

impl Runs {
    fn open(path: &PathBuf) -> Result<Self> {
        let failed = |error: std::io::Error| Error::input(format!("{}: {error}", path.display()));
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        let made = serde_json::Deserializer::from_slice(&read(path)?)
            .into_iter()
            .collect::<serde_json::Result<_>>()
            .map_err(|error| Error::input(format!("{}: {error}", path.display())))?;
        Ok(Self { made, file })
    }

    /// The run of these settings, made if it is not there.
    fn get(&mut self, setting: Setting, make: impl FnOnce(Setting) -> Result<Run>) -> Result<Run> {
        if let Some(made) = self.made.iter().find(|run| run.setting == setting) {
            return Ok(made.clone());
        }
        let run = make(setting)?;
        let line = serde_json::to_string(&run).expect("a run is plain data");
        writeln!(self.file, "{line}").map_err(|error| Error::input(format!("keeping a run: {error}")))?;
        let Setting { task, method, asked, learning_rate, .. } = &run.setting;
        let (loss, seconds) = (run.last_loss(), run.seconds);
        eprintln!("{task}: {method}, {asked} at {learning_rate}: {loss:.4} in {seconds:.0} s");
        Ok(run)
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let Plan { tasks, methods } = serde_json::from_slice(&read(&options.plan)?)
        .map_err(|error| Error::input(format!("{}: {error}", options.plan.display())))?;
    let chooser = options.rates_of.as_ref().map(std::slice::from_ref);
    let chooser = chooser.map(|name| chosen(&tasks, Some(name), "task", |task| &task.name)).transpose()?;
    let tasks = chosen(&tasks, options.tasks.as_deref(), "task", |task| &task.name)?;
    let methods = chosen(&methods, options.methods.as_deref(), "method", |method| &method.name)?;
    let mut runs = Runs::open(&options.runs)?;
    let engine = options.model.load()?;
    let counted = options.model.load_on(&engine.model().backend.tally())?;
    let engines = Engines { engine, counted };
    for task in tasks {
        for method in &methods {
            let chooser = chooser.as_ref().map_or(task, |chooser| chooser[0]);
            compare(&engines, options, (chooser, task), method, &mut runs)?;
        }
    }
    Ok(())
}

/// An engine that trains, and one that counts what that takes.
struct Engines {
    engine: Engine,
    counted: Engine,
}

/// Those of these names, or all, in the order of the file.
fn chosen<'a, T>(
    all: &'a [T],
    names: Option<&[String]>,
    what: &str,
    name: fn(&T) -> &str,
) -> Result<Vec<&'a T>> {
    let Some(names) = names else { return Ok(all.iter().collect()) };
    if let Some(unknown) = names.iter().find(|asked| all.iter().all(|one| name(one) != asked.as_str())) {
        return Err(Error::input(format!(
            "{what} {unknown:?}: expected one of {}",
            all.iter().map(name).collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(all.iter().filter(|one| names.iter().any(|asked| asked == name(one))).collect())
}

/// Has a method choose its rate by one task, and learn the other.
fn compare(
    engines: &Engines,
    options: &Options,
    (chooser, learned): (&Task, &Task),
    method: &Method,
    runs: &mut Runs,
) -> Result<()> {
    let mut run = |task: &Task, asked: &str, learning_rate, seed| {
        let setting = Setting {
            task: task.name.clone(),
            method: method.name.clone(),
            asked: asked.to_owned(),
            learning_rate,
            seed,
            budget: options.steps,
        };
        runs.get(setting, |setting| pollster::block_on(train(engines, options, (task, method), setting)))
    };
    let mut best: Option<Run> = None;
    for rate in &options.rates {
        let run = run(chooser, "tune", *rate, 0)?;
        if best.as_ref().is_none_or(|best| run.last_loss() < best.last_loss()) {
            best = Some(run);
        }
    }
    let rate = best.ok_or_else(|| Error::input("rates: expected at least one"))?.setting.learning_rate;
    for seed in 1..=options.seeds {
        run(learned, "test", rate, seed)?;
    }
    Ok(())
}

async fn train(
    Engines { engine, counted }: &Engines,
    options: &Options,
    (task, method): (&Task, &Method),
    setting: Setting,
) -> Result<Run> {
    let model = engine.model();
    let configs: Vec<ReftConfig> =
        method.configs.iter().map(|config| ReftConfig { seed: setting.seed, ..config.clone() }).collect();
    let head = task.outputs.map(|outputs| HeadConfig {
        outputs,
        bias: false,
        pooling: Pooling::Last,
        seed: setting.seed,
    });
    let device_bytes = device_bytes(counted, &configs, head, &task.learn).await?;
    let reft = Reft::with_head(model, &configs, head)?;
    let mut trainer = Trainer::new(&model.backend, &reft)?;
    let held = if setting.asked == "tune" { &task.tune } else { &task.test };
    let held = engine.sequences(&reft, held)?;
    let held: Vec<&Sequence> = held.iter().collect();
    let training = TrainOptions {
        epochs: setting.budget,
        learning_rate: setting.learning_rate,
        schedule: "linear".to_owned(),
        seed: setting.seed,
        ..TrainOptions::default()
    };
    let mut training = engine.training(&reft, &task.learn, &training)?;
    let (mut steps, mut losses, mut accuracies) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    while let Some(step) = training.next(model, &reft, &mut trainer).await? {
        if step.step % options.every == 0 || step.step == step.steps {
            let report = trainer.evaluate(model, &reft, &held)?.report().await?;
            steps.push((step.step + 1).min(step.steps)); // the next one is made before a step is told
            losses.push(Some(report.mean).filter(|loss| loss.is_finite()));
            accuracies.push(report.accuracy);
        }
    }
    Ok(Run {
        setting,
        trained: reft.n_params(),
        saved_bytes: reft.save(model).await?.len(),
        device_bytes,
        seconds: start.elapsed().as_secs_f64(),
        steps,
        losses,
        accuracies,
    })
}

/// What a training takes beyond the model: two epochs, for what is kept of the first.
async fn device_bytes(
    counted: &Engine,
    configs: &[ReftConfig],
    head: Option<HeadConfig>,
    learn: &[Example],
) -> Result<u64> {
    let model = counted.model();
    let before = model.backend.memory();
    model.backend.restart_peak();
    let reft = Reft::with_head(model, configs, head)?;
    let mut trainer = Trainer::new(&model.backend, &reft)?;
    let options = TrainOptions { epochs: 2, ..TrainOptions::default() };
    let mut training = counted.training(&reft, learn, &options)?;
    while training.next(model, &reft, &mut trainer).await?.is_some() {}
    Ok(model.backend.peak() - before)
}
