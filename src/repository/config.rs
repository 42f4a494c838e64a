//! `config.json` as a GGUF file's metadata.

use std::collections::HashMap;

use serde_json::Value;

use super::keys;
use super::model_types::{MODEL_TYPES, ModelType, Switch, Windows};
use super::rope::{self, Rope};
use crate::error::{Error, Faults, Result};
use crate::gguf::{Given, Metadata};
use crate::model::{ARCHITECTURES, Architecture};

/// Vectors that a GGUF file has as tensors and a configuration as numbers, by their names in GGUF.
pub(super) type Derived = HashMap<String, Vec<f32>>;

/// What a configuration says of a model.
pub(super) struct Config {
    pub(super) arch: &'static Architecture,
    pub(super) metadata: Metadata,
    pub(super) derived: Derived,
    /// The projections that have biases.
    pub(super) biases: Vec<&'static str>,
    /// Whether the output matrix is the embedding.
    pub(super) tied: bool,
    pub(super) n_layer: usize,
}

/// Reads a configuration. `shape_of` gives the shape of a tensor of the files by its name in GGUF: it decides where the configuration leaves
/// out what a head is, and the model's class has a default for another size.
pub(super) fn read(config: &Value, shape_of: impl Fn(&str) -> Option<Vec<usize>>) -> Result<Config> {
    let model_type = model_type(config)?;
    let arch = architecture(model_type);
    let text = with_defaults(text_part(config), model_type);
    check(&text, model_type, arch)?;
    let mut reader = Reader { config: text, model_type, arch, values: Vec::new(), derived: Derived::new() };
    reader.heads_of_tensors(text_part(config), &shape_of)?;
    let n_layer = reader.dims()?;
    reader.attention()?;
    reader.windows(n_layer)?;
    reader.rope()?;
    // A model that also sees says it beside its text part.
    let tied = [config, &reader.config].into_iter().find_map(|it| it["tie_word_embeddings"].as_bool());
    Ok(Config {
        arch,
        metadata: reader.values.into_iter().collect(),
        derived: reader.derived,
        biases: biases(&reader.config, model_type),
        tied: tied.unwrap_or(false),
        n_layer: n_layer as usize,
    })
}

/// The architecture of a configuration, by which tensors get their names.
pub(super) fn architecture_of(config: &Value) -> Result<&'static Architecture> {
    Ok(architecture(model_type(config)?))
}

fn architecture(model_type: &ModelType) -> &'static Architecture {
    ARCHITECTURES.iter().find(|arch| arch.name == model_type.arch).expect("each model type has one")
}

fn model_type(config: &Value) -> Result<&'static ModelType> {
    let name = text_part(config)["model_type"].as_str().unwrap_or_default();
    MODEL_TYPES.iter().find(|it| it.name == name).ok_or_else(|| {
        let known: Vec<&str> = MODEL_TYPES.iter().map(|it| it.name).collect();
        let known = known.join(", ");
        Error::unsupported(format!("model_type {name:?} is not supported (supported: {known})"))
    })
}

/// The part of a configuration that tells of text: a model that also sees has it apart.
fn text_part(config: &Value) -> &Value {
    config.get("text_config").unwrap_or(config)
}

/// The configuration with the class's defaults for keys that are absent. A null stays: it is a value.
fn with_defaults(config: &Value, model_type: &ModelType) -> Value {
    let mut whole: Value = serde_json::from_str(model_type.defaults).expect("the table holds JSON");
    if let (Some(whole), Some(given)) = (whole.as_object_mut(), config.as_object()) {
        whole.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    whole
}

/// The projections that have biases.
fn biases(config: &Value, model_type: &ModelType) -> Vec<&'static str> {
    let is_on = |switch: &Switch| match switch {
        Switch::Always => true,
        Switch::Key(key) => config[key] == true,
    };
    let on = model_type.biases.iter().filter(|(switch, _)| is_on(switch));
    on.flat_map(|(_, stems)| stems.iter().copied()).collect()
}

