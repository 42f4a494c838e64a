//! peft's directory of a LoRA, both ways: W₀·x + (alpha / r)·B·A·x (Hu et al. 2021, arXiv:2106.09685); or of a DoRA, the same with
//! learned lengths of rows (Liu et al. 2024, arXiv:2402.09353).
//!
//! ```text
//! adapter_config.json         r, lora_alpha, and by module rank_pattern, alpha_pattern; use_rslora (alpha / √r), use_dora
//! adapter_model.safetensors   base_model.model.model.layers.<L>.self_attn.<projection>.lora_A.weight  [r, in]
//!                             base_model.model.model.layers.<L>.self_attn.<projection>.lora_B.weight  [out, r]
//!                             base_model.model.model.layers.<L>.self_attn.<projection>.lora_magnitude_vector  [out], DoRA's
//!                             base_model.model.score.weight  [classes, width], a classifier's head
//! ```
//!
//! Every pair in the file is loaded, whatever `target_modules` says; a module that it names and the file does not have is the
//! base model's, as in peft.

use super::keys::shown;
use super::peft_files::{CONFIG, Directory, Numbers, check_rest, directory};
use super::peft_names::{Name, OneAdapter};
use super::peft_patterns::{Ordered, check_selection};
use super::{File, Interventions, alike, transposed, values_of};
use crate::error::{Error, Result};
use crate::model::Component;
use crate::reft::{
    Arithmetic, Components, HeadConfig, HeadParams, Intervention, Layers, Params, Reft, ReftConfig,
};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const LORA: &str = "lora";
const DORA: &str = "dora";
pub(super) const ROOT: &str = "base_model.model.model";

/// A LoRA as peft keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftLora {
    /// The rank of a pair that no pattern names.
    pub r: usize,
    /// The alpha of a pair that no pattern names.
    pub alpha: f32,
    /// Whether it is alpha / √r.
    pub rslora: bool,
    /// Whether it is a DoRA.
    pub dora: bool,
    /// The pairs, in the order of layers and of names.
    pub pairs: Vec<PeftPair>,
    /// A classifier's head.
    pub head: Option<(HeadConfig, HeadParams)>,
}

/// The pair of matrices beside one matrix of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftPair {
    /// Counted from 0.
    pub layer: usize,
    /// The matrix: `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj` or `down_proj`.
    pub projection: String,
    /// R.
    pub rank: usize,
    /// What B·A·x is multiplied by, times R, or √R.
    pub alpha: f32,
    /// A [R, in].
    pub a: Vec<f32>,
    /// B [out, R].
    pub b: Vec<f32>,
    /// m `[out]`, of a DoRA; else empty.
    pub magnitude: Vec<f32>,
}

/// The matrices that a LoRA may stand beside: peft's name, their block, and where their output is.
pub(super) const PROJECTIONS: [(&str, &str, Component); 7] = [
    ("q_proj", "self_attn", Component::QueryOutput),
    ("k_proj", "self_attn", Component::KeyOutput),
    ("v_proj", "self_attn", Component::ValueOutput),
    ("o_proj", "self_attn", Component::AttentionOutput),
    ("gate_proj", "mlp", Component::GateOutput),
    ("up_proj", "mlp", Component::UpOutput),
    ("down_proj", "mlp", Component::MlpOutput),
];

