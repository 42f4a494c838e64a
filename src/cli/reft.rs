//! Options that say which interventions are trained.

use super::read;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use webreft::data::Data;
use webreft::engine::Engine;
use webreft::reft::kinds::KINDS;
use webreft::reft::{Components, HeadConfig, Layers, Pooling, Reft, ReftConfig};
use webreft::{Error, Result};

/// Layers that an option may name at most.
const MOST_LAYERS: usize = 10_000;

#[derive(Args)]
pub(super) struct ReftOptions {
    /// A JSON file of what `model.reft` takes in JavaScript: a configuration, a list of them, or {"reft": …, "head": …}.
    #[arg(long, conflicts_with_all = [
        "kind", "component", "alpha", "act", "virtual_tokens", "encoder", "layers", "rank", "positions", "tied", "head", "pooling",
    ])]
    config: Option<PathBuf>,
    /// Kind of intervention.
    #[arg(long, default_value = "loreft", value_parser = kinds())]
    kind: String,
    /// Parts of a layer, separated by commas: block_output, mlp_output, query_output, …; the kind's own by default.
    #[arg(long, value_delimiter = ',', default_value = "usual", hide_default_value = true)]
    component: Vec<String>,
    /// Layers from 0: all, first, middle, a list like 2,4 or a range like 2-8; the kind's own by default, which is all for nearly every kind.
    #[arg(long, value_parser = layers)]
    layers: Option<Layers>,
    /// Dimensions of each subspace.
    #[arg(long, default_value_t = 4)]
    rank: usize,
    /// Edited tokens: fN, lM, fN+lM, all, prompt, generated, 3, -1, 2:5; the kind's own by default, f1+l1 for most kinds.
    #[arg(long, default_value = "usual", hide_default_value = true, allow_hyphen_values = true)]
    positions: String,
    /// Use one intervention for both ends of the prompt.
    #[arg(long)]
    tied: bool,
    /// LoRA's alpha: edits are multiplied by alpha / rank; 0 leaves them.
    #[arg(long, default_value_t = 0.0)]
    alpha: f32,
    /// Function around what is learned: linear, gelu, relu, silu or tanh; the kind's own by default.
    #[arg(long, default_value = "usual", hide_default_value = true)]
    act: String,
    /// Virtual tokens before the prompt, for the kinds that have them.
    #[arg(long, default_value_t = 8)]
    virtual_tokens: usize,
    /// Width of the network that virtual tokens follow from; 0 is the kind's own.
    #[arg(long, default_value_t = 0)]
    encoder: usize,
    /// Outputs of a trained head, for examples with labels or values, whose own number is the default; 1 for a reward, from chosen and
    /// rejected answers.
    #[arg(long)]
    head: Option<usize>,
    /// What the head reads.
    #[arg(long, value_enum, default_value_t = Pool::Last)]
    pooling: Pool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pool {
    /// The last token.
    Last,
    /// The mean of all tokens.
    Mean,
}

/// A head, as JSON describes it.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Head {
    outputs: Option<usize>,
    classes: Vec<String>,
    bias: bool,
    pooling: Pooling,
    seed: u64,
}

/// Configurations beside a head.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithHead {
    reft: Value,
    head: Option<Head>,
}

impl ReftOptions {
    /// New interventions; with a head, if the examples need one, which has their classes if it has none of its own.
    pub(super) fn make(&self, engine: &Engine, seed: u64, data: &Data) -> Result<Reft> {
        let (configs, head) = match &self.config {
            Some(path) => read_config(path)?,
            None => (vec![self.config(seed)], self.head.map(|outputs| self.head(outputs, seed))),
        };
        let head = match head {
            None if data.outputs() > 0 => Some(self.head(data.outputs(), seed)),
            head => head,
        };
        let mut names = head.as_ref().map(|head| head.classes.clone()).unwrap_or_default();
        if names.is_empty() {
            names.clone_from(&data.classes);
        }
        let config = head.map(|head| HeadConfig {
            outputs: head.outputs.unwrap_or(if names.is_empty() { data.outputs() } else { names.len() }),
            bias: head.bias,
            pooling: head.pooling,
            seed: head.seed,
        });
        Reft::with_head(engine.model(), &configs, config)?.with_classes(names)
    }