/// Fails on what the kernels would compute otherwise, naming all of it.
fn check(config: &Value, model_type: &ModelType, arch: &Architecture) -> Result<()> {
    let mut faults = Faults::default();
    keys::check(config, model_type.name, &mut faults);
    let mut wrong = |what: String| faults.add(Error::unsupported(what));
    for (key, stem) in BIAS_KEYS {
        let reads = model_type.biases.iter().any(|(switch, _)| *switch == Switch::Key(key));
        let does = biases(config, model_type).contains(&stem);
        if !reads && config[key].as_bool().is_some_and(|got| got != does) {
            wrong(format!("{key} {} is not supported for {}", !does, model_type.name));
        }
    }
    let act = ["hidden_activation", "hidden_act"].into_iter().find_map(|key| config[key].as_str());
    let expected: &[&str] = if arch.embed_scaled { &["gelu_pytorch_tanh"] } else { &["silu", "swish"] };
    // Gemma's first configurations say "gelu" beside hidden_activation, which is what counts.
    if let Some(act) = act.filter(|act| !expected.contains(act)) {
        let (name, expected) = (model_type.name, expected[0]);
        wrong(format!("activation {act:?} is not supported for {name} (supported: {expected})"));
    }
    for key in ["layer_norm_eps", "layer_norm_epsilon", "norm_eps"] {
        let (value, eps) = (&config[key], &config["rms_norm_eps"]);
        if !value.is_null() && value.as_f64() != eps.as_f64() {
            wrong(format!("{key} {value} is not supported for {}: rms_norm_eps is {eps}", model_type.name));
        }
    }
    if !config["quantization_config"].is_null() {
        wrong("weights that are quantized already are not supported: choose the unquantized repository, or a GGUF file".to_owned());
    }
    if let Some(every) = arch.unturned_every {
        check_turned(config, every, &mut wrong);
    }
    faults.check()
}

/// Keys that say whether projections have biases, and one of those projections.
const BIAS_KEYS: [(&str, &str); 5] = [
    ("attention_bias", "attn_q"),
    ("qkv_bias", "attn_q"),
    ("use_qkv_bias", "attn_q"),
    ("attention_out_bias", "attn_output"),
    ("mlp_bias", "ffn_gate"),
];

/// Notes layers that are turned by position where the architecture's are not, or the other way round.
fn check_turned(config: &Value, every: usize, wrong: &mut impl FnMut(String)) {
    let interval = &config["no_rope_layer_interval"];
    match config["no_rope_layers"].as_array() {
        Some(layers) => {
            let turned = |number: usize| !(number + 1).is_multiple_of(every);
            if layers.iter().enumerate().any(|(number, turns)| (turns.as_u64() == Some(1)) != turned(number))
            {
                wrong(format!("no_rope_layers other than every {every}th are not supported"));
            }
        }
        None if interval.as_u64() != Some(every as u64) => {
            wrong(format!("no_rope_layer_interval {interval} is not supported (supported: {every})"));
        }
        None => {}
    }
}

struct Reader {
    config: Value,
    model_type: &'static ModelType,
    arch: &'static Architecture,
    values: Vec<(String, Given)>,
    derived: Derived,
}

impl Reader {
    fn set(&mut self, key: &str, value: Given) {
        self.values.push((format!("{}.{key}", self.arch.name), value));
    }

    /// A count, if the configuration has it and it is not null.
    fn count(&self, key: &str) -> Result<Option<u32>> {
        match &self.config[key] {
            Value::Null => Ok(None),
            value => value.as_u64().and_then(|n| n.try_into().ok()).map(Some).ok_or_else(|| {
                Error::file(format!("{key}: expected a number from 0 to {}, got {value}", u32::MAX))
            }),
        }
    }

