//! Keys of `config.json` that change what a model computes and that webreft does not honour: each is refused unless its value changes
//! nothing. Keys that no model of Transformers computes with are not looked at: they are about training, about generation or other
//! people's own.

use serde_json::Value;

use crate::error::{Error, Faults};

/// Why a key matters, and the values besides null that change nothing, as JSON.
struct Neutral {
    key: &'static str,
    values: &'static [&'static str],
}

const fn key(key: &'static str, values: &'static [&'static str]) -> Neutral {
    Neutral { key, values }
}

/// Each key that some model of Transformers computes with, and those of webreft's types do not.
const KEYS: [Neutral; 58] = [
    // Scales of Granite, MiniCPM, Cohere, Falcon-H1 and others.
    key("logit_scale", &["1"]),
    key("logits_scaling", &["1"]),
    key("residual_multiplier", &["1"]),
    key("attention_multiplier", &[]),
    key("embedding_multiplier", &["1"]),
    key("lm_head_multiplier", &["1"]),
    key("mlp_multipliers", &["[1,1]"]),
    key("key_multiplier", &["1"]),
    key("scale_emb", &["1"]),
    key("scale_depth", &[]),
    key("dim_model_base", &[]),
    key("mup_attn_multiplier", &["1"]),
    key("mup_embedding_multiplier", &["1"]),
    key("mup_width_multiplier", &["1"]),
    key("embedding_scale", &["1"]),
    key("scale_embedding", &["false"]),
    key("residual_scale", &["1"]),
    key("attention_scale", &[]),
    key("scale_attn_weights", &["true"]),
    key("scale_attn_by_inverse_layer_idx", &["false"]),
    key("attn_scale", &[]),
    key("attn_temperature_tuning", &["false", "0"]),
    key("floor_scale", &[]),
    // Clamps and other functions on the way.
    key("clip_qkv", &["0"]),
    key("swiglu_limit", &["0"]),
    key("activation_sparsity_pattern", &[]),
    key("use_qk_norm", &["false"]),
    key("qk_layernorm", &["false"]),
    key("use_kq_norm", &["false"]),
    key("parallel_residual", &["false"]),
    key("use_parallel_residual", &["false"]),
    key("parallel_attn", &["false"]),
    key("alibi", &["false"]),
    key("position_embedding_type", &["\"rope\""]),
    key("rope_interleaved", &["false"]),
    key("rotary_pct", &["1"]),
    key("rotary_dim", &[]),
    key("rope_ntk_factor", &["1"]),
    key("is_causal", &["true"]),
    key("use_bidirectional_attention", &["false"]),
    key("is_encoder_decoder", &["false"]),
    // Attention of other kinds.
    key("attention_chunk_size", &["0"]),
    key("num_kv_shared_layers", &["0"]),
    key("kv_lora_rank", &["0"]),
    key("q_lora_rank", &["0"]),
    key("attention_sink", &["false"]),
    key("num_sink_tokens", &["0"]),
    // Experts and further layers.
    key("num_experts", &["0", "1"]),
    key("num_local_experts", &["0", "1"]),
    key("n_routed_experts", &["0"]),
    key("num_nextn_predict_layers", &["0"]),
    key("hidden_size_per_layer_input", &["0"]),
    key("vocab_size_per_layer_input", &[]),
    key("add_cross_attention", &["false"]),
    key("pruned_heads", &["{}"]),
    // Biases under names that no model here reads.
    key("use_bias", &["false"]),
    key("bias", &["false"]),
    key("lm_head_bias", &["false"]),
];

/// Notes each key with a value that changes what the model computes.
pub(super) fn check(config: &Value, model_type: &str, faults: &mut Faults) {
    for Neutral { key, values } in &KEYS {
        let value = &config[key];
        let is_neutral = |neutral: &&str| serde_json::from_str(neutral).is_ok_and(|it| same(value, &it));
        if value.is_null() || values.iter().any(is_neutral) {
            continue;
        }
        let neutral = if values.is_empty() { "null".to_owned() } else { values.join(" or ") };
        faults.add(Error::unsupported(format!(
            "{key} {value} is not supported for {model_type} (supported: {neutral})"
        )));
    }
}

/// Whether two values are equal, integers and reals alike.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(ones), Value::Array(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| same(one, other))
        }
        _ => one == other || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one == other),
    }
}
