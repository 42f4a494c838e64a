//! pyreft's directories (0.1.0, on pyvene 0.1.8), both ways: those of `ReftModel.save`, and `intervenable_model/` of its trainer.
//!
//! ```text
//! config.json                        representations, classes; a trainer's directory has none
//! intkey_layer_<L>_comp_<component>_unit_pos_nunit_1#<k>.bin    the k-th intervention at a place; before pyvene 0.1.7 with dots for _
//!   loreft             weight [R, D], bias [R], rotate_layer [D, R]; of pyreft's PR 179 also rotate_layer_original [D, R] and
//!                      rotate_layer_base [D, D], which R follows from
//!   direft             learned_source.weight [R, D], learned_source.bias [R], a rotation
//!   consreft, lobireft learned_source [R], a rotation
//!   noreft, nodireft   learned_source.weight [R, D], learned_source.bias [R], proj_layer.weight [R, D], proj_layer.bias [R]
//!   a rotation         rotate_layer.parametrizations.weight.original [D, R] and .0.base [D, D]
//! pytorch_model.bin                  trained tensors of the base model; score.weight [N, D] is a classifier's head
//! ```
//!
//! Every rotation starts anew from its R, X = −1 on its diagonal: 2·R·D numbers where pyreft keeps D·D, and the only way for
//! LoReFT, of which pyreft keeps R alone. pyreft loses R's orthonormality when it trains a loaded LoReFT on (its base keeps
//! foreign columns); such a file is read as the NoReFT that it has become, h + Pᵀ(W·h + b − P·h).

use super::torch::{self, Tensor, Values};
use super::{File, Interventions, Unsaved, base_name, find, json, pyreft_keys, transposed, values_of};
use crate::error::{Error, Result};
use crate::model::Component;
use crate::reft::file::check_orthonormal;
use crate::reft::kinds::{Function, KINDS, Kind, Learned};
use crate::reft::rotation::Base;
use crate::reft::{
    Components, HeadConfig, HeadParams, Intervention, Layers, Params, Pooling, Positions, Reft, ReftConfig,
};
use serde_json::json;
use std::collections::BTreeMap;

const CONFIG: &str = "config.json";
const BASE_MODEL: &str = "pytorch_model.bin";
const SCORE: &str = "score.weight";
const KEY: &str = "intkey_";
const X: &str = "rotate_layer.parametrizations.weight.original";
const BASE: &str = "rotate_layer.parametrizations.weight.0.base";
/// What pyreft's PR 179 saves beside a LoReFT's R.
const X_BESIDE: &str = "rotate_layer_original";
const BASE_BESIDE: &str = "rotate_layer_base";

/// One intervention of a directory.
struct Saved {
    /// The file's name without `intkey_` and `.bin`, with `_` for dots.
    key: String,
    layer: usize,
    component: Component,
    /// How many came before it at its place.
    number: usize,
    /// pyreft's class, where the configuration tells it.
    class: Option<String>,
}

/// What was read of one intervention.
struct Loaded {
    kind: &'static Kind,
    rank: usize,
    params: Params,
    rotation: Option<Vec<f32>>,
}

/// Reads a directory.
///
/// # Errors
/// `File` for what is wrong with a file, `Unsupported` for classes and components that webreft does not have, `Input` where the files
/// leave open what `unsaved` does not say.
pub fn read(files: &[File], unsaved: &Unsaved) -> Result<Interventions> {
    let saved = match find(files, CONFIG)? {
        Some(bytes) => from_config(&json(CONFIG, bytes)?).map_err(|error| error.at(CONFIG))?,
        None => from_names(files)?,
    };
    let mut loaded = Vec::new();
    for it in &saved {
        let name = format!("{KEY}{}.bin", it.key);
        let bytes = file_of(files, &it.key)?.ok_or_else(|| Error::file(format!("{name} is missing")))?;
        let tensors = torch::read(bytes).and_then(|tensors| load(it, tensors, unsaved));
        loaded.push(tensors.map_err(|error| error.at(&name))?);
    }
    let mut interventions = gather(saved, loaded, unsaved)?;
    if let Some(bytes) = find(files, BASE_MODEL)? {
        let mut tensors = Tensors(torch::read(bytes).map_err(|error| error.at(BASE_MODEL))?);
        interventions.head = tensors.head().map_err(|error| error.at(BASE_MODEL))?;
        interventions.others = tensors.0;
    }
    Ok(interventions)
}

