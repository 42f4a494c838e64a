//! peft's directory of an (IA)³ (0.13.2), both ways: vectors that outputs or inputs of matrices are scaled by (Liu et al. 2022,
//! arXiv:2205.05638).
//!
//! ```text
//! adapter_config.json         target_modules, and those of them whose input is scaled, feedforward_modules
//! adapter_model.safetensors   base_model.model.model.layers.<L>.<block>.<projection>.ia3_l  [out, 1], or of an input [1, in]
//! ```

use super::peft::{self, PROJECTIONS, ROOT};
use super::{File, Interventions, alike, values_of};
use crate::error::{Error, Result};
use crate::model::{Component, Model};
use crate::reft::{Components, Intervention, Layers, Params, Reft, ReftConfig};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const KIND: &str = "ia3";

/// The matrices whose input no other reads, and where that is scaled; `down_proj` reads what `up_proj` gives times the gate, which may be
/// scaled before or after.
const READERS: [(&str, &str, Component); 2] =
    [("o_proj", "self_attn", Component::AttentionValueOutput), ("down_proj", "mlp", Component::UpOutput)];

/// Reads a directory.
///
/// # Errors
/// `File` for what is wrong with a file, `Unsupported` for what is trained beside the vectors, and for inputs that several matrices
/// read.
pub(super) fn read(files: &[File]) -> Result<Interventions> {
    let (config, weights) = peft::open(files)?;
    for (name, plain) in [("fan_in_fan_out", json!(false)), ("modules_to_save", json!([]))] {
        let value = &config[name];
        if !value.is_null() && *value != plain {
            return Err(Error::unsupported(format!("{name} {value}: expected {plain}")).at(peft::CONFIG));
        }
    }
    let scales = scales(weights).map_err(|error| error.at(peft::WEIGHTS))?;
    let mut layers: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (layer, component) in scales.keys() {
        layers.entry(*layer).or_default().push(component.name().to_owned());
    }
    let mut interventions = Interventions::default();
    for (components, of_layers) in alike(layers) {
        for layer in &of_layers {
            let own = scales.iter().filter(|((of, _), _)| of == layer);
            let params = own.map(|(_, scale)| BTreeMap::from([("scale", scale.clone())]));
            interventions.params.extend(params.map(|others| Params { others, ..Params::default() }));
        }
        interventions.configs.push(ReftConfig {
            kind: KIND.to_owned(),
            layers: Layers::List(of_layers),
            component: Components::List(components),
            ..ReftConfig::default()
        });
    }
    Ok(interventions)
}

/// The vectors of a file, by layer and by what they scale.
fn scales(bytes: &[u8]) -> Result<BTreeMap<(usize, Component), Vec<f32>>> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::file(format!("not a safetensors file: {error}")))?;
    let mut scales = BTreeMap::new();
    for (name, view) in file.iter() {
        let shape = view.shape();
        let place = place(name, shape).ok_or_else(|| {
            Error::unsupported(format!(
                "tensor {name:?} {shape:?}: expected …layers.<L>.<block>.<projection>.ia3_l, [out, 1], or [1, in] of o_proj and down_proj"
            ))
        })?;
        let values = peft::values(&view).map_err(|error| error.at(format!("tensor {name:?}")))?;
        if scales.insert(place, values).is_some() {
            let what = place.1.name();
            return Err(Error::unsupported(format!("tensor {name:?}: {what} is scaled by another already")));
        }
    }
    match scales.is_empty() {
        true => Err(Error::file("expected …ia3_l, got no tensor")),
        false => Ok(scales),
    }
}

/// Layer, and what is scaled.
fn place(name: &str, shape: &[usize]) -> Option<(usize, Component)> {
    let (_, rest) = name.split_once(".layers.")?;
    let parts: Vec<&str> = rest.split('.').collect();
    let [layer, block, projection, "ia3_l"] = parts[..] else { return None };
    let rows: &[(&str, &str, Component)] = match shape {
        [1, _] => &READERS,
        [_, 1] => &PROJECTIONS,
        _ => return None,
    };
    let row = rows.iter().find(|row| (row.0, row.1) == (projection, block))?;
    Some((layer.parse().ok()?, row.2))
}

/// Writes a directory that `PeftModel.from_pretrained` reads; shared parameters become copies.
///
/// # Errors
/// `Unsupported` if there are other interventions among them, or a head; `Device` if the parameters cannot be read.
pub(super) async fn write(model: &Model, reft: &Reft) -> Result<Vec<File>> {
    if reft.head.is_some() {
        return Err(Error::unsupported("expected an ia3 without a head"));
    }
    let values = reft.values().await?;
    let (mut tensors, mut targets, mut readers) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for it in &reft.interventions {
        let (module, of_input) = module(it)?;
        let scale = values_of(reft, it, &values).part("scale");
        let shape = if of_input { [1, scale.len()] } else { [scale.len(), 1] };
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(scale));
        let view = view.expect("the shape holds the values");
        if tensors.insert(format!("{ROOT}.{module}.ia3_l"), view).is_some() {
            return Err(Error::unsupported(format!("{module}: expected one ia3, got two")));
        }
        if of_input {
            readers.insert(module.clone());
        }
        targets.insert(module);
    }
    let config = json!({
        "base_model_name_or_path": model.name,
        "fan_in_fan_out": false,
        "feedforward_modules": readers,
        "inference_mode": true,
        "init_ia3_weights": true,
        "peft_type": "IA3",
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
    });
    Ok(peft::directory(&config, tensors.into_iter().collect()))
}

/// The matrix that peft puts the vector at, with its layer in front, and whether it is for its input.
fn module(it: &Intervention) -> Result<(String, bool)> {
    let (layer, component) = (it.place.layer, it.place.component);
    let of = |rows: &'static [(&str, &str, Component)]| rows.iter().find(|row| row.2 == component);
    let row = match of(&READERS) {
        Some(row) => Some((row, true)),
        None => of(&PROJECTIONS).map(|row| (row, false)),
    };
    let whole = it.head.is_none() && it.scale == 1.0 && it.positions.to_string() == "all";
    match row.filter(|_| it.kind.name == KIND && whole) {
        Some(((projection, block, _), of_input)) => {
            Ok((format!("layers.{layer}.{block}.{projection}"), of_input))
        }
        None => Err(Error::unsupported(format!(
            "{} at {} of layer {layer}, positions {}, scale {}: expected ia3 on whole matrices at all positions, scale 1, for peft has no others",
            it.kind.name,
            component.name(),
            it.positions,
            it.scale
        ))),
    }
}
