//! Fuzzing: libFuzzer makes inputs for each target for a while, two targets at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::shell::{command, output_of, root, run};
use crate::{tools, wasm};

/// What libFuzzer's code wants of the compiler: a counter at each edge, and what is compared. All of it is stable Rust's.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Targets at work at a time.
const AT_ONCE: usize = 2;
/// An input that takes more seconds hangs.
const TIMEOUT: u32 = 20;
/// What a target may take, in MiB, what it has found included.
const MEMORY: u32 = 2048;

/// What is fuzzed.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Targets; all of them if left out
    targets: Vec<String>,
}

impl Options {
    /// Every target for half a minute: what `cargo xtask test` has time for.
    pub(crate) fn short() -> Options {
        Options { seconds: 30, targets: Vec::new() }
    }
}

/// Where things lie: the program, the first inputs and what was found, a folder each for each target.
struct Folders {
    program: PathBuf,
    seeds: PathBuf,
    found: PathBuf,
}

pub(crate) fn fuzz(options: &Options) -> Result<()> {
    tools::cpp()?;
    let folders = build()?;
    let mut targets = targets(&folders.seeds)?;
    if let Some(name) = options.targets.iter().find(|name| !targets.contains(name)) {
        bail!("no target {name:?} (targets: {})", targets.join(", "));
    }
    if !options.targets.is_empty() {
        targets.clone_from(&options.targets);
    }
    let (left, failed) = (Mutex::new(targets.into_iter()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(target) = { left.lock().expect("no other panicked").next() } {
            match run_target(&folders, &target, options.seconds) {
                Ok(line) => println!("{line}"),
                Err(error) => {
                    eprintln!("{target}: {error:#}");
                    failed.lock().expect("no other panicked").push(target);
                }
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().expect("no other panicked");
    if !failed.is_empty() {
        bail!("{} found what should not be", failed.join(", "));
    }
    Ok(())
}

/// Builds the program, and writes the first inputs anew. Build scripts are left as they are: hence the target.
fn build() -> Result<Folders> {
    let root = root();
    let folder = wasm::target_dir(&root).join("fuzz");
    let host = output_of(&mut command(&root, "rustc --print host-tuple"))?;
    let cargo = format!("cargo build --package webreft-fuzz --target {host} --target-dir");
    run(command(&root, &cargo).arg(&folder).env("RUSTFLAGS", FLAGS))?;
    let seeds = folder.join("seeds");
    if seeds.exists() {
        fs::remove_dir_all(&seeds)?;
    }
    let program =
        folder.join(host).join("debug").join(format!("webreft-fuzz{}", std::env::consts::EXE_SUFFIX));
    run(command(&root, &program.to_string_lossy()).env("WEBREFT_FUZZ_SEEDS", &seeds))?;
    Ok(Folders { program, seeds, found: folder.join("found") })
}

/// The targets are the folders of first inputs.
fn targets(seeds: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(seeds).with_context(|| format!("reading {}", seeds.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

/// Fuzzes one target; what it did in a line, or what it said where it failed.
fn run_target(folders: &Folders, target: &str, seconds: u32) -> Result<String> {
    let found = folders.found.join(target);
    fs::create_dir_all(&found)?;
    let artifacts = format!("{}/", folders.found.display());
    let mut fuzzer = command(&root(), &folders.program.to_string_lossy());
    fuzzer.env("WEBREFT_FUZZ", target).stdin(Stdio::null()).arg(format!("-max_total_time={seconds}"));
    fuzzer.args([format!("-timeout={TIMEOUT}"), format!("-rss_limit_mb={MEMORY}")]);
    fuzzer.args([format!("-artifact_prefix={artifacts}{target}-"), "-print_final_stats=1".to_owned()]);
    let output =
        fuzzer.arg(&found).arg(folders.seeds.join(target)).output().context("starting the fuzzer")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
        bail!("{}\n{}", output.status, lines[lines.len().saturating_sub(40)..].join("\n"));
    }
    let after = |word: &str| said.rsplit_once(word).and_then(|(_, rest)| rest.split_whitespace().next());
    let figure = |word: &str| after(word).unwrap_or("?").to_owned();
    let (runs, edges) = (figure("stat::number_of_executed_units:"), figure(" cov: "));
    Ok(format!("{target:<16} {runs:>9} runs {edges:>6} edges {:>5} MB", figure("stat::peak_rss_mb:")))
}