/// A file's name as a key, if it is one of an intervention.
fn key_of(path: &str) -> Option<String> {
    let key = base_name(path).strip_prefix(KEY)?.strip_suffix(".bin")?;
    Some(key.replace('.', "_"))
}

/// The file of an intervention.
fn file_of<'a>(files: &'a [File], key: &str) -> Result<Option<&'a [u8]>> {
    let mut found = files.iter().filter(|(path, _)| key_of(path).is_some_and(|it| it == key));
    match (found.next(), found.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(Error::input(format!("{first} and {second}: expected one file for an intervention")))
        }
        (found, _) => Ok(found.map(|(_, bytes)| bytes.as_slice())),
    }
}

/// The interventions that a configuration lists; their keys are made as pyvene makes them.
fn from_config(config: &serde_json::Value) -> Result<Vec<Saved>> {
    let list = |key: &str| {
        let list = config[key].as_array();
        list.ok_or_else(|| Error::file(format!("expected a list {key:?}, got {}", config[key])))
    };
    let (places, classes) = (list("representations")?, list("intervention_types")?);
    pyreft_keys::check(config)?;
    if places.len() != classes.len() {
        let (n, got) = (places.len(), classes.len());
        return Err(Error::file(format!(
            "expected {n} intervention_types, one for each representation, got {got}"
        )));
    }
    let mut saved: Vec<Saved> = Vec::new();
    for (place, class) in places.iter().zip(classes) {
        let wrong =
            || Error::file(format!("representation {place}: expected layer, component, unit, units, …"));
        pyreft_keys::check_representation(place)?;
        let (Some(layer), Some(name), Some(units)) =
            (place[0].as_u64(), place[1].as_str(), place[3].as_u64())
        else {
            return Err(wrong());
        };
        let stem = match name.contains('.') {
            true => format!("comp_{}", name.replace('.', "_")),
            false => format!("layer_{layer}_comp_{name}"),
        };
        let stem = format!("{stem}_unit_pos_nunit_{units}#");
        let number = saved.iter().filter(|it| it.key.starts_with(&stem)).count();
        let (layer, component) = place_of(&stem)?;
        let class = class.as_str().map(str::to_owned).ok_or_else(wrong)?;
        saved.push(Saved { key: format!("{stem}{number}"), layer, component, number, class: Some(class) });
    }
    Ok(saved)
}

/// The interventions that the files' names tell, in pyreft's order: the first at each place, then the second.
fn from_names(files: &[File]) -> Result<Vec<Saved>> {
    let mut saved = Vec::new();
    for (path, _) in files {
        let Some(key) = key_of(path) else { continue };
        let number = key.rsplit_once('#').and_then(|(_, number)| number.parse().ok());
        let number =
            number.ok_or_else(|| Error::file(format!("{path}: expected #<number>.bin at its end")))?;
        let (layer, component) = place_of(&key).map_err(|error| error.at(path))?;
        saved.push(Saved { key, layer, component, number, class: None });
    }
    if saved.is_empty() {
        return Err(Error::file(format!(
            "not a directory of pyreft's: expected {CONFIG}, or {KEY}*.bin; of peft's expected adapter_config.json"
        )));
    }
    saved.sort_by_key(|it| (it.number, it.layer, it.component));
    Ok(saved)
}

/// Modules that pyvene reaches by their path in the model, dots as `_`.
const MODULES: [(&str, Component); 15] = [
    ("input", Component::BlockInput),
    ("output", Component::BlockOutput),
    ("self_attn_input", Component::AttentionInput),
    ("self_attn_output", Component::AttentionOutput),
    ("self_attn_q_proj_output", Component::QueryOutput),
    ("self_attn_k_proj_output", Component::KeyOutput),
    ("self_attn_v_proj_output", Component::ValueOutput),
    ("self_attn_o_proj_input", Component::AttentionValueOutput),
    ("self_attn_o_proj_output", Component::AttentionOutput),
    ("mlp_input", Component::MlpInput),
    ("mlp_output", Component::MlpOutput),
    ("mlp_act_fn_output", Component::MlpActivation),
    ("mlp_gate_proj_output", Component::GateOutput),
    ("mlp_up_proj_output", Component::UpOutput),
    ("mlp_down_proj_output", Component::MlpOutput),
];

