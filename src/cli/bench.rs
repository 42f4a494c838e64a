//! `webreft bench`: how fast a model runs here.

use super::{ModelOptions, print_line};
use clap::Args;
use std::time::Instant;
use webreft::{Result, bench};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Tokens of the prompt, and of the training batch.
    #[arg(long, default_value_t = 256)]
    tokens: usize,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let engine = options.model.load()?;
    let start = Instant::now();
    let clock = || start.elapsed().as_secs_f64() * 1e3;
    print_line(&pollster::block_on(bench::run(&engine, options.tokens, &clock))?);
    Ok(())
}
