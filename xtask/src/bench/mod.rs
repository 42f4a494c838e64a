//! How fast webreft is: natively and in headless Chromium, on the CPU and on the GPU. Figures go into a file, and as a table to stdout.

mod table;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::serve::serve;
use crate::shell::{command, output, output_of, root, run};
use crate::{tools, wasm, www};

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A GGUF file; may be given several times; webreft-nano if left out
    #[arg(long)]
    model: Vec<PathBuf>,
    /// Where it runs, separated by commas; everywhere if left out, where a software adapter is no native GPU
    #[arg(long = "where", value_enum, value_delimiter = ',')]
    places: Vec<Place>,
    /// Tokens of the prompt, and of the training batch
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Sequences among which the training batch is divided
    #[arg(long, default_value_t = 1)]
    sequences: usize,
    /// Write the figures into this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure nothing: take the figures of a file that --json wrote
    #[arg(long, conflicts_with_all = ["model", "places", "json"])]
    from: Option<PathBuf>,
    /// Put the table into README.md, too
    #[arg(long)]
    readme: bool,
}

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    /// The CPU, one thread
    NativeCpu1,
    /// The CPU, a thread for each core
    NativeCpu,
    /// The GPU, natively
    NativeGpu,
    /// The CPU in headless Chromium, which has one thread
    ChromiumCpu,
    /// The GPU in headless Chromium: SwiftShader, or the real one where WEBREFT_ADAPTER is gpu
    ChromiumGpu,
}

/// Everything that was measured in one run.
#[derive(Serialize, Deserialize)]
struct Measured {
    /// The commit that was checked out.
    commit: String,
    /// The machine's processor.
    cpu: String,
    cores: usize,
    rows: Vec<Row>,
}

/// A model at a place.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    place: Place,
    file: String,
    file_bytes: u64,
    #[serde(flatten)]
    figures: Figures,
}

/// What `webreft lab bench` and `node bench.mjs` print.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    device: String,
    backend: String,
    model: String,
    tokens: usize,
    sequences: usize,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    step_ms: f64,
    kept_step_ms: f64,
    tensor_bytes: u64,
    load_seconds: f64,
    /// Of a native process, where the system tells.
    peak_rss: Option<u64>,
    /// Of a browser.
    wasm_bytes: Option<u64>,
    /// The GPU's name as the browser tells it.
    adapter: Option<String>,
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    let measured = match &options.from {
        Some(file) => read(file)?,
        None => measure(options)?,
    };
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&measured)? + "\n";
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    let table = table::table(&measured);
    print!("{table}");
    if options.readme {
        table::put_into(&root().join("README.md"), &table)?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<Measured> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: expected what --json wrote", file.display()))
}

fn measure(options: &Options) -> Result<Measured> {
    let nano = [root().join("nano/webreft-nano-q8_0.gguf")];
    let models = if options.model.is_empty() { &nano[..] } else { &options.model };
    let mut places = options.places.clone();
    if places.is_empty() {
        places = Place::value_variants().to_vec();
    }
    let machines = Machines::prepare(&places)?;
    let mut rows = Vec::new();
    for model in models {
        let model = model.canonicalize().with_context(|| format!("opening {}", model.display()))?;
        let file_bytes = fs::metadata(&model)?.len();
        let file = model.file_name().expect("a file has a name").to_string_lossy().into_owned();
        for &place in &places {
            eprintln!("{file}: {place:?}");
            let figures = machines.figures(place, &model, options)?;
            if options.places.is_empty() && place == Place::NativeGpu && figures.backend == "cpu" {
                eprintln!("there is no GPU; --where native-gpu measures a software adapter");
                continue;
            }
            rows.push(Row { place, file: file.clone(), file_bytes, figures });
        }
    }
    ensure!(!rows.is_empty(), "nothing was measured: there is no GPU");
    let commit = output(&mut command(&root(), "git describe --always --dirty"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Measured { commit: commit.unwrap_or_default(), cpu: cpu(), cores, rows })
}

/// What runs a model.
struct Machines {
    native: PathBuf,
    /// The package's address, and the browser; none if no place is in one.
    browser: Option<(String, PathBuf)>,
}

impl Machines {
    /// Builds and finds what these places want.
    fn prepare(places: &[Place]) -> Result<Machines> {
        let in_browser = |place: &Place| matches!(place, Place::ChromiumCpu | Place::ChromiumGpu);
        if places.contains(&Place::NativeGpu) {
            tools::vulkan()?;
        }
        if !places.iter().all(in_browser) {
            let cargo = "cargo build --release --package webreft --bin webreft";
            run(&mut command(&root(), cargo))?;
        }
        let native = wasm::target_dir(&root()).join(format!("release/webreft{}", env::consts::EXE_SUFFIX));
        let browser = if places.iter().any(in_browser) {
            let chromium = tools::chromium()?;
            wasm::build()?;
            www::build()?;
            Some((serve(&www::dir().join("webreft"), 0)?, chromium))
        } else {
            None
        };
        Ok(Machines { native, browser })
    }

    fn figures(&self, place: Place, model: &Path, options: &Options) -> Result<Figures> {
        let printed = match place {
            Place::NativeCpu1 => self.native(model, options, "--backend cpu --threads 1"),
            Place::NativeCpu => self.native(model, options, "--backend cpu"),
            Place::NativeGpu if options.places.is_empty() => self.native(model, options, "--backend auto"),
            Place::NativeGpu => self.native(model, options, "--backend gpu"),
            Place::ChromiumCpu => self.browser(model, options, "cpu"),
            Place::ChromiumGpu => self.browser(model, options, "gpu"),
        }?;
        serde_json::from_str(&printed).with_context(|| format!("reading {printed:?}"))
    }

    fn native(&self, model: &Path, options: &Options, machine: &str) -> Result<String> {
        let mut webreft = Command::new(&self.native);
        webreft.args(["lab", "bench"]).args(machine.split(' ')).arg("--model").arg(model);
        let (tokens, sequences) = (options.tokens.to_string(), options.sequences.to_string());
        output_of(webreft.args(["--tokens", &tokens, "--sequences", &sequences]))
    }

    fn browser(&self, model: &Path, options: &Options, backend: &str) -> Result<String> {
        let (address, chromium) = self.browser.as_ref().expect("prepared");
        let mut node = command(&www::dir(), &format!("node bench.mjs {address} {backend}"));
        let (tokens, sequences) = (options.tokens.to_string(), options.sequences.to_string());
        output_of(node.arg(model).args([tokens, sequences]).env("WEBREFT_CHROMIUM", chromium))
    }
}

/// The processor's name, where Linux tells.
fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "an unknown CPU".to_owned(), |(_, name)| name.to_owned())
}
