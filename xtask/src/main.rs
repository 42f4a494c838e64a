//! `cargo xtask`: builds, tests, serves and measures webreft.
//!
//! Each command does its own set-up: it installs what is missing, or says in one line what to install.

mod bench;
mod compare;
mod demo;
mod faults;
mod fuzz;
mod models;
mod script;
mod serve;
mod shapes;
mod shell;
mod test;
mod tools;
mod wasm;
mod www;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests, serves and measures webreft")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the page, serve it on localhost and open a browser
    Demo(demo::Options),
    /// Run the checks: formatting, lints, Rust, a real model, wasm, TypeScript, page, fuzzing
    Test(test::Options),
    /// Fetch the real models that tests run, and print the variables that name them
    Models(models::Options),
    /// Measure prefill, decode and a training step, natively and in headless Chromium, and print a table
    Bench(bench::Options),
    /// Train methods on the same tasks with the same budget, and write a table and plots of what came of it
    Compare(compare::Options),
    /// Try every fault at every place, and use the package for long: an hour or more. The package must be built
    Faults,
    /// Give everything that is read from outside inputs that libFuzzer makes
    Fuzz(fuzz::Options),
    /// Run the script for pyreft in one process and in several, and take back what it trains
    Script,
    /// Build the wasm file and its JavaScript glue into www/webreft/wasm
    Wasm,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Demo(options) => demo::demo(&options).map(|()| ExitCode::SUCCESS),
        Command::Test(options) => Ok(test::test(&options)),
        Command::Models(options) => models::models(&options).map(|()| ExitCode::SUCCESS),
        Command::Bench(options) => bench::bench(&options).map(|()| ExitCode::SUCCESS),
        Command::Compare(options) => compare::compare(&options).map(|()| ExitCode::SUCCESS),
        Command::Faults => faults::all().map(|()| ExitCode::SUCCESS),
        Command::Fuzz(options) => fuzz::fuzz(&options).map(|()| ExitCode::SUCCESS),
        Command::Script => script::script().map(|()| ExitCode::SUCCESS),
        Command::Wasm => wasm::build().map(|()| ExitCode::SUCCESS),
    }
}
