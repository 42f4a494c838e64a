//! `webreft steer`: steering vectors from contrast pairs.

use super::output::{print, print_json};
use super::reft::layers;
use super::{ModelOptions, check_writable, read, write};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use webreft::Result;
use webreft::backend::NoControl;
use webreft::data;
use webreft::engine::SteerOptions;
use webreft::reft::{Components, Layers, SteerMethod};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// A file of pairs: JSON lines, a JSON array, CSV or TSV with the fields `positive` and `negative`, each a text or a list of messages.
    #[arg(long)]
    pairs: PathBuf,
    /// File that the vectors are saved to.
    #[arg(long)]
    save: PathBuf,
    /// Layers, each with a vector of its own: all, middle, 2,4 or 2-8.
    #[arg(long, value_parser = layers, default_value = "all")]
    layers: Layers,
    /// Part of a layer, by pyvene's name, or several separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "block_output")]
    component: Vec<String>,
    /// Tokens that are steered.
    #[arg(long, default_value = "all")]
    positions: String,
    /// Tokens of a pair whose hidden states are compared; of several the mean counts.
    #[arg(long, default_value = "-1", allow_hyphen_values = true)]
    read: String,
    /// Direction: mean (of the differences) or pca (their first principal component, of length 1).
    #[arg(long, value_parser = SteerMethod::named, default_value = "mean")]
    method: SteerMethod,
}

pub(super) fn run(options: &Options, json: bool) -> Result<()> {
    check_writable("--save", &options.save)?;
    let pairs = data::read_pairs(&read(&options.pairs)?);
    let pairs = pairs.map_err(|error| error.at(options.pairs.display()))?;
    let engine = options.model.load()?;
    let steer = SteerOptions {
        layers: options.layers.clone(),
        component: Components::List(options.component.clone()),
        positions: options.positions.clone(),
        read: options.read.clone(),
        method: options.method,
    };
    let reft = pollster::block_on(engine.steer(&pairs, &steer, &NoControl))?;
    write(&options.save, &pollster::block_on(reft.save(engine.model()))?)?;
    let (saved, count) = (options.save.display().to_string(), reft.interventions.len());
    match json {
        true => print_json(&json!({ "saved": saved, "pairs": pairs.len(), "vectors": count })),
        false => print(&format!("saved {saved}: {count} steering vectors of {} pairs\n", pairs.len())),
    }
    Ok(())
}