    /// Takes what a head is from the tensors where the configuration, as it is given, does not say it and queries are normed by head.
    fn heads_of_tensors(
        &mut self,
        given: &Value,
        shape_of: impl Fn(&str) -> Option<Vec<usize>>,
    ) -> Result<()> {
        if self.arch.qk_norm != Some(crate::model::QkGroups::Heads) {
            return Ok(());
        }
        let rows = |name: &str| shape_of(&format!("blk.0.{name}.weight")).map(|shape| shape[0]);
        if given.get("head_dim").is_none()
            && let Some(head_dim) = rows("attn_q_norm")
        {
            self.config["head_dim"] = head_dim.into();
        }
        let head_dim = self.count("head_dim")?.unwrap_or(0) as usize;
        for (key, name) in [("num_attention_heads", "attn_q"), ("num_key_value_heads", "attn_k")] {
            let whole = rows(name).filter(|rows| head_dim > 0 && rows.is_multiple_of(head_dim));
            if let (None, Some(rows)) = (given.get(key), whole) {
                self.config[key] = (rows / head_dim).into();
            }
        }
        Ok(())
    }

    /// Sets the dims; returns the number of layers.
    fn dims(&mut self) -> Result<u32> {
        let arch = self.arch.name;
        self.values.push(("general.architecture".to_owned(), Given::Text(arch.to_owned())));
        let name = self.config["_name_or_path"].as_str().filter(|name| !name.is_empty()).unwrap_or(arch);
        self.values.push(("general.name".to_owned(), Given::Text(name.to_owned())));
        let counts = [
            ("embedding_length", "hidden_size"),
            ("block_count", "num_hidden_layers"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", "num_key_value_heads"),
            ("attention.key_length", "head_dim"),
            ("attention.value_length", "head_dim"),
            ("feed_forward_length", "intermediate_size"),
            ("context_length", "max_position_embeddings"),
        ];
        for (key, theirs) in counts {
            if let Some(count) = self.count(theirs)? {
                self.set(key, Given::U32(count));
            }
        }
        let eps = rope::real(&self.config["rms_norm_eps"], "rms_norm_eps")?;
        self.set("attention.layer_norm_rms_epsilon", Given::F32(eps as f32));
        Ok(self.count("num_hidden_layers")?.unwrap_or(0))
    }

    fn attention(&mut self) -> Result<()> {
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if !self.config[key].is_null() {
                let cap = rope::real(&self.config[key], key)?;
                self.set(key, Given::F32(cap as f32));
            }
        }
        let scalar = "query_pre_attn_scalar";
        if !self.config[scalar].is_null() {
            let scalar = rope::real(&self.config[scalar], scalar)?;
            self.set("attention.scale", Given::F32((scalar as f32).sqrt().recip()));
        }
        Ok(())
    }

    /// Which layers see a window, by `layer_types` or by the class's rule.
    fn windows(&mut self, n_layer: u32) -> Result<()> {
        let by_rule = self.windowed_by_rule(n_layer)?;
        let windowed = match &self.config["layer_types"] {
            Value::Null => by_rule,
            types => self.windowed_by_types(types, &by_rule)?,
        };
        if !windowed.contains(&true) {
            return Ok(());
        }
        let window = self.count("sliding_window")?.filter(|window| *window > 0).ok_or_else(|| {
            let got = &self.config["sliding_window"];
            Error::file(format!(
                "sliding_window: expected a number above 0 for layers with a window, got {got}"
            ))
        })?;
        self.set("attention.sliding_window", Given::U32(window));
        self.set("attention.sliding_window_pattern", Given::Flags(windowed));
        Ok(())
    }