/// Layer and component of a key: `layer_3_comp_block_output_unit_…`, or by path `comp_model_layers[3]_output_unit_…` or
/// `comp_model_layers_3_output_unit_…`.
fn place_of(key: &str) -> Result<(usize, Component)> {
    let place = key.rsplit_once("_unit_pos_nunit_").map_or(key, |(place, _)| place);
    let by_name = place.strip_prefix("layer_").and_then(|rest| rest.split_once("_comp_"));
    let by_path = || {
        let (_, rest) = place.split_once("layers")?;
        let rest = rest.strip_prefix('[').or(rest.strip_prefix('_'))?;
        let (layer, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        Some((layer, rest.strip_prefix("]_").or(rest.strip_prefix('_'))?))
    };
    let found = match by_name {
        Some((layer, name)) => {
            let component = Component::ALL.into_iter().find(|component| component.name() == name);
            layer.parse().ok().zip(component)
        }
        None => by_path().and_then(|(layer, module)| {
            let component = MODULES.into_iter().find(|(name, _)| *name == module);
            layer.parse().ok().zip(component.map(|(_, component)| component))
        }),
    };
    let known = || Component::ALL.map(Component::name).join(", ");
    found.ok_or_else(|| Error::unsupported(format!("place {place:?} is not known (known: {})", known())))
}

/// The kinds that pyreft has.
fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.into_iter().filter(|kind| kind.class.starts_with("pyreft."))
}

fn kind_of(it: &Saved, tensors: &BTreeMap<String, Tensor>, unsaved: &Unsaved) -> Result<&'static Kind> {
    if let Some(given) = unsaved.kind.as_ref().filter(|given| kinds().all(|kind| kind.name != **given)) {
        return Err(Error::not_known("kind", given, kinds().map(|kind| kind.name)));
    }
    let names = || kinds().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    if let Some(class) = &it.class {
        // As Python prints a class: <class 'pyreft.interventions.LoreftIntervention'>
        let name =
            |class: &str| class.trim_end_matches("'>").rsplit('.').next().unwrap_or_default().to_owned();
        let kind = kinds().find(|kind| name(kind.class) == name(class));
        return kind.ok_or_else(|| Error::unsupported(format!("{class} is not known (known: {})", names())));
    }
    let has = |name: &str| tensors.contains_key(name);
    let candidates = match () {
        () if has("rotate_layer") => ["loreft"].as_slice(),
        () if has(X) && has("learned_source.weight") => &["direft"],
        () if has(X) && has("learned_source") => &["consreft", "lobireft"],
        () if has("proj_layer.weight") => &["noreft", "nodireft"],
        () => {
            let got: Vec<&String> = tensors.keys().collect();
            return Err(Error::file(format!("tensors {got:?}: expected those of one of {}", names())));
        }
    };
    match (candidates, &unsaved.kind) {
        ([only], None) => Ok(Kind::named(only).expect("a kind")),
        (_, Some(kind)) if candidates.contains(&kind.as_str()) => Ok(Kind::named(kind).expect("a kind")),
        (_, given) => Err(Error::input(format!(
            "kind {given:?}: expected {}; without {CONFIG} the tensors do not tell more",
            candidates.join(" or ")
        ))),
    }
}

/// The parameters in an intervention's file, all of it.
fn load(it: &Saved, tensors: BTreeMap<String, Tensor>, unsaved: &Unsaved) -> Result<Loaded> {
    let mut kind = kind_of(it, &tensors, unsaved)?;
    let Function::LowRank { projection, learned, .. } = kind.function else {
        return Err(Error::unsupported(format!("{}: nothing is trained", kind.name)));
    };
    let mut tensors = Tensors(tensors);
    let (n_embd, rank) = match projection.is_orthonormal() {
        true => tensors.shape(if is_bare(kind) { "rotate_layer" } else { X })?,
        false => tensors.shape("proj_layer.weight").map(|(rank, n_embd)| (n_embd, rank))?,
    };
    if !(1..=n_embd).contains(&rank) {
        return Err(Error::file(format!("rank {rank}: expected 1 to {n_embd}, the width")));
    }
    let mut params = Params::default();
    if learned == Learned::State {
        params.weight = tensors.take(weight_of(kind), &[rank, n_embd])?;
    }
    params.bias = tensors.take(bias_of(kind), &[rank])?;
    let mut rotation = None;
    match projection.is_orthonormal() {
        true => {
            let rows = tensors.rotation(kind, n_embd, rank)?;
            match check_orthonormal(&rows, n_embd) {
                Ok(()) => {
                    params = params.from_rotation(&rows, n_embd, false);
                    rotation = Some(rows);
                }
                Err(_) if is_bare(kind) => {
                    kind = Kind::named("noreft").expect("a kind");
                    params.projection = rows;
                }
                Err(error) => return Err(error.at("rotate_layer")),
            }
        }
        false => {
            params.projection = tensors.take("proj_layer.weight", &[rank, n_embd])?;
            if tensors.0.contains_key("proj_layer.bias") {
                params.projection_bias = tensors.take("proj_layer.bias", &[rank])?;
            }
        }
    }
    tensors.0.retain(|name, _| name != "embed_dim" && name != "interchange_dim");
    match tensors.0.keys().next() {
        None => Ok(Loaded { kind, rank, params, rotation }),
        Some(name) => Err(Error::file(format!("tensor {name:?} is not one of {}", kind.class))),
    }
}

