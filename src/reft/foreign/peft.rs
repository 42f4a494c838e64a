//! peft's directory of a LoRA (0.13.2), both ways: W₀·x + (alpha / r)·B·A·x (Hu et al. 2021, arXiv:2106.09685); or of a DoRA, the
//! same with learned lengths of rows (Liu et al. 2024, arXiv:2402.09353).
//!
//! ```text
//! adapter_config.json         r, lora_alpha, use_rslora (alpha / √r), use_dora, target_modules
//! adapter_model.safetensors   base_model.model.model.layers.<L>.self_attn.<projection>.lora_A.weight  [R, in]
//!                             base_model.model.model.layers.<L>.self_attn.<projection>.lora_B.weight  [out, R]
//!                             base_model.model.model.layers.<L>.self_attn.<projection>.lora_magnitude_vector  [out], DoRA's
//! ```

use super::{File, Interventions, alike, find, json, transposed, values_of};
use crate::error::{Error, Result};
use crate::model::Component;
use crate::reft::{Components, Layers, Params, Reft, ReftConfig};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
const LORA: &str = "lora";
const DORA: &str = "dora";
pub(super) const ROOT: &str = "base_model.model.model";

/// A LoRA as peft keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftLora {
    /// R, of every pair.
    pub r: usize,
    /// What B·A·x is multiplied by, times r, or √r.
    pub alpha: f32,
    /// Whether it is alpha / √r.
    pub rslora: bool,
    /// Whether it is a DoRA.
    pub dora: bool,
    /// The pairs, in the order of layers and of names.
    pub pairs: Vec<PeftPair>,
}

/// The pair of matrices beside one matrix of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftPair {
    /// Counted from 0.
    pub layer: usize,
    /// The matrix: `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj` or `down_proj`.
    pub projection: String,
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
    /// The LoRA as interventions: one configuration for the layers that have pairs at the same matrices.
    ///
    /// # Errors
    /// `Unsupported` if alpha is 0, which leaves nothing of it.
    pub fn interventions(&self) -> Result<Interventions> {
        if self.alpha == 0.0 {
            return Err(Error::unsupported("lora_alpha 0: expected another number, for it changes nothing"));
        }
        let mut layers: BTreeMap<usize, Vec<&PeftPair>> = BTreeMap::new();
        self.pairs.iter().for_each(|pair| layers.entry(pair.layer).or_default().push(pair));
        let components = |pairs: &[&PeftPair]| {
            let of =
                |pair: &&PeftPair| row_of(&pair.projection).expect("a matrix of a layer").2.name().to_owned();
            pairs.iter().map(of).collect::<Vec<String>>()
        };
        let mut interventions = Interventions::default();
        let each = layers.iter().map(|(layer, pairs)| (*layer, components(pairs)));
        for (components, of_layers) in alike(each) {
            for pair in of_layers.iter().flat_map(|layer| &layers[layer]) {
                let projection = transposed(&pair.b, self.r);
                let weight = pair.a.clone();
                let mut params = Params { projection, weight, ..Params::default() };
                if self.dora {
                    params.others.insert(MAGNITUDE, pair.magnitude.clone());
                }
                interventions.params.push(params);
            }
            interventions.configs.push(ReftConfig {
                kind: if self.dora { DORA } else { LORA }.to_owned(),
                layers: Layers::List(of_layers),
                component: Components::List(components),
                rank: self.r,
                positions: "all".to_owned(),
                alpha: self.alpha,
                rslora: self.rslora,
                ..ReftConfig::default()
            });
        }
        Ok(interventions)
    }

    /// Interventions as a LoRA, if they are one; shared parameters become copies.
    ///
    /// # Errors
    /// `Unsupported` if there are others among them, or of several ranks or scales, or a head; `Device` if the parameters cannot be
    /// read.
    pub async fn of(reft: &Reft) -> Result<PeftLora> {
        let settings = |config: &ReftConfig| (config.rank, config.alpha, config.rslora, config.kind == DORA);
        let (r, alpha, rslora, dora) = settings(&reft.configs[0]);
        if reft.configs.iter().any(|config| settings(config) != (r, alpha, rslora, dora))
            || reft.head.is_some()
        {
            return Err(Error::unsupported(
                "expected a LoRA or a DoRA of one rank and one alpha, without a head",
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
            pairs.push(PeftPair { layer, projection, a, b, magnitude });
        }
        pairs.sort_by(|a, b| (a.layer, &a.projection).cmp(&(b.layer, &b.projection)));
        // Ours without an alpha are multiplied by 1.
        let (alpha, rslora) = if alpha == 0.0 { (r as f32, false) } else { (alpha, rslora) };
        Ok(PeftLora { r, alpha, rslora, dora, pairs })
    }
}

/// Our name of m.
const MAGNITUDE: &str = "magnitude";

fn row_of(projection: &str) -> Option<&'static (&'static str, &'static str, Component)> {
    PROJECTIONS.iter().find(|(name, ..)| *name == projection)
}

