//! peft's directory of a LoRA (0.13.2), both ways: W₀·x + (alpha / r)·B·A·x (Hu et al. 2021, arXiv:2106.09685).
//!
//! ```text
//! adapter_config.json         r, lora_alpha, use_rslora (alpha / √r), target_modules
//! adapter_model.safetensors   base_model.model.model.layers.<L>.self_attn.<projection>.lora_A.weight  [R, in]
//!                             base_model.model.model.layers.<L>.self_attn.<projection>.lora_B.weight  [out, R]
//! ```

use super::{File, find, json};
use crate::error::{Error, Result};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const ROOT: &str = "base_model.model.model";

/// A LoRA as peft keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftLora {
    /// R, of every pair.
    pub r: usize,
    /// What B·A·x is multiplied by, times r, or √r.
    pub alpha: f32,
    /// Whether it is alpha / √r.
    pub rslora: bool,
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
}

/// Whether a list of files is such a directory.
pub(super) fn is_ours(files: &[File]) -> Result<bool> {
    Ok(find(files, CONFIG)?.is_some())
}

/// Reads a directory.
///
/// # Errors
/// `File` for what is wrong with a file, `Unsupported` for adapters that are not plain LoRAs.
pub fn read(files: &[File]) -> Result<PeftLora> {
    let file = |name: &str| find(files, name)?.ok_or_else(|| Error::file(format!("{name} is missing")));
    let config = json(CONFIG, file(CONFIG)?)?;
    let (r, alpha, rslora) = settings(&config).map_err(|error| error.at(CONFIG))?;
    let pairs = pairs(file(WEIGHTS)?, r).map_err(|error| error.at(WEIGHTS))?;
    Ok(PeftLora { r, alpha, rslora, pairs })
}

/// Options that change what is computed, with the values that change nothing.
const PLAIN: [(&str, &[&str]); 8] = [
    ("use_dora", &["false"]),
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
        return Err(Error::unsupported(format!("peft_type {}: expected \"LORA\"", config["peft_type"])));
    }
    for (name, plain) in PLAIN {
        let value = &config[name];
        if !value.is_null() && !plain.contains(&value.to_string().as_str()) {
            return Err(Error::unsupported(format!("{name} {value}: expected {}", plain[0])));
        }
    }
    let r = config["r"].as_u64().filter(|r| *r > 0);
    let (Some(r), Some(alpha)) = (r, config["lora_alpha"].as_f64().filter(|alpha| alpha.is_finite())) else {
        let (r, alpha) = (&config["r"], &config["lora_alpha"]);
        return Err(Error::file(format!("r {r}, lora_alpha {alpha}: expected a count and a number")));
    };
    Ok((r as usize, alpha as f32, config["use_rslora"] == true))
}

fn pairs(bytes: &[u8], r: usize) -> Result<Vec<PeftPair>> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::file(format!("not a safetensors file: {error}")))?;
    let mut found: BTreeMap<(usize, String), [Option<Vec<f32>>; 2]> = BTreeMap::new();
    for (name, view) in file.iter() {
        let (layer, projection, side) = place(name).ok_or_else(|| {
            Error::unsupported(format!(
                "tensor {name:?}: expected …layers.<L>.<block>.<projection>.lora_A.weight, or lora_B"
            ))
        })?;
        let shape = view.shape();
        if shape.len() != 2 || shape[side] != r {
            let expected = if side == 0 { format!("[{r}, in]") } else { format!("[out, {r}]") };
            return Err(Error::file(format!("tensor {name:?}: expected {expected}, got {shape:?}")));
        }
        let values = values(&view).map_err(|error| error.at(format!("tensor {name:?}")))?;
        if found.entry((layer, projection)).or_default()[side].replace(values).is_some() {
            return Err(Error::file(format!("tensor {name:?}: the same matrix has two of them")));
        }
    }
    let pair = |((layer, projection), sides): ((usize, String), [Option<Vec<f32>>; 2])| match sides {
        [Some(a), Some(b)] => Ok(PeftPair { layer, projection, a, b }),
        _ => Err(Error::file(format!("layer {layer} {projection}: expected both lora_A and lora_B"))),
    };
    found.into_iter().map(pair).collect()
}

/// Layer, matrix, and 0 for A or 1 for B.
fn place(name: &str) -> Option<(usize, String, usize)> {
    let (_, rest) = name.split_once(".layers.")?;
    let parts: Vec<&str> = rest.split('.').collect();
    let [layer, block, projection, side, "weight"] = parts[..] else { return None };
    let side = ["lora_A", "lora_B"].iter().position(|name| *name == side)?;
    (block_of(projection)? == block).then_some(())?;
    Some((layer.parse().ok()?, projection.to_owned(), side))
}

/// The block of a layer that a matrix is in.
fn block_of(projection: &str) -> Option<&'static str> {
    match projection {
        "q_proj" | "k_proj" | "v_proj" | "o_proj" => Some("self_attn"),
        "gate_proj" | "up_proj" | "down_proj" => Some("mlp"),
        _ => None,
    }
}

fn values(view: &TensorView<'_>) -> Result<Vec<f32>> {
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
        let block = block_of(&pair.projection).expect("a matrix of a layer");
        let stem = format!("{ROOT}.layers.{}.{block}.{}", pair.layer, pair.projection);
        let a = [lora.r, pair.a.len() / lora.r];
        let b = [pair.b.len() / lora.r, lora.r];
        for (side, shape, values) in [("lora_A", a, &pair.a), ("lora_B", b, &pair.b)] {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values));
            tensors.push((format!("{stem}.{side}.weight"), view.expect("the shape holds the values")));
        }
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(tensors, Some(metadata)).expect("every tensor is whole");
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
        "use_dora": false,
        "use_rslora": lora.rslora,
    });
    let config = serde_json::to_string_pretty(&config).expect("plain data").into_bytes();
    vec![(CONFIG.to_owned(), config), (WEIGHTS.to_owned(), weights)]
}