/// Whether pyreft writes W, b and R under names of their own, and R as it is used.
fn is_bare(kind: &Kind) -> bool {
    kind.name == "loreft"
}

fn weight_of(kind: &Kind) -> &'static str {
    if is_bare(kind) { "weight" } else { "learned_source.weight" }
}

fn bias_of(kind: &Kind) -> &'static str {
    match kind.function {
        Function::LowRank { learned: Learned::Bias, .. } => "learned_source",
        _ if is_bare(kind) => "bias",
        _ => "learned_source.bias",
    }
}

/// What is left of a file's tensors.
struct Tensors(BTreeMap<String, Tensor>);

impl Tensors {
    fn get(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).ok_or_else(|| {
            let got: Vec<&String> = self.0.keys().collect();
            Error::file(format!("tensor {name:?} is missing, got {got:?}"))
        })
    }

    fn shape(&self, name: &str) -> Result<(usize, usize)> {
        match self.get(name)?.shape[..] {
            [rows, cols] => Ok((rows, cols)),
            ref got => Err(Error::file(format!("tensor {name:?}: expected a matrix, got {got:?}"))),
        }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.get(name)?;
        let tensor = self.0.remove(name).expect("just seen");
        let Values::Real(values) = tensor.values else {
            return Err(Error::file(format!("tensor {name:?}: expected real numbers, got whole ones")));
        };
        if tensor.shape != shape {
            let got = tensor.shape;
            return Err(Error::file(format!("tensor {name:?}: expected {shape:?}, got {got:?}")));
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(Error::file(format!("tensor {name:?}: holds {value}"))),
            None => Ok(values),
        }
    }

    fn head(&mut self) -> Result<Option<(HeadConfig, HeadParams)>> {
        if !self.0.contains_key(SCORE) {
            return Ok(None);
        }
        let (outputs, n_embd) = self.shape(SCORE)?;
        let weight = self.take(SCORE, &[outputs, n_embd])?;
        let config = HeadConfig { outputs, bias: false, pooling: Pooling::Last, seed: 0 };
        Ok(Some((config, HeadParams { weight, bias: Vec::new() })))
    }

    /// R [R, D]: as it is, or base · Q(X).
    fn rotation(&mut self, kind: &Kind, n_embd: usize, rank: usize) -> Result<Vec<f32>> {
        if !is_bare(kind) {
            return self.product([X, BASE], n_embd, rank);
        }
        let rows = transposed(&self.take("rotate_layer", &[n_embd, rank])?, rank);
        if self.0.contains_key(X_BESIDE) || self.0.contains_key(BASE_BESIDE) {
            let same = self.product([X_BESIDE, BASE_BESIDE], n_embd, rank)?;
            let off = rows.iter().zip(&same).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            if off > 1e-3 {
                return Err(Error::file(format!(
                    "rotate_layer: expected what {X_BESIDE} and {BASE_BESIDE} make, got values that are {off} off"
                )));
            }
        }
        Ok(rows)
    }

    /// base · Q(X) transposed, of the tensors with these names.
    fn product(&mut self, [x, base]: [&str; 2], n_embd: usize, rank: usize) -> Result<Vec<f32>> {
        let x = transposed(&self.take(x, &[n_embd, rank])?, rank);
        let base = self.take(base, &[n_embd, n_embd])?;
        let x: Vec<&[f32]> = x.chunks_exact(n_embd).collect();
        let row = |j: usize| {
            let column = householder_column(&x, j);
            let along =
                |row: &[f32]| row.iter().zip(&column).map(|(b, q)| f64::from(*b) * q).sum::<f64>() as f32;
            base.chunks_exact(n_embd).map(along).collect::<Vec<f32>>()
        };
        Ok((0..rank).flat_map(row).collect())
    }
}