impl PeftLora {
    /// The LoRA as interventions: one configuration for the layers that have pairs of one rank and one alpha at the same matrices.
    ///
    /// # Errors
    /// `Unsupported` if an alpha is 0, which leaves nothing of a pair.
    pub fn interventions(&self) -> Result<Interventions> {
        let mut interventions = Interventions { head: self.head.clone(), ..Interventions::default() };
        let mut settings: Vec<(usize, f32)> = Vec::new();
        for pair in &self.pairs {
            if pair.alpha == 0.0 {
                let (layer, projection) = (pair.layer, &pair.projection);
                return Err(Error::unsupported(format!(
                    "layer {layer} {projection}: alpha 0: expected another number, for it changes nothing"
                )));
            }
            if !settings.contains(&(pair.rank, pair.alpha)) {
                settings.push((pair.rank, pair.alpha));
            }
        }
        for (rank, alpha) in settings {
            let pairs: Vec<&PeftPair> =
                self.pairs.iter().filter(|pair| (pair.rank, pair.alpha) == (rank, alpha)).collect();
            let config = ReftConfig {
                kind: if self.dora { DORA } else { LORA }.to_owned(),
                rank,
                positions: "all".to_owned(),
                alpha,
                rslora: self.rslora,
                ..ReftConfig::default()
            };
            interventions.add_pairs(&pairs, &config);
        }
        Ok(interventions)
    }

    /// Interventions as a LoRA, if they are one; shared parameters become copies.
    ///
    /// # Errors
    /// `Unsupported` if there are others among them, or a head; `Device` if the parameters cannot be read.
    pub async fn of(reft: &Reft) -> Result<PeftLora> {
        let settings = |config: &ReftConfig| (is_root(config), config.kind == DORA);
        let (rslora, dora) = settings(&reft.configs[0]);
        if reft.configs.iter().any(|config| settings(config) != (rslora, dora)) || reft.head.is_some() {
            return Err(Error::unsupported(
                "expected a LoRA or a DoRA, rank-stabilized everywhere or nowhere, without a head",
            ));
        }
        let values = reft.values().await?;
        let mut pairs: Vec<PeftPair> = Vec::new();
        for it in &reft.interventions {
            let (layer, component) = (it.place.layer, it.place.component);
            let row = PROJECTIONS
                .iter()
                .find(|row| row.2 == component)
                .filter(|_| [LORA, DORA].contains(&it.kind.name));
            let everywhere = it.positions.to_string() == "all";
            let Some((projection, ..)) = row.filter(|_| it.head.is_none() && everywhere) else {
                let (kind, positions) = (it.kind.name, &it.positions);
                return Err(Error::unsupported(format!(
                    "{kind} at {} of layer {layer}, positions {positions}: expected lora or dora on whole matrices at all positions, for peft has no others",
                    component.name()
                )));
            };
            if pairs.iter().any(|pair| pair.layer == layer && pair.projection == *projection) {
                let kind = it.kind.name;
                return Err(Error::unsupported(format!(
                    "layer {layer} {projection}: expected one {kind}, got two"
                )));
            }
            let params = values_of(reft, it, &values);
            let b = transposed(&params.projection, it.sizes.n_embd);
            let (a, projection) = (params.weight.clone(), (*projection).to_owned());
            let magnitude = params.part(MAGNITUDE).to_vec();
            let rank = it.sizes.rank;
            let alpha = alpha_of(reft, it);
            pairs.push(PeftPair { layer, projection, rank, alpha, a, b, magnitude });
        }
        pairs.sort_by(|a, b| (a.layer, &a.projection).cmp(&(b.layer, &b.projection)));
        let (r, alpha) = (pairs[0].rank, pairs[0].alpha);
        Ok(PeftLora { r, alpha, rslora, dora, pairs, head: None })
    }
}

impl Interventions {
    /// Appends pairs with the same settings, all of `config` but layers and components.
    fn add_pairs(&mut self, pairs: &[&PeftPair], config: &ReftConfig) {
        let mut layers: BTreeMap<usize, Vec<&PeftPair>> = BTreeMap::new();
        pairs.iter().for_each(|pair| layers.entry(pair.layer).or_default().push(pair));
        let components = |pairs: &[&PeftPair]| {
            let of =
                |pair: &&PeftPair| row_of(&pair.projection).expect("a matrix of a layer").2.name().to_owned();
            pairs.iter().map(of).collect::<Vec<String>>()
        };
        let each = layers.iter().map(|(layer, pairs)| (*layer, components(pairs)));
        for (components, of_layers) in alike(each) {
            for pair in of_layers.iter().flat_map(|layer| &layers[layer]) {
                let projection = transposed(&pair.b, pair.rank);
                let weight = pair.a.clone();
                let mut params = Params { projection, weight, ..Params::default() };
                if config.kind == DORA {
                    params.others.insert(MAGNITUDE, pair.magnitude.clone());
                }
                self.params.push(params);
            }
            self.configs.push(ReftConfig {
                layers: Layers::List(of_layers),
                component: Components::List(components),
                ..config.clone()
            });
        }
    }
}

