//! `webreft lab bench`: how fast a model runs here.

use super::ModelOptions;
use super::output::print_json;
use clap::Args;
use serde::Serialize;
use std::fs;
use std::time::Instant;
use webreft::Result;
use webreft::bench::{self, BenchOptions, plans};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Tokens of the prompt, and of the training batch.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Sequences among which the training batch is divided.
    #[arg(long, default_value_t = 1)]
    sequences: usize,
    /// Measure single plans instead, against a plain copy and plain multiply-adds.
    #[arg(long)]
    plans: bool,
}

/// What was measured, and what only the process knows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    #[serde(flatten)]
    report: bench::Report,
    /// Seconds from the file's name to a model that answers.
    load_seconds: f64,
    /// Bytes of memory that the process had at the most, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss: Option<u64>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let engine = options.model.load()?;
    let load_seconds = start.elapsed().as_secs_f64();
    if options.plans {
        print_json(&pollster::block_on(plans::run(&engine, options.tokens))?);
        return Ok(());
    }
    let bench = BenchOptions { tokens: options.tokens, sequences: options.sequences };
    let report = pollster::block_on(bench::run(&engine, &bench))?;
    print_json(&Measured { report, load_seconds, peak_rss: peak_rss() });
    Ok(())
}

/// The most bytes that this process had in memory; Linux tells.
fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?)
}
