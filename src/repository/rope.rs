//! What a configuration says of rotary positions: `rope_parameters` of Transformers 5, `rope_scaling` and `rope_theta` of those before.
//!
//! Source: `modeling_rope_utils.py`, and `convert_rope_params_to_dict` of the configurations.

use std::f64::consts::TAU;

use serde_json::{Map, Value};

use super::config::Derived;
use crate::error::{Error, Result};
use crate::gguf::Given;

/// Keys of rotary parameters that are read, for whatever type.
const KEYS: [&str; 17] = [
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "low_freq_factor",
    "high_freq_factor",
    "short_factor",
    "long_factor",
    "finetuned", // says where the weights come from
];

/// Types of layers that have rotary parameters of their own.
const LAYERS: [&str; 2] = ["full_attention", "sliding_attention"];

/// The metadata that rotary parameters become, and factors of frequencies.
pub(super) struct Rope {
    pub(super) values: Vec<(&'static str, Given)>,
    pub(super) derived: Derived,
}

/// Rotary parameters on their way.
struct Reader<'a> {
    config: &'a Value,
    model_type: &'a str,
    parameters: Map<String, Value>,
    head_dim: u32,
    rope: Rope,
}

impl Rope {
    /// Reads them; `by_layer` is whether layers with a window have their own.
    pub(super) fn read(config: &Value, model_type: &str, head_dim: u32, by_layer: bool) -> Result<Rope> {
        let (parameters, of_windows) = match by_layer {
            true => {
                let [full, of_windows] = parameters_by_layer(config, model_type)?;
                (full, Some(of_windows))
            }
            false => (parameters(config), None),
        };
        check_keys(&parameters)?;
        let rope = Rope { values: Vec::new(), derived: Derived::new() };
        let mut reader = Reader { config, model_type, parameters, head_dim, rope };
        reader.all()?;
        if let Some(of_windows) = of_windows {
            reader.windows(&of_windows)?;
        }
        Ok(reader.rope)
    }
}

/// Those of all layers alike: an older `rope_scaling` takes the place of `rope_parameters`.
fn parameters(config: &Value) -> Map<String, Value> {
    let given = ["rope_scaling", "rope_parameters"].into_iter().map(|key| &config[key]);
    given.filter_map(Value::as_object).find(|map| !map.is_empty()).cloned().unwrap_or_default()
}

/// Those of layers that see everything and, apart, of layers with a window. `rope_scaling` is about the first.
fn parameters_by_layer(config: &Value, model_type: &str) -> Result<[Map<String, Value>; 2]> {
    let given = config["rope_parameters"].as_object().cloned().unwrap_or_default();
    if let Some(key) = given.keys().find(|key| !LAYERS.contains(&key.as_str())) {
        return Err(Error::unsupported(format!(
            "rope_parameters: {key} is not supported for {model_type} (supported: full_attention, sliding_attention)"
        )));
    }
    let [mut full, of_windows] =
        LAYERS.map(|layers| given.get(layers).and_then(Value::as_object).cloned().unwrap_or_default());
    full.extend(config["rope_scaling"].as_object().cloned().unwrap_or_default());
    Ok([full, of_windows])
}

/// Everything in rotary parameters is about the computation, so that an unknown key is an error.
fn check_keys(parameters: &Map<String, Value>) -> Result<()> {
    let unknown = |(key, value): &(&String, &Value)| !KEYS.contains(&key.as_str()) && !value.is_null();
    match parameters.iter().find(unknown) {
        Some((key, value)) => {
            let value: String = value.to_string().chars().take(80).collect();
            Err(Error::unsupported(format!("rope parameter {key} {value} is not supported")))
        }
        None => Ok(()),
    }
}

