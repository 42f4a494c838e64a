//! What interventions are asked for, and whether the model can have them.

use super::kinds::{Encoded, Function, KINDS, Kind};
use super::params::Sizes;
use super::positions::Positions;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::kernel::{Activation, Learned};
use crate::model::{Component, Input, Place, Window};
use serde::{Deserialize, Serialize};

/// What a kind has of its own.
const USUAL: &str = "usual";

/// Interventions of one kind to make: places, rank and positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReftConfig {
    /// The name of one of [`KINDS`].
    pub kind: String,
    /// The layers, counted from 0; or `usual`, which is all of them for nearly every kind.
    pub layers: Layers,
    /// The parts of a layer: pyvene's names, with `head_` in front of them for single heads; or `usual`, the kind's own.
    pub component: Components,
    /// The heads, counted from 0, where the component is one of heads.
    pub heads: Vec<usize>,
    /// Dimensions of the subspace.
    pub rank: usize,
    /// As [`Positions::parse`] reads it; or `usual`, the kind's own: `f1+l1` for most and `all` for LoRA.
    pub positions: String,
    /// Whether one intervention edits all of the positions, where each word of them has one of its own otherwise.
    pub tied: bool,
    /// Whether the interventions of all layers share their parameters.
    pub shared: bool,
    /// The function around what is learned: `linear`, `gelu`, `relu`, `silu` or `tanh`; or `usual`, the kind's own.
    pub act: String,
    /// Whether a free projection has a bias, too.
    pub add_bias: bool,
    /// What the edit is multiplied by: alpha / rank, as in LoRA; 0 stands for 1.
    pub alpha: f32,
    /// Whether it is alpha / √rank instead (rsLoRA, arXiv:2312.03732).
    pub rslora: bool,
    /// Virtual tokens before the prompt, for the kinds that have them.
    pub virtual_tokens: usize,
    /// Width of the network that learned rows follow from; 0 is the kind's own.
    pub encoder: usize,
    /// The layer of the other run whose hidden states are read, for the kinds that read one; the edited layer itself if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_layer: Option<usize>,
    /// Where the random start comes from.
    pub seed: u64,
}

impl Default for ReftConfig {
    fn default() -> ReftConfig {
        ReftConfig {
            kind: KINDS[0].name.to_owned(),
            layers: Layers::default(),
            component: Components::default(),
            heads: Vec::new(),
            rank: 4,
            positions: USUAL.to_owned(),
            tied: false,
            shared: false,
            act: USUAL.to_owned(),
            add_bias: false,
            alpha: 0.0,
            rslora: false,
            virtual_tokens: 8,
            encoder: 0,
            source_layer: None,
            seed: 0,
        }
    }
}

/// One part of a layer, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Components {
    /// One.
    One(String),
    /// Several.
    List(Vec<String>),
}

impl Default for Components {
    fn default() -> Components {
        Components::One(USUAL.to_owned())
    }
}

impl From<&str> for Components {
    fn from(name: &str) -> Components {
        Components::One(name.to_owned())
    }
}

impl Components {
    fn is_usual(&self) -> bool {
        match self {
            Components::One(name) => name == USUAL,
            Components::List(names) => matches!(names.as_slice(), [name] if name == USUAL),
        }
    }

    fn list<'a>(&'a self, kind: &'a Kind) -> Vec<&'a str> {
        let names = match self {
            Components::One(name) => std::slice::from_ref(name),
            Components::List(names) => names,
        };
        match self.is_usual() {
            true => kind.usual.components.to_vec(),
            false => names.iter().map(String::as_str).collect(),
        }
    }
}

/// Some layers, or one of the words `all`, `first`, `middle` and `usual`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    /// These, in this order.
    List(Vec<usize>),
    /// A word.
    Word(String),
}

impl Default for Layers {
    fn default() -> Layers {
        Layers::Word(USUAL.to_owned())
    }
}

