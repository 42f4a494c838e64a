//! peft's directory of an (IA)³ (0.13.2), both ways: vectors that outputs or inputs of matrices are scaled by (Liu et al. 2022,
//! arXiv:2205.05638).
//!
//! ```text
//! adapter_config.json         target_modules, and those of them whose input is scaled, feedforward_modules
//! adapter_model.safetensors   base_model.model.model.layers.<L>.<block>.<projection>.ia3_l  [out, 1], or of an input [1, in]
//! ```

use super::peft::{PROJECTIONS, ROOT};
use super::peft_files::{CONFIG, Directory, Numbers, check_rest, directory};
use super::peft_names::{Name, OneAdapter};
use super::peft_patterns::check_selection;
use super::{File, Interventions, alike, values_of};
use crate::error::{Error, Result};
use crate::model::{Component, Model};
use crate::reft::{Components, Intervention, Layers, Params, Reft, ReftConfig};
use safetensors::tensor::{Dtype, TensorView};
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
    let mut directory = Directory::open(files)?;
    let mut interventions = Interventions { head: directory.take_head()?, ..Interventions::default() };
    let weights = directory.weights;
    let names: Vec<String> = directory.tensors.keys().cloned().collect();
    let places: Vec<Name<'_>> = names.iter().filter_map(|name| Name::parse(name)).collect();
    let modules: Vec<(usize, &str)> = places.iter().map(|place| (place.layer, place.path)).collect();
    let scales = scales(std::mem::take(&mut directory.tensors)).map_err(|error| error.at(weights))?;
    check_selection(&directory.config, &modules).map_err(|error| error.at(CONFIG))?;
    let mut layers: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (layer, component) in scales.keys() {
        layers.entry(*layer).or_default().push(component.name().to_owned());
    }
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

const EXPECTED: &str =
    "…layers.<L>.<block>.<projection>.ia3_l, [out, 1], or [1, in] of o_proj and down_proj, or score.weight";

/// The vectors of a file, by layer and by what they scale.
fn scales(tensors: BTreeMap<String, Numbers>) -> Result<BTreeMap<(usize, Component), Vec<f32>>> {
    let (mut scales, mut rest) = (BTreeMap::new(), BTreeMap::new());
    let names: Vec<String> = tensors.keys().cloned().collect();
    let mut adapter = OneAdapter::default();
    for (name, (key, numbers)) in names.iter().zip(tensors) {
        let found = Name::parse(name).and_then(|it| Some((component(&it, &numbers.shape)?, it)));
        let Some((component, it)) = found else {
            rest.insert(key, numbers);
            continue;
        };
        adapter.check(&it).map_err(|error| error.at(format!("tensor {name:?}")))?;
        if scales.insert((it.layer, component), numbers.values).is_some() {
            let what = component.name();
            return Err(Error::unsupported(format!("tensor {name:?}: {what} is scaled by another already")));
        }
    }
    check_rest(&rest, EXPECTED)?;
    match scales.is_empty() {
        true => Err(Error::file("expected …ia3_l, got no tensor")),
        false => Ok(scales),
    }
}

/// What a vector of this shape scales.
fn component(name: &Name<'_>, shape: &[usize]) -> Option<Component> {
    let rows: &[(&str, &str, Component)] = match shape {
        [1, _] => &READERS,
        [_, 1] => &PROJECTIONS,
        _ => return None,
    };
    let row = rows.iter().find(|row| (row.0, row.1) == (name.projection, name.block))?;
    (name.part == "ia3_l").then_some(row.2)
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
    Ok(directory(&config, tensors.into_iter().collect()))
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