/// Column j of Q(X): H₀·H₁ ⋯ H_{R−1}, with H_i = 1 − 2·v·vᵀ/|v|² and v = (0, …, 0, 1, X[i][i+1..]), times X[j][j] cut to a whole
/// number, as torch does it (`torch.geqrf`'s form).
fn householder_column(x: &[&[f32]], j: usize) -> Vec<f64> {
    let mut column = vec![0.0; x[j].len()];
    column[j] = f64::from(x[j][j].trunc());
    for (i, row) in x.iter().enumerate().rev() {
        let v = |k: usize| if k == i { 1.0 } else { f64::from(row[k]) };
        let (mut square, mut along) = (0.0, 0.0);
        for (k, q) in column.iter().enumerate().skip(i) {
            square += v(k) * v(k);
            along += v(k) * q;
        }
        column.iter_mut().enumerate().skip(i).for_each(|(k, q)| *q -= 2.0 * along / square * v(k));
    }
    column
}

/// Interventions of one kind that one configuration describes.
struct Group {
    config: ReftConfig,
    component: Component,
    /// For each layer the interventions of each part of the positions.
    sites: Vec<(usize, Vec<usize>)>,
}

/// The interventions as configurations: as few as describe them all.
fn gather(saved: Vec<Saved>, mut loaded: Vec<Loaded>, unsaved: &Unsaved) -> Result<Interventions> {
    let mut places: Vec<(usize, Component, Vec<usize>)> = Vec::new();
    for (index, it) in saved.iter().enumerate() {
        match places.iter_mut().find(|(layer, component, _)| (*layer, *component) == (it.layer, it.component))
        {
            Some((.., members)) => members.push(index),
            None => places.push((it.layer, it.component, vec![index])),
        }
    }
    let most = places.iter().map(|(.., members)| members.len()).max().unwrap_or(0);
    let default = if most == 2 { "f1+l1" } else { "l1" };
    let positions = unsaved.positions.as_deref().unwrap_or(default);
    let words: Vec<String> = Positions::parse(positions)?.to_string().split('+').map(str::to_owned).collect();
    let mut groups: Vec<Group> = Vec::new();
    for (layer, component, members) in places {
        let same = members.iter().all(|it| likeness(&loaded[*it]) == likeness(&loaded[members[0]]));
        let parts = match members.len() {
            1 => vec![(positions, words.len() > 1, members)],
            n if n == words.len() && same => vec![(positions, false, members)],
            n if n == words.len() => {
                let alone = words.iter().zip(members).map(|(word, it)| (word.as_str(), false, vec![it]));
                alone.collect()
            }
            n => {
                return Err(Error::input(format!(
                    "layer {layer} has {n} interventions at {}: expected positions of {n} words joined by +, got {positions:?}",
                    component.name()
                )));
            }
        };
        for (positions, tied, members) in parts {
            let (kind, rank, add_bias) = likeness(&loaded[members[0]]);
            let config = ReftConfig {
                kind: kind.to_owned(),
                component: Components::from(component.name()),
                rank,
                positions: positions.to_owned(),
                tied,
                act: unsaved.act.clone().unwrap_or_else(|| ReftConfig::default().act),
                add_bias,
                ..ReftConfig::default()
            };
            match groups.iter_mut().find(|group| group.config == config && group.component == component) {
                Some(group) => group.sites.push((layer, members)),
                None => groups.push(Group { config, component, sites: vec![(layer, members)] }),
            }
        }
    }
    let mut interventions = Interventions::default();
    for group in groups {
        let (layers, sites): (Vec<usize>, Vec<Vec<usize>>) = group.sites.into_iter().unzip();
        interventions.configs.push(ReftConfig { layers: Layers::List(layers), ..group.config });
        for part in 0..sites[0].len() {
            for site in &sites {
                let it = &mut loaded[site[part]];
                interventions.params.push(std::mem::take(&mut it.params));
                interventions.rotations.extend(it.rotation.take());
            }
        }
    }
    Ok(interventions)
}