/// Reads a directory.
///
/// # Errors
/// `File` for what is wrong with a file, `Unsupported` for adapters that are not plain LoRAs or DoRAs.
pub fn read(files: &[File]) -> Result<PeftLora> {
    let (config, weights) = open(files)?;
    let (r, alpha, rslora) = settings(&config).map_err(|error| error.at(CONFIG))?;
    let dora = config["use_dora"] == true;
    let pairs = pairs(weights, r, dora).map_err(|error| error.at(WEIGHTS))?;
    Ok(PeftLora { r, alpha, rslora, dora, pairs })
}

/// A directory's configuration, and the bytes of its tensors.
pub(super) fn open(files: &[File]) -> Result<(Value, &[u8])> {
    let file = |name: &str| find(files, name)?.ok_or_else(|| Error::file(format!("{name} is missing")));
    Ok((json(CONFIG, file(CONFIG)?)?, file(WEIGHTS)?))
}

/// Options that change what is computed, with the values that change nothing, or what can be read.
const PLAIN: [(&str, &[&str]); 8] = [
    ("use_dora", &["false", "true"]),
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
    ("rank_pattern", &["{}"]),
    ("alpha_pattern", &["{}"]),
    ("layer_replication", &["[]"]),
    ("modules_to_save", &["[]"]),
    ("lora_bias", &["false"]),
];

fn settings(config: &Value) -> Result<(usize, f32, bool)> {
    if config["peft_type"] != "LORA" {
        return Err(Error::unsupported(format!(
            "peft_type {}: expected LORA, IA3, PROMPT_TUNING, P_TUNING or PREFIX_TUNING",
            config["peft_type"]
        )));
    }
    for (name, plain) in PLAIN {
        let value = &config[name];
        if !value.is_null() && !plain.contains(&value.to_string().as_str()) {
            return Err(Error::unsupported(format!("{name} {value}: expected {}", plain.join(" or "))));
        }
    }
    let r = config["r"].as_u64().filter(|r| *r > 0);
    let (Some(r), Some(alpha)) = (r, config["lora_alpha"].as_f64().filter(|alpha| alpha.is_finite())) else {
        let (r, alpha) = (&config["r"], &config["lora_alpha"]);
        return Err(Error::file(format!("r {r}, lora_alpha {alpha}: expected a count and a number")));
    };
    Ok((r as usize, alpha as f32, config["use_rslora"] == true))
}

