//! `webreft scores`: what a trained head says of texts.

use super::output::{print, print_json, table};
use super::{ModelOptions, load_reft, read};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use webreft::Result;
use webreft::data;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Interventions with a head: a file that `train` saved.
    #[arg(long)]
    reft: PathBuf,
    /// A text; may be given several times.
    #[arg(long, conflicts_with = "texts", required_unless_present = "texts")]
    text: Vec<String>,
    /// A file of texts: JSON lines, a JSON array, CSV or TSV with the field `text`.
    #[arg(long)]
    texts: Option<PathBuf>,
}

pub(super) fn run(options: &Options, json: bool) -> Result<()> {
    let texts = match &options.texts {
        Some(path) => data::read_texts(&read(path)?).map_err(|error| error.at(path.display()))?,
        None => options.text.clone(),
    };
    let engine = options.model.load()?;
    let reft = load_reft(&engine, &options.reft)?;
    for text in texts {
        let scores = pollster::block_on(engine.scores(&reft, std::slice::from_ref(&text)))?;
        let scores = scores.into_iter().flatten().collect::<Vec<f32>>();
        match json {
            true => print_json(&json!({ "text": text, "scores": named(&scores, &reft.classes) })),
            false => print(&format!("{text}\n{}", listed(&scores, &reft.classes))),
        }
    }
    Ok(())
}

/// Scores by the names of the classes; a list where they have none.
fn named(scores: &[f32], classes: &[String]) -> Value {
    match classes {
        [] => json!(scores),
        names => Value::Object(
            names.iter().cloned().zip(scores.iter().map(|score| json!(score))).collect::<Map<_, _>>(),
        ),
    }
}

/// A line for each score, the highest first where there are several.
fn listed(scores: &[f32], classes: &[String]) -> String {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
    let rows = order.into_iter().map(|at| {
        let name = classes.get(at).cloned().unwrap_or_else(|| at.to_string());
        vec![format!("  {name}"), format!("{:.4}", scores[at])]
    });
    table(&rows.collect::<Vec<_>>())
}