/// What interventions of one configuration have in common.
fn likeness(it: &Loaded) -> (&'static str, usize, bool) {
    (it.kind.name, it.rank, !it.params.projection_bias.is_empty())
}

/// Writes interventions as `ReftModel.save` does; where parameters are shared, each place gets a copy, which pyreft trains
/// apart. Positions, dropout and the names of prompts are not in pyreft's files.
///
/// # Errors
/// `Unsupported` for what pyreft has not, or would read as something else; `Device` if the parameters cannot be read.
pub async fn write(reft: &Reft) -> Result<Vec<File>> {
    let values = reft.values().await?;
    let mut files: Vec<File> = Vec::new();
    let (mut keys, mut places, mut classes, mut widths) = (vec![], vec![], vec![], vec![]);
    for (number, it) in reft.interventions.iter().enumerate() {
        check(it).and_then(|()| check_act(it)).map_err(|error| error.at(format!("intervention {number}")))?;
        let (layer, name) = (it.place.layer, it.place.component.name());
        let stem = format!("layer_{layer}_comp_{name}_unit_pos_nunit_1#");
        let before = keys.iter().filter(|key: &&String| key.starts_with(&stem)).count();
        let key = format!("{stem}{before}");
        files.push((format!("{KEY}{key}.bin"), torch::write(&tensors_of(it, values_of(reft, it, &values)))));
        let nulls = std::iter::repeat_n(serde_json::Value::Null, 9);
        let place = [json!(layer), json!(name), json!("pos"), json!(1), json!(it.sizes.rank)];
        places.push(place.into_iter().chain(nulls).collect::<serde_json::Value>());
        classes.push(format!("<class '{}'>", it.kind.class));
        widths.push(it.sizes.n_embd);
        keys.push(key);
    }
    let config = json!({
        "intervention_constant_sources": vec![true; keys.len()],
        "intervention_dimensions": widths,
        "intervention_types": classes,
        "mode": "parallel",
        "representations": places,
        "sorted_keys": keys,
    });
    let config = serde_json::to_string_pretty(&config).expect("plain data");
    files.push((CONFIG.to_owned(), config.into_bytes()));
    if let Some(head) = &reft.head {
        if head.config.bias {
            return Err(Error::unsupported("a head with b: Transformers' score has none"));
        }
        if head.config.pooling != Pooling::Last {
            return Err(Error::unsupported("a head of all tokens: Transformers' score reads the last one"));
        }
        let weight = head.numbers(&reft.theta.read().f32().await?).weight;
        let score = Tensor::real(&[head.config.outputs, head.dense.n_in], weight);
        files.push((BASE_MODEL.to_owned(), torch::write(&[(SCORE, score)])));
    }
    Ok(files)
}

/// Fails for a function around what is learned, which pyreft's files do not keep.
fn check_act(it: &Intervention) -> Result<()> {
    match it.edit().map_or("linear", |edit| edit.act.name()) {
        "linear" => Ok(()),
        act => refuse(format!("act {act}")),
    }
}

/// Fails for what pyreft does not have.
pub(super) fn check(it: &Intervention) -> Result<()> {
    let component = it.place.component;
    match () {
        () if kinds().all(|kind| kind.name != it.kind.name) => refuse(format!("kind {}", it.kind.name)),
        () if it.head.is_some() => refuse(format!("a head of {}", component.name())),
        () if matches!(component, Component::GateOutput | Component::UpOutput) => {
            refuse(component.name().to_owned())
        }
        () if it.kind.reads_source() && it.source_layer != it.place.layer => {
            refuse(format!("sourceLayer {}", it.source_layer))
        }
        () if it.scale != 1.0 => refuse(format!("scale {}", it.scale)),
        () => Ok(()),
    }
}

fn refuse(what: String) -> Result<()> {
    Err(Error::unsupported(format!("{what}: pyreft's files have no word for it")))
}