fn pairs(bytes: &[u8], r: usize, dora: bool) -> Result<Vec<PeftPair>> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::file(format!("not a safetensors file: {error}")))?;
    let mut found: BTreeMap<(usize, String), [Option<Vec<f32>>; 3]> = BTreeMap::new();
    for (name, view) in file.iter() {
        let (layer, projection, part) = place(name).ok_or_else(|| {
            Error::unsupported(format!(
                "tensor {name:?}: expected …layers.<L>.<block>.<projection>.lora_A.weight, lora_B or lora_magnitude_vector"
            ))
        })?;
        let shape = view.shape();
        let expected = [format!("[{r}, in]"), format!("[out, {r}]"), "[out]".to_owned()];
        let fits = match (part, shape) {
            (0, [rank, _]) | (1, [_, rank]) => *rank == r,
            (part, [_]) => part == 2,
            _ => false,
        };
        if !fits {
            let expected = &expected[part];
            return Err(Error::file(format!("tensor {name:?}: expected {expected}, got {shape:?}")));
        }
        let values = values(&view).map_err(|error| error.at(format!("tensor {name:?}")))?;
        if found.entry((layer, projection)).or_default()[part].replace(values).is_some() {
            return Err(Error::file(format!("tensor {name:?}: the same matrix has two of them")));
        }
    }
    let pair = |((layer, projection), parts): ((usize, String), [Option<Vec<f32>>; 3])| match parts {
        [Some(a), Some(b), magnitude] if magnitude.is_some() == dora => {
            Ok(PeftPair { layer, projection, a, b, magnitude: magnitude.unwrap_or_default() })
        }
        [Some(_), Some(_), magnitude] => {
            let (expected, got) =
                (if dora { "a" } else { "no" }, if magnitude.is_some() { "one" } else { "none" });
            Err(Error::file(format!(
                "layer {layer} {projection}: use_dora {dora}: expected {expected} lora_magnitude_vector, got {got}"
            )))
        }
        _ => Err(Error::file(format!("layer {layer} {projection}: expected both lora_A and lora_B"))),
    };
    found.into_iter().map(pair).collect()
}

/// The tensors beside a matrix.
const PARTS: [&str; 3] = ["lora_A", "lora_B", "lora_magnitude_vector"];

/// Layer, matrix, and which of [`PARTS`] it is.
fn place(name: &str) -> Option<(usize, String, usize)> {
    let (_, rest) = name.split_once(".layers.")?;
    let parts: Vec<&str> = rest.split('.').collect();
    let (layer, block, projection, part) = match parts[..] {
        [layer, block, projection, part, "weight"] => (layer, block, projection, part),
        [layer, block, projection, part] if part == PARTS[2] => (layer, block, projection, part),
        _ => return None,
    };
    let part = PARTS.iter().position(|name| *name == part)?;
    (row_of(projection)?.1 == block).then_some(())?;
    Some((layer.parse().ok()?, projection.to_owned(), part))
}

/// A tensor's numbers, whatever their width.
pub(super) fn values(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let data = view.data();
    let halves = |to: fn(u16) -> f32| {
        data.chunks_exact(2).map(|bytes| to(u16::from_le_bytes([bytes[0], bytes[1]]))).collect::<Vec<f32>>()
    };
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec(data),
        Dtype::F16 => halves(|bits| f16::from_bits(bits).to_f32()),
        Dtype::BF16 => halves(|bits| bf16::from_bits(bits).to_f32()),
        other => return Err(Error::unsupported(format!("{other:?}: expected F32, F16 or BF16"))),
    };
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::file(format!("holds {value}"))),
        None => Ok(values),
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
        let a = [lora.r, pair.a.len() / lora.r];
        let b = [pair.b.len() / lora.r, lora.r];
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
    let config = json!({
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
    directory(&config, tensors)
}

/// The files of a directory: what peft reads of it.
pub(super) fn directory(config: &Value, tensors: Vec<(String, TensorView<'_>)>) -> Vec<File> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(tensors, Some(metadata)).expect("every tensor is whole");
    let config = serde_json::to_string_pretty(config).expect("plain data").into_bytes();
    vec![(CONFIG.to_owned(), config), (WEIGHTS.to_owned(), weights)]
}