    /// For each layer whether it sees a window, where `layer_types` is absent.
    fn windowed_by_rule(&self, n_layer: u32) -> Result<Vec<bool>> {
        let window = self.count("sliding_window")?;
        let context = self.count("max_position_embeddings")?.unwrap_or(0);
        let uses = self.config["use_sliding_window"] == true;
        let first = self.count("max_window_layers")?.unwrap_or(0);
        let name = self.model_type.name;
        let is_windowed: Box<dyn Fn(u32) -> bool> = match self.model_type.windows {
            Windows::Never if uses || window.is_some_and(|window| window < context) => {
                let got = &self.config["sliding_window"];
                return Err(Error::unsupported(format!(
                    "sliding_window {got} is not supported for {name} (supported: none, or the whole context)"
                )));
            }
            Windows::Never => Box::new(|_| false),
            Windows::All => Box::new(move |_| window.is_some()),
            Windows::Every { layers, reads_pattern } => {
                let every = self.pattern(layers, reads_pattern)?;
                Box::new(move |number| !(number + 1).is_multiple_of(every))
            }
            Windows::From => Box::new(move |number| uses && window.is_some() && number >= first),
            Windows::Unturned => {
                let every = self.arch.unturned_every.unwrap_or(1) as u32;
                Box::new(move |number| uses && window.is_some() && (number + 1).is_multiple_of(every))
            }
        };
        // A count that no file of tensors bears out is an error later; nothing of its size is made here.
        Ok((0..n_layer.min(MOST_LAYERS)).map(is_windowed).collect())
    }

    /// Of so many layers the last sees everything.
    fn pattern(&self, layers: u32, reads_pattern: bool) -> Result<u32> {
        let keys = ["sliding_window_pattern", "_sliding_window_pattern"];
        let given = keys.into_iter().map(|key| self.count(key)).find_map(Result::transpose).transpose()?;
        match given {
            Some(given) if given != layers && !reads_pattern => Err(Error::unsupported(format!(
                "sliding_window_pattern {given} is not supported for {} (supported: {layers})",
                self.model_type.name
            ))),
            Some(0) => Err(Error::file("sliding_window_pattern: expected a number above 0, got 0")),
            given => Ok(given.unwrap_or(layers)),
        }
    }

    /// For each layer whether it sees a window, as `layer_types` says.
    fn windowed_by_types(&self, types: &Value, by_rule: &[bool]) -> Result<Vec<bool>> {
        let of_type = |kind: &Value| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(Error::unsupported(format!(
                "layer_types: {kind} is not supported (supported: \"full_attention\", \"sliding_attention\")"
            ))),
        };
        let types = types
            .as_array()
            .ok_or_else(|| Error::file(format!("layer_types: expected an array, got {types}")))?;
        if types.len() != by_rule.len() {
            let (got, n_layer) = (types.len(), by_rule.len());
            return Err(Error::file(format!(
                "layer_types: expected {n_layer}, one for each layer, got {got}"
            )));
        }
        let windowed = types.iter().map(of_type).collect::<Result<Vec<bool>>>()?;
        let needs_key = matches!(self.model_type.windows, Windows::From | Windows::Unturned);
        let unused = needs_key && self.config["use_sliding_window"] != true && windowed.contains(&true);
        let unread = matches!(self.model_type.windows, Windows::Never | Windows::All) && windowed != by_rule;
        match unused || unread {
            true => Err(Error::unsupported(format!(
                "layer_types with windows in other layers than {} has by its other keys are not supported",
                self.model_type.name
            ))),
            false => Ok(windowed),
        }
    }

    fn rope(&mut self) -> Result<()> {
        let head_dim = self.head_dim()?;
        let has_windows = self.arch.window_rope_base.is_some();
        let rope = Rope::read(&self.config, self.model_type.name, head_dim, has_windows)?;
        for (key, value) in rope.values {
            self.set(key, value);
        }
        self.derived.extend(rope.derived);
        Ok(())
    }

    fn head_dim(&self) -> Result<u32> {
        let count = |key: &str| self.count(key)?.ok_or_else(|| Error::file(format!("{key} is missing")));
        match self.count("head_dim")? {
            Some(head_dim) => Ok(head_dim),
            None => Ok(count("hidden_size")? / count("num_attention_heads")?.max(1)),
        }
    }
}

/// No model has as many layers.
const MOST_LAYERS: u32 = 1 << 16;
