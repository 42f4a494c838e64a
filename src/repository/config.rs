//! `config.json` as a GGUF file's metadata.

use std::collections::HashMap;
use std::f64::consts::TAU;

use serde_json::Value;

use crate::error::{Error, Faults, Result};
use crate::gguf::{Given, Metadata};
use crate::model::{ARCHITECTURES, Architecture};

/// Transformers' `model_type`, and the architecture that it is in GGUF.
const MODEL_TYPES: [(&str, &str); 9] = [
    ("llama", "llama"),
    ("mistral", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("gemma2", "gemma2"),
    ("gemma3_text", "gemma3"),
    ("phi3", "phi3"),
    ("smollm3", "smollm3"),
    ("olmo2", "olmo2"),
];

type Derived = HashMap<String, Vec<f32>>;

/// The architecture, the metadata, and the vectors that a GGUF file has as tensors and a configuration as numbers.
pub(super) fn read(config: &Value) -> Result<(&'static Architecture, Metadata, Derived)> {
    let config = text_part(config);
    let model_type = config["model_type"].as_str().unwrap_or_default();
    let known = MODEL_TYPES.into_iter().find(|(name, _)| *name == model_type);
    let arch = known.and_then(|(_, name)| ARCHITECTURES.iter().find(|arch| arch.name == name));
    let arch = arch.ok_or_else(|| {
        let known = MODEL_TYPES.map(|(name, _)| name).join(", ");
        Error::unsupported(format!("model_type {model_type:?} is not supported (supported: {known})"))
    })?;
    check(config, arch)?;
    let mut reader = Reader { config, arch, values: Vec::new(), derived: Derived::new() };
    reader.dims()?;
    reader.attention()?;
    reader.rope()?;
    Ok((arch, reader.values.into_iter().collect(), reader.derived))
}

/// The part of a configuration that tells of text: a model that also sees has it apart.
fn text_part(config: &Value) -> &Value {
    config.get("text_config").unwrap_or(config)
}

/// Fails on what the kernels would compute otherwise, naming all of it.
fn check(config: &Value, arch: &Architecture) -> Result<()> {
    let mut faults = Faults::default();
    let mut wrong = |what: String| faults.add(Error::unsupported(what));
    let biases = [("attention_bias", arch.qkv_bias), ("mlp_bias", false)];
    for (key, expected) in biases {
        if config[key].as_bool().is_some_and(|got| got != expected) {
            wrong(format!("{key} {} is not supported for {}", !expected, arch.name));
        }
    }
    let act = ["hidden_activation", "hidden_act"].into_iter().find_map(|key| config[key].as_str());
    let expected: &[&str] = if arch.embed_scaled { &["gelu_pytorch_tanh"] } else { &["silu", "swish"] };
    // Gemma's first configurations say "gelu" beside hidden_activation, which is what counts.
    if let Some(act) = act.filter(|act| !expected.contains(act)) {
        wrong(format!("activation {act:?} is not supported for {} (supported: {})", arch.name, expected[0]));
    }
    if !config["quantization_config"].is_null() {
        wrong("weights that are quantized already are not supported: choose the unquantized repository, or a GGUF file".to_owned());
    }
    if let (Some(layers), Some(every)) = (config["no_rope_layers"].as_array(), arch.unturned_every) {
        let turned = |number: usize| !(number + 1).is_multiple_of(every);
        if layers.iter().enumerate().any(|(number, turns)| (turns.as_u64() == Some(1)) != turned(number)) {
            wrong(format!("no_rope_layers other than every {every}th are not supported"));
        }
    }
    faults.check()
}

struct Reader<'a> {
    config: &'a Value,
    arch: &'static Architecture,
    values: Vec<(String, Given)>,
    derived: Derived,
}