impl Reader<'_> {
    fn set(&mut self, key: &'static str, value: Given) {
        self.rope.values.push((key, value));
    }

    /// A number above 0, if it is given and not null.
    fn maybe(&self, key: &str) -> Result<Option<f64>> {
        self.parameters.get(key).filter(|value| !value.is_null()).map(|value| real(value, key)).transpose()
    }

    fn number(&self, key: &str) -> Result<f64> {
        real(self.parameters.get(key).unwrap_or(&Value::Null), key)
    }

    /// The configuration's own number.
    fn own(&self, key: &str) -> Result<Option<f64>> {
        Some(&self.config[key]).filter(|value| !value.is_null()).map(|value| real(value, key)).transpose()
    }

    fn all(&mut self) -> Result<()> {
        let theta = "rope_theta";
        let base = self.maybe(theta)?.or(self.own(theta)?).unwrap_or(10_000.0);
        self.set("rope.freq_base", Given::F32(base as f32));
        let n_rot = self.n_rot()?;
        self.set("rope.dimension_count", Given::U32(n_rot));
        let kind = |key: &str| self.parameters.get(key).and_then(Value::as_str).map(str::to_owned);
        let kind = kind("rope_type").or_else(|| kind("type")).unwrap_or_else(|| "default".to_owned());
        match (self.model_type, kind.as_str()) {
            ("phi3", "yarn" | "su") | (_, "longrope" | "su") => self.longrope(),
            (_, "default") => self.plain(),
            (_, "linear") => self.linear(),
            (_, "llama3") => self.llama3(base, n_rot),
            (_, "yarn") => self.yarn(),
            (_, other) => Err(Error::unsupported(format!(
                "rope scaling {other:?} is not supported (supported: default, linear, llama3, yarn, longrope)"
            ))),
        }
    }

    /// How many values of a head are turned. Only Phi-3 turns a part.
    fn n_rot(&self) -> Result<u32> {
        let key = "partial_rotary_factor";
        let part = self.maybe(key)?.or(self.own(key)?).unwrap_or(1.0);
        if part > 1.0 || (part < 1.0 && self.model_type != "phi3") {
            let name = self.model_type;
            return Err(Error::unsupported(format!(
                "{key} {part} is not supported for {name} (supported: 1)"
            )));
        }
        Ok((f64::from(self.head_dim) * part) as u32)
    }

    /// No scaling; a factor without a type would be forgotten.
    fn plain(&self) -> Result<()> {
        match self.maybe("factor")?.filter(|factor| *factor != 1.0) {
            Some(factor) => Err(Error::unsupported(format!(
                "rope scaling by a factor of {factor} without a type is not supported: give rope_type (supported: linear, llama3, yarn, longrope)"
            ))),
            None => Ok(()),
        }
    }

    fn linear(&mut self) -> Result<()> {
        let factor = self.number("factor")?;
        self.set("rope.scaling.type", Given::Text("linear".to_owned()));
        self.set("rope.scaling.factor", Given::F32(factor as f32));
        Ok(())
    }

    /// The context before it was stretched: among the parameters, or the configuration's own.
    fn original(&self) -> Result<f64> {
        let key = "original_max_position_embeddings";
        let given = self.own(key)?.or(self.maybe(key)?).or(self.own("max_position_embeddings")?);
        given.ok_or_else(|| Error::file(format!("{key} is missing")))
    }

    /// By how much the context was stretched.
    fn stretch(&self) -> Result<f64> {
        let original = self.original()?;
        let whole = self.own("max_position_embeddings")?.unwrap_or(original);
        Ok(self.maybe("factor")?.unwrap_or(whole / original))
    }

    /// Frequencies that turn seldom within the original context are divided by the factor, those that turn often by nothing, and between
    /// them by something between: `_compute_llama3_parameters` of Transformers.
    fn llama3(&mut self, base: f64, n_rot: u32) -> Result<()> {
        let (factor, low, high) =
            (self.number("factor")?, self.number("low_freq_factor")?, self.number("high_freq_factor")?);
        let original = self.original()?;
        let of_pair = |pair: u32| {
            let turns = original * base.powf(-2.0 * f64::from(pair) / f64::from(n_rot)) / TAU;
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        };
        self.rope.derived.insert("rope_freqs.weight".to_owned(), (0..n_rot / 2).map(of_pair).collect());
        Ok(())
    }

    /// `_compute_yarn_parameters` of Transformers.
    fn yarn(&mut self) -> Result<()> {
        if self.parameters.get("truncate").is_some_and(|truncate| truncate == false) {
            return Err(Error::unsupported(
                "rope parameter truncate false is not supported (supported: true)",
            ));
        }
        let (factor, original) = (self.stretch()?, self.original()?);
        self.set("rope.scaling.type", Given::Text("yarn".to_owned()));
        self.set("rope.scaling.factor", Given::F32(factor as f32));
        self.set("rope.scaling.original_context_length", Given::U32(original as u32));
        for (key, theirs) in
            [("rope.scaling.yarn_beta_fast", "beta_fast"), ("rope.scaling.yarn_beta_slow", "beta_slow")]
        {
            if let Some(beta) = self.maybe(theirs)? {
                self.set(key, Given::F32(beta as f32));
            }
        }
        let scaled = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
        let gain =
            match (self.maybe("attention_factor")?, self.maybe("mscale")?, self.maybe("mscale_all_dim")?) {
                (Some(gain), _, _) => gain,
                (None, Some(one), Some(all)) => scaled(one) / scaled(all),
                _ => scaled(1.0),
            };
        let usual = 1.0 + 0.1 * factor.ln(); // comes on top of what the file says
        self.set("rope.scaling.attn_factor", Given::F32((gain / usual) as f32));
        Ok(())
    }

    /// Phi-3's: factors for a short and for a long context, and cos and sin a little longer.
    fn longrope(&mut self) -> Result<()> {
        let (original, stretch) = (self.original()?, self.stretch()?);
        let usual = if stretch > 1.0 { (1.0 + stretch.ln() / original.ln()).sqrt() } else { 1.0 };
        let gain = self.maybe("attention_factor")?.unwrap_or(usual);
        self.set("rope.scaling.type", Given::Text("longrope".to_owned()));
        self.set("rope.scaling.attn_factor", Given::F32(gain as f32));
        self.set("rope.scaling.original_context_length", Given::U32(original as u32));
        for (name, theirs) in
            [("rope_factors_short.weight", "short_factor"), ("rope_factors_long.weight", "long_factor")]
        {
            let factors = self.parameters.get(theirs).and_then(Value::as_array);
            let factors = factors.map(Vec::as_slice).unwrap_or_default();
            let factors = factors.iter().map(|factor| Ok(real(factor, theirs)? as f32));
            let factors = factors.collect::<Result<_>>()?;
            self.rope.derived.insert(name.to_owned(), factors);
        }
        Ok(())
    }

    /// Those of layers with a window: a base of their own, and nothing else.
    fn windows(&mut self, parameters: &Map<String, Value>) -> Result<()> {
        let kind = ["rope_type", "type"].into_iter().find_map(|key| parameters.get(key)?.as_str());
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return Err(Error::unsupported(format!(
                "rope scaling {kind:?} of sliding_attention is not supported (supported: default)"
            )));
        }
        let known = ["rope_type", "type", "rope_theta"];
        let is_unknown = |(key, value): &(&String, &Value)| {
            let is_whole = *key == "partial_rotary_factor" && value.as_f64() == Some(1.0);
            !known.contains(&key.as_str()) && !value.is_null() && !is_whole
        };
        if let Some((key, value)) = parameters.iter().find(is_unknown) {
            return Err(Error::unsupported(format!(
                "rope parameter {key} {value} of sliding_attention is not supported"
            )));
        }
        let theta = parameters.get("rope_theta").filter(|theta| !theta.is_null());
        let base = theta.map(|theta| real(theta, "rope_theta")).transpose()?;
        if let Some(base) = base.or(self.own("rope_local_base_freq")?) {
            self.set("rope.freq_base_swa", Given::F32(base as f32));
        }
        Ok(())
    }
}

/// A number above 0.
pub(super) fn real(value: &Value, key: &str) -> Result<f64> {
    value
        .as_f64()
        .filter(|x| *x > 0.0 && x.is_finite())
        .ok_or_else(|| Error::file(format!("{key}: expected a number above 0, got {value}")))
}