impl Layers {
    fn list(&self, kind: &Kind, n_layer: usize) -> Result<Vec<usize>> {
        let list = match self {
            Layers::List(list) => list.clone(),
            Layers::Word(word) => match if word == USUAL { kind.usual.layers } else { word } {
                "all" => (0..n_layer).collect(),
                "first" => vec![0],
                "middle" => vec![n_layer / 2],
                other => {
                    let message = format!(
                        "layers {other:?}: expected a list, \"all\", \"first\", \"middle\" or \"usual\""
                    );
                    return Err(Error::input(message));
                }
            },
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

/// What is asked for, or the kind's own.
fn or_usual<'a>(asked: &'a str, usual: &'static str) -> &'a str {
    if asked == USUAL { usual } else { asked }
}

/// One intervention that is asked for, with all that the model says about it.
pub(super) struct Site {
    pub(super) kind: &'static Kind,
    pub(super) place: Place,
    /// The layer of the other run that it reads, if its kind reads one.
    pub(super) source_layer: usize,
    /// The head it stands in, where it stands in one.
    pub(super) head: Option<usize>,
    pub(super) window: Window,
    pub(super) positions: Positions,
    pub(super) sizes: Sizes,
    pub(super) act: Activation,
    pub(super) scale: f32,
    /// The number of the site, among those of this configuration, whose parameters it has.
    pub(super) owner: usize,
    /// Its first column among the learned rows of the owner.
    pub(super) column: usize,
}

impl ReftConfig {
    /// The interventions in the order in which they are applied at one place: pyreft's, all of the prefix before all of the suffix.
    pub(super) fn check(&self, dims: &Dims) -> Result<Vec<Site>> {
        let kind = Kind::named(&self.kind)
            .ok_or_else(|| Error::not_known("kind", &self.kind, KINDS.map(|kind| kind.name)))?;
        let act = or_usual(&self.act, kind.usual.act);
        let act = Activation::ALL
            .into_iter()
            .find(|known| known.name() == act)
            .ok_or_else(|| Error::not_known("act", act, Activation::ALL.map(Activation::name)))?;
        if kind.detects() && act != Activation::Linear {
            return Err(Error::input(format!("act {}: {} has no function around b", act.name(), kind.name)));
        }
        let layers = self.layers.list(kind, dims.n_layer)?;
        let positions = or_usual(&self.positions, kind.usual.positions);
        let parts = Positions::parse(positions)?.parts(self.tied);
        if kind.is_virtual() {
            self.check_virtual(kind)?;
        }
        if kind.has_magnitude() {
            self.check_magnitude(kind, positions)?;
        }
        self.check_source(kind, dims.n_layer)?;
        let mut points = Vec::new();
        for name in self.component.list(kind) {
            points.extend(self.points(name, kind, dims)?);
        }
        let (n_points, n_layers) = (points.len(), layers.len());
        let mut sites = Vec::with_capacity(parts.len() * n_layers * n_points);
        for (part, positions) in parts.iter().enumerate() {
            for layer in &layers {
                for (number, point) in points.iter().enumerate() {
                    let first = if self.shared { part * n_layers * n_points + number } else { sites.len() };
                    sites.push(Site {
                        kind,
                        place: Place { layer: *layer, component: point.component },
                        source_layer: self.source_layer.unwrap_or(*layer),
                        head: point.head,
                        window: point.window,
                        positions: positions.clone(),
                        sizes: point.sizes.clone(),
                        act,
                        scale: self.scale(),
                        owner: first,
                        column: 0,
                    });
                }
            }
        }
        if let Function::Rows { encoder, .. } = kind.function {
            self.join(&mut sites, encoder);
        }
        Ok(sites)
    }

    /// Whether it has virtual tokens.
    pub(super) fn is_virtual(&self) -> bool {
        Kind::named(&self.kind).is_some_and(Kind::is_virtual)
    }

    /// Fails on places and positions for a kind that has virtual tokens, which are everywhere and come before the prompt.
    fn check_virtual(&self, kind: &Kind) -> Result<()> {
        let usual = ReftConfig::default();
        let placed = self.layers != usual.layers || !self.component.is_usual();
        if placed || self.positions != usual.positions || self.tied || self.shared || !self.heads.is_empty() {
            let name = kind.name;
            return Err(Error::input(format!(
                "{name}: has places and positions of its own; leave out layers, component, heads, positions, tied and shared"
            )));
        }
        match (self.virtual_tokens, self.encoder) {
            (1..=1024, 0..=8192) => Ok(()),
            (1..=1024, n) => Err(Error::input(format!("encoder {n}: expected 0 to 8192"))),
            (n, _) => Err(Error::input(format!("virtualTokens {n}: expected 1 to 1024"))),
        }
    }

    /// Fails on a layer of another run that there is not, or that the kind does not read.
    fn check_source(&self, kind: &Kind, n_layer: usize) -> Result<()> {
        match self.source_layer {
            Some(_) if !kind.reads_source() => {
                let name = kind.name;
                Err(Error::input(format!("sourceLayer: {name} reads no other run; leave it out")))
            }
            Some(layer) if layer >= n_layer => {
                Err(Error::input(format!("sourceLayer {layer}: the model has layers 0 to {}", n_layer - 1)))
            }
            _ => Ok(()),
        }
    }

    /// Fails on what would give magnitudes of one matrix's rows to several, or count them as pyreft counts edits.
    fn check_magnitude(&self, kind: &Kind, positions: &str) -> Result<()> {
        let name = kind.name;
        if self.shared {
            return Err(Error::input(format!(
                "{name}: learns the lengths of one matrix's rows; leave out shared"
            )));
        }
        match positions.starts_with("pyreft:") {
            false => Ok(()),
            true => Err(Error::input(format!(
                "positions {positions:?}: pyreft has no {name}; leave out \"pyreft:\""
            ))),
        }
    }

    /// Makes the sites' learned rows columns of one matrix, which the first of them owns. What an encoder reads is as wide as one
    /// site, as in peft: for keys and values that is G·K.
    fn join(&self, sites: &mut [Site], encoder: Encoded) {
        let (mut width, of_one) = (0, sites[0].window.width);
        for site in sites.iter_mut() {
            (site.owner, site.column) = (0, width);
            width += site.window.width;
        }
        let widths = match (encoder, self.encoder) {
            (Encoded::No, _) | (Encoded::IfAsked(..), 0) => Vec::new(),
            (Encoded::By(n_layers, _), 0) => [vec![of_one; n_layers], vec![width]].concat(),
            (Encoded::By(n_layers, _) | Encoded::IfAsked(n_layers, _), hidden) => {
                [vec![of_one], vec![hidden; n_layers - 1], vec![width]].concat()
            }
        };
        for site in sites {
            site.sizes = Sizes::of_rows(site.window.width, self.virtual_tokens, width, &widths);
        }
    }

    /// What the edit is multiplied by.
    pub(super) fn scale(&self) -> f32 {
        let rank = self.rank as f32;
        match (self.alpha, self.rslora) {
            (0.0, _) => 1.0,
            (alpha, false) => alpha / rank,
            (alpha, true) => alpha / rank.sqrt(),
        }
    }

    /// The points of a layer that a component's name stands for: one, or one for each head.
    fn points(&self, name: &str, kind: &Kind, dims: &Dims) -> Result<Vec<Point>> {
        let (of_heads, stem) = match name.strip_prefix("head_") {
            Some(stem) => (true, stem),
            None => (false, name),
        };
        let component = Component::ALL.into_iter().find(|component| component.name() == stem);
        let n_heads = component.and_then(|component| component.heads(dims));
        let component = component.filter(|_| !of_heads || n_heads.is_some()).ok_or_else(|| {
            let heads = Component::ALL
                .into_iter()
                .filter(|c| c.heads(dims).is_some())
                .map(|c| format!("head_{}", c.name()));
            let known = Component::ALL.map(|c| c.name().to_owned()).into_iter().chain(heads);
            Error::not_known("component", name, known)
        })?;
        let whole = component.window(dims);
        if !of_heads {
            if !self.heads.is_empty() {
                return Err(Error::input(format!(
                    "heads: component {name:?} has none; use head_{name} or leave them out"
                )));
            }
            return Ok(vec![self.point(name, kind, dims, component, None, whole)?]);
        }
        let n_heads = n_heads.expect("a component of heads");
        if self.heads.is_empty() || self.heads.iter().any(|head| *head >= n_heads) {
            let heads = &self.heads;
            return Err(Error::input(format!(
                "heads {heads:?} of {name}: expected some of 0 to {}",
                n_heads - 1
            )));
        }
        let width = dims.head_dim;
        let window = |head: usize| Window { first: whole.first + head * width, width };
        let point = |head: &usize| self.point(name, kind, dims, component, Some(*head), window(*head));
        self.heads.iter().map(point).collect()
    }

    fn point(
        &self,
        name: &str,
        kind: &Kind,
        dims: &Dims,
        component: Component,
        head: Option<usize>,
        window: Window,
    ) -> Result<Point> {
        let learned = match kind.function {
            Function::LowRank { learned, .. } => Some(learned),
            _ => None,
        };
        let input = |input: Input, what: &str| {
            let width = component.input_width(dims, input);
            width.ok_or_else(|| {
                Error::input(format!("{} at {name}: expected the output of {what}", kind.name))
            })
        };
        let n_in = match learned {
            Some(Learned::Input) => input(Input::Matrix, "a weight matrix")?,
            Some(Learned::SublayerInput) => input(Input::Sublayer, "attention or of the feed-forward layer")?,
            _ => window.width,
        };
        let most = window.width.min(n_in);
        if learned.is_some() && !(1..=most).contains(&self.rank) {
            return Err(Error::input(format!(
                "rank {}: expected 1 to {most}, the width of {name}",
                self.rank
            )));
        }
        let sizes = Sizes::of(kind, window.width, n_in, self.rank, self.add_bias);
        Ok(Point { component, head, window, sizes })
    }
}

/// Where in a layer an intervention stands.
struct Point {
    component: Component,
    head: Option<usize>,
    window: Window,
    sizes: Sizes,
}