/// Whether alpha is divided by the root of the rank.
fn is_root(config: &ReftConfig) -> bool {
    config.rslora && config.alpha != 0.0
}

/// The alpha that an intervention has in peft; ours without one are multiplied by 1.
fn alpha_of(reft: &Reft, it: &Intervention) -> f32 {
    let scale = match it.arithmetic {
        Arithmetic::LowRank { magnitude: Some(magnitude), .. } => magnitude.scale,
        _ => it.scale,
    };
    let own = reft.configs.iter().find(|config| config.rank == it.sizes.rank && config.scale() == scale);
    let config = own.expect("its own configuration");
    if config.alpha == 0.0 { config.rank as f32 } else { config.alpha }
}

/// Our name of m.
const MAGNITUDE: &str = "magnitude";

fn row_of(projection: &str) -> Option<&'static (&'static str, &'static str, Component)> {
    PROJECTIONS.iter().find(|(name, ..)| *name == projection)
}

/// Reads a directory.
///
/// # Errors
/// `File` for what is wrong with a file, `Unsupported` for adapters that are not LoRAs or DoRAs of a layer's matrices.
pub fn read(files: &[File]) -> Result<PeftLora> {
    let mut directory = Directory::open(files)?;
    let head = directory.take_head()?;
    let settings = Settings::read(&directory).map_err(|error| error.at(CONFIG))?;
    let weights = directory.weights;
    let triples = triples(std::mem::take(&mut directory.tensors)).map_err(|error| error.at(weights))?;
    let modules: Vec<(usize, &str)> =
        triples.iter().map(|((layer, _), triple)| (*layer, triple.path.as_str())).collect();
    check_selection(&directory.config, &modules).map_err(|error| error.at(CONFIG))?;
    let paths: Vec<&str> = modules.iter().map(|(_, path)| *path).collect();
    let scales = settings.of(&paths).map_err(|error| error.at(CONFIG))?;
    let dora = settings.dora;
    let pairs = triples.into_iter().zip(scales).map(|(((layer, projection), triple), (rank, alpha))| {
        let [a, b, magnitude] = triple.values(layer, &projection, rank, dora)?;
        Ok(PeftPair { layer, projection, rank, alpha, a, b, magnitude })
    });
    let pairs: Vec<PeftPair> = pairs.collect::<Result<_>>().map_err(|error| error.at(weights))?;
    if pairs.is_empty() {
        return Err(Error::file("expected lora_A and lora_B of some matrix, got none").at(weights));
    }
    let Settings { r, alpha, rslora, .. } = settings;
    Ok(PeftLora { r, alpha, rslora, dora, pairs, head })
}

/// What the configuration says of pairs.
struct Settings {
    r: usize,
    alpha: f32,
    rslora: bool,
    dora: bool,
    patterns: Patterns,
}

/// The parts of the configuration in which the order of keys counts.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Patterns {
    rank_pattern: Option<Ordered>,
    alpha_pattern: Option<Ordered>,
}

impl Settings {
    fn read(directory: &Directory<'_>) -> Result<Settings> {
        let config = &directory.config;
        let patterns = serde_json::from_slice(directory.config_text)
            .map_err(|error| Error::file(format!("rank_pattern, alpha_pattern: {error}")))?;
        let (rslora, dora) = (flag(config, "use_rslora")?, flag(config, "use_dora")?);
        let (r, alpha) = (rank("r", &config["r"])?, alpha("lora_alpha", &config["lora_alpha"])?);
        Ok(Settings { r, alpha, rslora, dora, patterns })
    }