/// The tensors of an intervention, with R [R, D] in place of X, in the order in which pyreft writes them.
fn tensors_of(it: &Intervention, params: &Params) -> Vec<(&'static str, Tensor)> {
    let (n_embd, rank) = (it.sizes.n_embd, it.sizes.rank);
    let mut tensors = Vec::new();
    if !is_bare(it.kind) {
        tensors.push(("embed_dim", Tensor::whole(n_embd)));
        tensors.push(("interchange_dim", Tensor::whole(n_embd)));
    }
    if !params.weight.is_empty() {
        tensors.push((weight_of(it.kind), Tensor::real(&[rank, n_embd], params.weight.clone())));
    }
    tensors.push((bias_of(it.kind), Tensor::real(&[rank], params.bias.clone())));
    match it.rotation() {
        None => {
            tensors.push(("proj_layer.weight", Tensor::real(&[rank, n_embd], params.projection.clone())));
            if !params.projection_bias.is_empty() {
                tensors.push(("proj_layer.bias", Tensor::real(&[rank], params.projection_bias.clone())));
            }
        }
        Some(_) if is_bare(it.kind) => {
            let columns = transposed(&params.projection, n_embd);
            tensors.push(("rotate_layer", Tensor::real(&[n_embd, rank], columns)));
        }
        Some(_) => {
            let mut x = vec![0.0; n_embd * rank];
            (0..rank).for_each(|j| x[j * rank + j] = -1.0);
            tensors.push((X, Tensor::real(&[n_embd, rank], x)));
            tensors.push((BASE, Tensor::real(&[n_embd, n_embd], whole_base(&params.projection, n_embd))));
        }
    }
    tensors
}

/// The base [D, D] that begins with R's rows as columns, to the bit.
fn whole_base(rotation: &[f32], n_embd: usize) -> Vec<f32> {
    let rows: Vec<f64> = rotation.iter().map(|r| f64::from(*r)).collect();
    let base = Base::of_rows(&rows, n_embd);
    let others = (rotation.len() / n_embd..n_embd).flat_map(|j| base.column(j));
    let columns: Vec<f32> = rotation.iter().copied().chain(others.map(|b| b as f32)).collect();
    transposed(&columns, n_embd)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A LoReFT of rank 1 and width 2 as a trainer leaves it.
    fn files(key: &str, rotation: Vec<f32>) -> Vec<File> {
        let tensors = [
            ("weight", Tensor::real(&[1, 2], vec![1.0, 2.0])),
            ("bias", Tensor::real(&[1], vec![3.0])),
            ("rotate_layer", Tensor::real(&[2, 1], rotation)),
        ];
        vec![(format!("somewhere/intkey_{key}.bin"), torch::write(&tensors))]
    }

    #[test]
    fn a_rotation_that_pyreft_wore_out_is_the_projection_it_has_become() {
        let key = "layer_7_comp_mlp_output_unit_pos_nunit_1#0";
        let read = |rotation| read(&files(key, rotation), &Unsaved::default()).expect("an intervention");
        let sound = read(vec![0.6, 0.8]);
        assert_eq!((sound.configs[0].kind.as_str(), &sound.rotations), ("loreft", &vec![vec![0.6, 0.8]]));
        let worn = read(vec![0.6, 0.9]);
        assert_eq!((worn.configs[0].kind.as_str(), worn.rotations.len()), ("noreft", 0));
        assert_eq!(worn.params[0].projection, [0.6, 0.9]);
        assert_eq!(worn.params[0].weight, [1.0, 2.0]);
    }

    #[test]
    fn places_are_read_by_name_and_by_path() {
        for (place, layer, component) in [
            ("layer_7_comp_block_input", 7, "block_input"),
            ("layer_0_comp_attention_value_output", 0, "attention_value_output"),
            ("comp_model_layers[3]_output", 3, "block_output"),
            ("comp_base_model_model_model_layers[12]_mlp_output", 12, "mlp_output"),
            ("comp_model_layers_3_output", 3, "block_output"),
            ("comp.model.layers.3.mlp.down_proj.output", 3, "mlp_output"),
            ("layer.7.comp.block_input", 7, "block_input"),
        ] {
            let key = format!("{place}_unit_pos_nunit_1#0");
            let read = read(&files(&key, vec![1.0, 0.0]), &Unsaved::default()).expect("an intervention");
            assert_eq!(read.configs[0].layers, Layers::List(vec![layer]));
            assert_eq!(read.configs[0].component, Components::from(component));
        }
        for place in ["comp_model_layers[x]_output", "comp_model_layers_3_norm", "layer_1_comp_middle", ""] {
            let key = format!("{place}_unit_pos_nunit_1#0");
            assert!(read(&files(&key, vec![1.0, 0.0]), &Unsaved::default()).is_err(), "{place}");
        }
    }
}