impl Reader<'_> {
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

    fn dims(&mut self) -> Result<()> {
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
        let eps = real(&self.config["rms_norm_eps"], "rms_norm_eps")?;
        self.set("attention.layer_norm_rms_epsilon", Given::F32(eps as f32));
        Ok(())
    }

    fn attention(&mut self) -> Result<()> {
        for (key, theirs) in [
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ] {
            if let Some(cap) = self.config[theirs].as_f64() {
                self.set(key, Given::F32(cap as f32));
            }
        }
        if let Some(scalar) = self.config["query_pre_attn_scalar"].as_f64() {
            self.set("attention.scale", Given::F32((scalar as f32).sqrt().recip()));
        }
        // Others name a window that they do not use, or use only beyond what llama.cpp and webreft run.
        if self.arch.global_every > 1
            && let Some(window) = self.count("sliding_window")?
        {
            self.set("attention.sliding_window", Given::U32(window));
            self.window_pattern()?;
        }
        Ok(())
    }

    /// Which layers see everything: one of so many.
    fn window_pattern(&mut self) -> Result<()> {
        let given = ["sliding_window_pattern", "_sliding_window_pattern"];
        let given = given.into_iter().map(|key| self.count(key)).find_map(Result::transpose).transpose()?;
        let every = given.unwrap_or(self.arch.global_every as u32).max(1);
        if let Some(types) = self.config["layer_types"].as_array() {
            let is_global = |number: usize| (number + 1).is_multiple_of(every as usize);
            let differs = |(number, kind): (usize, &Value)| (kind == "full_attention") != is_global(number);
            if types.iter().enumerate().any(differs) {
                return Err(Error::unsupported(format!(
                    "layer_types other than a window in all but every {every}th layer are not supported"
                )));
            }
        }
        self.set("attention.sliding_window_pattern", Given::U32(every));
        Ok(())
    }

    fn rope(&mut self) -> Result<()> {
        // Transformers 5 keeps everything of rope in one place; Gemma 3 a set for each type of layer.
        let parameters = &self.config["rope_parameters"];
        let whole = parameters.get("full_attention").unwrap_or(parameters);
        let scaling =
            if self.config["rope_scaling"].is_object() { &self.config["rope_scaling"] } else { whole };
        let theta =
            [&self.config["rope_theta"], &whole["rope_theta"]].into_iter().find(|theta| !theta.is_null());
        let base = theta.map_or(Ok(10_000.0), |theta| real(theta, "rope_theta"))?;
        self.set("rope.freq_base", Given::F32(base as f32));
        let of_windows =
            [&self.config["rope_local_base_freq"], &parameters["sliding_attention"]["rope_theta"]];
        if let Some(theta) = of_windows.into_iter().find(|theta| !theta.is_null()) {
            self.set("rope.freq_base_swa", Given::F32(real(theta, "rope_local_base_freq")? as f32));
        }
        let part = self.config["partial_rotary_factor"].as_f64().unwrap_or(1.0);
        let n_rot = (self.head_dim()? as f64 * part) as u32;
        self.set("rope.dimension_count", Given::U32(n_rot));
        let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str()).unwrap_or("default");
        match kind {
            "default" => Ok(()),
            "linear" => self.linear(scaling),
            "llama3" => self.llama3(scaling, base, n_rot),
            "yarn" => self.yarn(scaling),
            "longrope" | "su" => self.longrope(scaling),
            other => Err(Error::unsupported(format!(
                "rope scaling {other:?} is not supported (supported: default, linear, llama3, yarn, longrope)"
            ))),
        }
    }

    fn head_dim(&self) -> Result<u32> {
        let count = |key: &str| self.count(key)?.ok_or_else(|| Error::file(format!("{key} is missing")));
        match self.count("head_dim")? {
            Some(head_dim) => Ok(head_dim),
            None => Ok(count("hidden_size")? / count("num_attention_heads")?.max(1)),
        }
    }

    fn linear(&mut self, scaling: &Value) -> Result<()> {
        self.set("rope.scaling.type", Given::Text("linear".to_owned()));
        self.set("rope.scaling.factor", Given::F32(real(&scaling["factor"], "rope factor")? as f32));
        Ok(())
    }

    /// Frequencies that turn seldom within the original context are divided by the factor, those that turn often by nothing, and between
    /// them by something between: `_compute_llama3_parameters` of Transformers.
    fn llama3(&mut self, scaling: &Value, base: f64, n_rot: u32) -> Result<()> {
        let number = |key: &str| real(&scaling[key], key);
        let (factor, low, high) =
            (number("factor")?, number("low_freq_factor")?, number("high_freq_factor")?);
        let original = number("original_max_position_embeddings")?;
        let of_pair = |pair: u32| {
            let turns = original * base.powf(-2.0 * f64::from(pair) / f64::from(n_rot)) / TAU;
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        };
        self.derived.insert("rope_freqs.weight".to_owned(), (0..n_rot / 2).map(of_pair).collect());
        Ok(())
    }

    fn yarn(&mut self, scaling: &Value) -> Result<()> {
        let factor = real(&scaling["factor"], "rope factor")?;
        self.set("rope.scaling.type", Given::Text("yarn".to_owned()));
        self.set("rope.scaling.factor", Given::F32(factor as f32));
        for (key, theirs) in
            [("rope.scaling.yarn_beta_fast", "beta_fast"), ("rope.scaling.yarn_beta_slow", "beta_slow")]
        {
            if let Some(beta) = scaling[theirs].as_f64() {
                self.set(key, Given::F32(beta as f32));
            }
        }
        if let Some(gain) = scaling["attention_factor"].as_f64() {
            let usual = 1.0 + 0.1 * factor.ln(); // comes on top of what the file says
            self.set("rope.scaling.attn_factor", Given::F32((gain / usual) as f32));
        }
        if let Some(original) = scaling["original_max_position_embeddings"].as_u64() {
            self.set("rope.scaling.original_context_length", Given::U32(original as u32));
        }
        Ok(())
    }

    /// Phi-3's: factors for a short and for a long context, and cos and sin a little longer.
    fn longrope(&mut self, scaling: &Value) -> Result<()> {
        let original = self.count("original_max_position_embeddings")?;
        let original = original.ok_or_else(|| Error::file("original_max_position_embeddings is missing"))?;
        let whole = self.count("max_position_embeddings")?.unwrap_or(original);
        let stretch = f64::from(whole) / f64::from(original);
        let usual = if stretch > 1.0 { (1.0 + stretch.ln() / f64::from(original).ln()).sqrt() } else { 1.0 };
        let gain = scaling["attention_factor"].as_f64().unwrap_or(usual);
        self.set("rope.scaling.type", Given::Text("longrope".to_owned()));
        self.set("rope.scaling.attn_factor", Given::F32(gain as f32));
        self.set("rope.scaling.original_context_length", Given::U32(original));
        for (name, theirs) in
            [("rope_factors_short.weight", "short_factor"), ("rope_factors_long.weight", "long_factor")]
        {
            let factors = scaling[theirs].as_array().map(Vec::as_slice).unwrap_or_default();
            let factors = factors.iter().map(|factor| Ok(real(factor, theirs)? as f32));
            self.derived.insert(name.to_owned(), factors.collect::<Result<_>>()?);
        }
        Ok(())
    }
}

/// A number above 0.
fn real(value: &Value, key: &str) -> Result<f64> {
    value
        .as_f64()
        .filter(|x| *x > 0.0 && x.is_finite())
        .ok_or_else(|| Error::file(format!("{key}: expected a number above 0, got {value}")))
}