    /// Rank and alpha of the modules with these paths.
    fn of(&self, paths: &[&str]) -> Result<Vec<(usize, f32)>> {
        let values = |patterns: &Option<Ordered>, key: &str| match patterns {
            Some(patterns) => {
                let values = patterns.of(key, paths)?;
                Ok(values.into_iter().map(|value| value.cloned()).collect::<Vec<Option<Value>>>())
            }
            None => Ok(vec![None; paths.len()]),
        };
        let ranks = values(&self.patterns.rank_pattern, "rank_pattern")?;
        let alphas = values(&self.patterns.alpha_pattern, "alpha_pattern")?;
        let both = ranks.into_iter().zip(alphas).map(|(own_rank, own_alpha)| {
            let rank = own_rank.map_or(Ok(self.r), |value| rank("rank_pattern", &value))?;
            let alpha = own_alpha.map_or(Ok(self.alpha), |value| alpha("alpha_pattern", &value))?;
            Ok((rank, alpha))
        });
        both.collect()
    }
}

fn flag(config: &Value, key: &str) -> Result<bool> {
    match &config[key] {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        other => Err(Error::unsupported(format!("{key} {}: expected false or true", shown(other)))),
    }
}

fn rank(key: &str, value: &Value) -> Result<usize> {
    let rank = value.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| *rank > 0);
    rank.ok_or_else(|| Error::file(format!("{key} {}: expected a count from 1 on", shown(value))))
}

fn alpha(key: &str, value: &Value) -> Result<f32> {
    let alpha = value.as_f64().map(|alpha| alpha as f32).filter(|alpha| alpha.is_finite());
    alpha.ok_or_else(|| Error::file(format!("{key} {}: expected a number", shown(value))))
}

/// The tensors beside a matrix.
const PARTS: [&str; 3] = ["lora_A", "lora_B", "lora_magnitude_vector"];
const EXPECTED: &str =
    "…layers.<L>.<block>.<projection>.lora_A.weight, lora_B or lora_magnitude_vector, or score.weight";

/// The tensors beside one matrix: its path in the base model, and [`PARTS`] with their names.
#[derive(Default)]
struct Triple {
    path: String,
    parts: [Option<(String, Numbers)>; 3],
}

/// The tensors of a file, by layer and matrix.
fn triples(tensors: BTreeMap<String, Numbers>) -> Result<BTreeMap<(usize, String), Triple>> {
    let mut rest = BTreeMap::new();
    let mut triples: BTreeMap<(usize, String), Triple> = BTreeMap::new();
    let names: Vec<String> = tensors.keys().cloned().collect();
    let mut adapter = OneAdapter::default();
    for (name, (key, numbers)) in names.iter().zip(tensors) {
        let place = Name::parse(name).and_then(|place| {
            let part = PARTS.iter().position(|part| *part == place.part)?;
            (row_of(place.projection)?.1 == place.block).then_some((place, part))
        });
        let Some((place, part)) = place else {
            rest.insert(key, numbers);
            continue;
        };
        adapter.check(&place).map_err(|error| error.at(format!("tensor {name:?}")))?;
        let triple = triples.entry((place.layer, place.projection.to_owned())).or_default();
        place.path.clone_into(&mut triple.path);
        if let Some((other, _)) = triple.parts[part].replace((key, numbers)) {
            return Err(Error::file(format!(
                "tensor {name:?}: the same matrix has two of them, {other:?} is one"
            )));
        }
    }
    check_rest(&rest, EXPECTED)?;
    Ok(triples)
}