    fn head(&self, outputs: usize, seed: u64) -> Head {
        let pooling = match self.pooling {
            Pool::Last => Pooling::Last,
            Pool::Mean => Pooling::Mean,
        };
        Head { outputs: Some(outputs), pooling, seed, ..Head::default() }
    }

    fn config(&self, seed: u64) -> ReftConfig {
        ReftConfig {
            kind: self.kind.clone(),
            component: match self.component.as_slice() {
                [one] => Components::One(one.clone()),
                several => Components::List(several.to_vec()),
            },
            alpha: self.alpha,
            virtual_tokens: self.virtual_tokens,
            encoder: self.encoder,
            act: self.act.clone(),
            layers: self.layers.clone().unwrap_or_default(),
            rank: self.rank,
            positions: self.positions.clone(),
            tied: self.tied,
            seed,
            ..ReftConfig::default()
        }
    }
}

/// The names of all kinds, with their equations.
fn kinds() -> impl clap::builder::TypedValueParser<Value = String> {
    let values = KINDS.iter().map(|kind| PossibleValue::new(kind.name).help(kind.equation));
    PossibleValuesParser::new(values).map(|name| name)
}

/// Reads layers: a word, or numbers and ranges separated by commas.
pub(super) fn layers(text: &str) -> Result<Layers> {
    if ["all", "first", "middle", "usual"].contains(&text) {
        return Ok(Layers::Word(text.to_owned()));
    }
    let wrong = |part: &str| {
        Error::input(format!("{part:?}: expected all, first, middle, a list like 2,4 or a range like 2-8"))
    };
    let mut list: Vec<usize> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(|number| number.trim().parse::<usize>().ok());
        let (first, last) =
            first.zip(last).filter(|(first, last)| first <= last).ok_or_else(|| wrong(part))?;
        if last - first >= MOST_LAYERS {
            return Err(wrong(part));
        }
        list.extend(first..=last);
    }
    Ok(Layers::List(list))
}

fn read_config(path: &Path) -> Result<(Vec<ReftConfig>, Option<Head>)> {
    let at = |error: serde_json::Error| Error::input(format!("{}: {error}", path.display()));
    let value: Value = serde_json::from_slice(&read(path)?).map_err(at)?;
    let (configs, head) = match value.get("reft") {
        Some(_) => {
            let WithHead { reft, head } = serde_json::from_value(value).map_err(at)?;
            (reft, head)
        }
        None => (value, None),
    };
    let configs = match configs {
        Value::Array(configs) => configs,
        config => vec![config],
    };
    let configs = (1..).zip(configs).map(|(number, config)| {
        serde_json::from_value(config).map_err(|error| at(error).at(format!("configuration {number}")))
    });
    Ok((configs.collect::<Result<_>>()?, head))
}

#[cfg(test)]
mod tests {
    use super::layers;
    use webreft::reft::Layers;

    #[test]
    fn layers_are_words_lists_and_ranges() {
        let list = |text| match layers(text) {
            Ok(Layers::List(list)) => list,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(list("2,4"), [2, 4]);
        assert_eq!(list("2-4, 7"), [2, 3, 4, 7]);
        assert_eq!(layers("middle"), Ok(Layers::Word("middle".to_owned())));
        for text in ["", "2,", "4-2", "last", "-1", "0-99999999999"] {
            let error = layers(text).expect_err(text).to_string();
            assert!(
                error.contains("expected all, first, middle, a list like 2,4 or a range like 2-8"),
                "{error}"
            );
        }
    }
}
