//! What interventions are asked for, and whether the model can have them.

use super::positions::{Part, Positions};
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::kernel::Activation;
use crate::model::{Component, Place};
use serde::{Deserialize, Serialize};

/// The kinds of intervention there are.
pub const KINDS: [&str; 1] = ["loreft"];

/// The interventions to make: kind, places, rank and positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReftConfig {
    /// `loreft`
    #[serde(default = "loreft")]
    pub kind: String,
    /// The layers, counted from 0.
    #[serde(default)]
    pub layers: Layers,
    /// `block_output`, `mlp_output` or `attention_output`.
    #[serde(default = "block_output")]
    pub component: String,
    /// Dimensions of the subspace.
    #[serde(default = "rank")]
    pub rank: usize,
    /// `fN`, `lM`, `fN+lM` or `all`.
    #[serde(default = "positions")]
    pub positions: String,
    /// Whether one intervention edits both ends of the prompt.
    #[serde(default)]
    pub tied: bool,
    /// The function around W·h + b: `linear`, `gelu`, `relu`, `silu` or `tanh`.
    #[serde(default = "linear")]
    pub act: String,
    /// Where the random start comes from.
    #[serde(default)]
    pub seed: u64,
}

fn loreft() -> String {
    KINDS[0].to_owned()
}

fn block_output() -> String {
    Component::BlockOutput.name().to_owned()
}

fn rank() -> usize {
    4
}

fn positions() -> String {
    "f1+l1".to_owned()
}

fn linear() -> String {
    Activation::default().name().to_owned()
}

impl Default for ReftConfig {
    fn default() -> ReftConfig {
        ReftConfig {
            kind: loreft(),
            layers: Layers::default(),
            component: block_output(),
            rank: rank(),
            positions: positions(),
            tied: false,
            act: linear(),
            seed: 0,
        }
    }
}

/// Some layers, or the word `all`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    /// These, in this order.
    List(Vec<usize>),
    /// `all`
    Word(String),
}

impl Default for Layers {
    fn default() -> Layers {
        Layers::Word("all".to_owned())
    }
}

impl Layers {
    fn list(&self, n_layer: usize) -> Result<Vec<usize>> {
        let list = match self {
            Layers::List(list) => list.clone(),
            Layers::Word(word) if word == "all" => (0..n_layer).collect(),
            Layers::Word(word) => {
                return Err(Error::input(format!("layers {word:?}: expected a list or \"all\"")));
            }
        };
        if list.is_empty() {
            return Err(Error::input("layers: expected at least one"));
        }
        for (at, layer) in list.iter().enumerate() {
            if *layer >= n_layer {
                return Err(Error::input(format!(
                    "layer {layer}: the model has layers 0 to {}",
                    n_layer - 1
                )));
            }
            if list[..at].contains(layer) {
                return Err(Error::input(format!("layer {layer} is listed twice")));
            }
        }
        Ok(list)
    }
}

/// A configuration that fits the model.
pub(super) struct Checked {
    /// Where each intervention stands and what it edits: all of the prefix before all of the suffix, as pyreft has it.
    pub(super) sites: Vec<(Place, Part)>,
    pub(super) positions: Positions,
    pub(super) act: Activation,
}

impl ReftConfig {
    pub(super) fn check(&self, dims: &Dims) -> Result<Checked> {
        one_of("kind", &self.kind, KINDS)?;
        let component = one_of("component", &self.component, Component::ALL.map(Component::name))?;
        let act = one_of("act", &self.act, Activation::ALL.map(Activation::name))?;
        let layers = self.layers.list(dims.n_layer)?;
        if !(1..=dims.n_embd).contains(&self.rank) {
            return Err(Error::input(format!(
                "rank {}: expected 1 to {}, the model's width",
                self.rank, dims.n_embd
            )));
        }
        let positions = Positions::parse(&self.positions)?;
        let place = |layer| Place { layer, component: Component::ALL[component] };
        let sites = positions.parts(self.tied).iter();
        let sites = sites.flat_map(|part| layers.iter().map(|layer| (place(*layer), *part))).collect();
        Ok(Checked { sites, positions, act: Activation::ALL[act] })
    }
}

/// Where `got` stands among the names there are.
fn one_of<const N: usize>(what: &str, got: &str, names: [&str; N]) -> Result<usize> {
    names
        .iter()
        .position(|name| *name == got)
        .ok_or_else(|| Error::input(format!("{what} {got:?} is not known (known: {})", names.join(", "))))
}