impl Triple {
    /// A, B and m, which are as large as the rank says; m of a DoRA, else empty.
    fn values(self, layer: usize, projection: &str, rank: usize, dora: bool) -> Result<[Vec<f32>; 3]> {
        let expected = [format!("[{rank}, in]"), format!("[out, {rank}]"), "[out]".to_owned()];
        let mut values = [None, None, None];
        for ((part, found), expected) in self.parts.into_iter().enumerate().zip(expected) {
            let Some((name, Numbers { shape, values: numbers })) = found else { continue };
            let fits = match (part, &shape[..]) {
                (0, [rows, _]) | (1, [_, rows]) => *rows == rank,
                (part, [_]) => part == 2,
                _ => false,
            };
            if !fits {
                return Err(Error::file(format!(
                    "tensor {name:?}: expected {expected}, the rank of r or rank_pattern, got {shape:?}"
                )));
            }
            values[part] = Some(numbers);
        }
        match values {
            [Some(a), Some(b), magnitude] if magnitude.is_some() == dora => {
                Ok([a, b, magnitude.unwrap_or_default()])
            }
            [Some(_), Some(_), magnitude] => {
                let (expected, got) =
                    (if dora { "a" } else { "no" }, if magnitude.is_some() { "one" } else { "none" });
                Err(Error::file(format!(
                    "layer {layer} {projection}: use_dora {dora}: expected {expected} lora_magnitude_vector, got {got}"
                )))
            }
            _ => Err(Error::file(format!("layer {layer} {projection}: expected both lora_A and lora_B"))),
        }
    }
}

/// Writes a directory that `PeftModel.from_pretrained` reads.
///
/// # Panics
/// If a matrix is not one of a layer's, or its numbers are not R rows or columns.
pub fn write(lora: &PeftLora, base_model: &str) -> Vec<File> {
    let mut tensors: Vec<(String, TensorView<'_>)> = Vec::new();
    for pair in &lora.pairs {
        let block = row_of(&pair.projection).expect("a matrix of a layer").1;
        let stem = format!("{ROOT}.layers.{}.{block}.{}", pair.layer, pair.projection);
        let a = [pair.rank, pair.a.len() / pair.rank];
        let b = [pair.b.len() / pair.rank, pair.rank];
        for (side, shape, values) in [("lora_A", a, &pair.a), ("lora_B", b, &pair.b)] {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values));
            tensors.push((format!("{stem}.{side}.weight"), view.expect("the shape holds the values")));
        }
        if lora.dora {
            let values = bytemuck::cast_slice(&pair.magnitude);
            let view = TensorView::new(Dtype::F32, vec![pair.magnitude.len()], values);
            tensors.push((format!("{stem}.{}", PARTS[2]), view.expect("the shape holds the values")));
        }
    }
    let targets: BTreeSet<&str> = lora.pairs.iter().map(|pair| pair.projection.as_str()).collect();
    let layers: BTreeSet<usize> = lora.pairs.iter().map(|pair| pair.layer).collect();
    let mut config = json!({
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_to_transform": layers,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.r,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": lora.dora,
        "use_rslora": lora.rslora,
    });
    // A key that changes nothing is left out, as in the files of before.
    for (key, pattern) in patterns(lora) {
        if !pattern.is_empty() {
            config[key] = Value::Object(pattern);
        }
    }
    directory(&config, tensors)
}

/// The ranks and the alphas that are not those of most pairs, by the paths of their matrices.
fn patterns(lora: &PeftLora) -> [(&'static str, serde_json::Map<String, Value>); 2] {
    let mut patterns = [("rank_pattern", serde_json::Map::new()), ("alpha_pattern", serde_json::Map::new())];
    for pair in &lora.pairs {
        let block = row_of(&pair.projection).expect("a matrix of a layer").1;
        let path = format!("model.layers.{}.{block}.{}", pair.layer, pair.projection);
        if pair.rank != lora.r {
            patterns[0].1.insert(path.clone(), json!(pair.rank));
        }
        if pair.alpha != lora.alpha {
            patterns[1].1.insert(path, json!(pair.alpha));
        }
    }
    patterns
}
