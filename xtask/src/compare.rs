//! The comparison of methods: the engine trains and asks, this writes what came of it as a table and as plots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use plotters::prelude::*;
use serde::Deserialize;

use crate::shell::{command, root};
use crate::wasm;

/// What is compared.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The tasks, separated by commas; all thirteen styles with --tasks all
    #[arg(long, default_value = "pirate,yoda,true or false,by heart")]
    tasks: String,
    /// The methods, separated by semicolons; all of them if left out
    #[arg(long)]
    methods: Option<String>,
    /// The task whose examples choose the rates for all tasks; each task chooses its own if left out
    #[arg(long)]
    rates_of: Option<String>,
    /// Trainings of each method with its chosen rate
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Forget the runs that are there; without it they are not made again
    #[arg(long)]
    anew: bool,
}

/// One line of `webreft lab compare`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    task: String,
    method: String,
    asked: String,
    learning_rate: f64,
    trained: usize,
    saved_bytes: usize,
    device_bytes: u64,
    seconds: f64,
    steps: Vec<usize>,
    /// None where a training went astray.
    losses: Vec<Option<f64>>,
    accuracies: Vec<Option<f64>>,
}

pub(crate) fn compare(options: &Options) -> Result<()> {
    let folder = wasm::target_dir(&root()).join("compare");
    fs::create_dir_all(&folder)?;
    let path = folder.join("runs.jsonl");
    if options.anew && path.exists() {
        fs::remove_file(&path)?;
    }
    run(options, &path)?;
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let runs = text.lines().map(serde_json::from_str).collect::<Result<Vec<Run>, _>>()?;
    let mut tasks: Vec<&str> = Vec::new();
    for run in &runs {
        if !tasks.contains(&run.task.as_str()) {
            tasks.push(&run.task);
        }
    }
    let mut tables = String::new();
    for task in tasks {
        let rows = rows(runs.iter().filter(|run| run.task == task && run.asked == "test"));
        writeln!(tables, "{}", table(task, &rows))?;
        plot(&folder, task, &rows)?;
    }
    fs::write(folder.join("table.md"), &tables)?;
    print!("{tables}");
    println!("runs, table and plots: {}", folder.display());
    Ok(())
}

/// Has the engine make the runs that are not there. The twins are faster than a CPU that plays GPU, and compute the same.
fn run(options: &Options, path: &Path) -> Result<()> {
    let root = root();
    let cargo =
        "cargo run --quiet --release --package webreft --bin webreft -- lab compare --backend cpu --model";
    let mut engine = command(&root, cargo);
    engine.arg(root.join("nano/webreft-nano-q8_0.gguf")).arg("--plan").arg(root.join("nano/compare.json"));
    engine.arg("--runs").arg(path).args(["--seeds", &options.seeds.to_string()]);
    if options.tasks != "all" {
        engine.args(["--tasks", &options.tasks]);
    }
    if let Some(task) = &options.rates_of {
        engine.args(["--rates-of", task]);
    }
    if let Some(methods) = &options.methods {
        engine.args(["--methods", methods]);
    }
    ensure!(engine.status().context("starting the engine")?.success(), "webreft lab compare failed");
    Ok(())
}

/// A method's runs on a task.
struct Row<'a> {
    method: &'a str,
    runs: Vec<&'a Run>,
}

fn rows<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for run in runs {
        match rows.iter_mut().find(|row| row.method == run.method) {
            Some(row) => row.runs.push(run),
            None => rows.push(Row { method: &run.method, runs: vec![run] }),
        }
    }
    rows
}

impl Row<'_> {
    /// Steps made before each look, and the mean of the losses then.
    fn curve(&self) -> Vec<(usize, f64)> {
        let mut looks: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for run in &self.runs {
            for (step, loss) in run.steps.iter().zip(&run.losses) {
                looks.entry(*step).or_default().push(loss.unwrap_or(f64::NAN));
            }
        }
        looks.into_iter().map(|(step, losses)| (step, mean(&losses))).collect()
    }

    /// The first look at which the mean loss is no more than `most`.
    fn steps_to(&self, most: f64) -> Option<usize> {
        self.curve().into_iter().find(|(_, loss)| *loss <= most).map(|(step, _)| step)
    }

    fn of_runs(&self, figure: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().map(|run| figure(run)).collect()
    }
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len() as f64
}

fn last(figures: &[Option<f64>]) -> f64 {
    figures.last().copied().flatten().unwrap_or(f64::NAN)
}

/// The mean, and between what the seeds lie.
fn spread(figures: &[f64], show: impl Fn(f64) -> String) -> String {
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match show(low) == show(high) {
        true => show(low),
        false => format!("{} ({} to {})", show(mean(figures)), show(low), show(high)),
    }
}

fn table(task: &str, rows: &[Row<'_>]) -> String {
    let finals = rows.iter().map(|row| mean(&row.of_runs(|run| last(&run.losses))));
    let best = finals.filter(|loss| loss.is_finite()).fold(f64::INFINITY, f64::min);
    // A loss of next to nothing would be out of reach of all others: a tenth of a nat above it will do as well.
    let reached = (1.1 * best).max(best + 0.1);
    let mut text = format!("### {task}\n\n");
    text += "| method | trained | right | held-out loss | steps to the best + 10 % | rate | seconds | device, kB | file, kB |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for row in rows {
        let run = row.runs[0];
        let right =
            spread(&row.of_runs(|run| 100.0 * last(&run.accuracies)), |share| format!("{share:.1} %"));
        let loss = spread(&row.of_runs(|run| last(&run.losses)), |loss| format!("{loss:.3}"));
        let steps = row.steps_to(reached).map_or("not".to_owned(), |steps| steps.to_string());
        let seconds = mean(&row.of_runs(|run| run.seconds));
        let _ = writeln!(
            text,
            "| {} | {} | {right} | {loss} | {steps} | {} | {seconds:.1} | {} | {} |",
            row.method,
            run.trained,
            run.learning_rate,
            run.device_bytes.div_ceil(1000),
            run.saved_bytes.div_ceil(1000),
        );
    }
    text
}

/// The held-out loss of each method over steps, as `<task>.svg`.
fn plot(folder: &Path, task: &str, rows: &[Row<'_>]) -> Result<()> {
    let path: PathBuf = folder.join(format!("{}.svg", task.replace(' ', "-")));
    let curves: Vec<_> = rows.iter().map(|row| (row.method, row.curve())).collect();
    let all = || curves.iter().flat_map(|(_, curve)| curve).filter(|(_, loss)| loss.is_finite());
    let most_steps = all().map(|(step, _)| *step).max().unwrap_or(1);
    let (low, high) =
        all().fold((f64::INFINITY, 0.0f64), |(low, high), (_, loss)| (low.min(*loss), high.max(*loss)));
    let area = SVGBackend::new(&path, (960, 540)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{task}: held-out loss"), ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0..most_steps, (low.max(1e-4)..high.max(1e-3)).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|loss| format!("{loss:.2}"))
        .x_desc("steps")
        .y_desc("nats, mean of the seeds")
        .draw()?;
    for (number, (method, curve)) in curves.into_iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let points = curve.into_iter().filter(|(_, loss)| loss.is_finite());
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(method)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
