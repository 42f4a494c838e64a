//! The model types of Transformers that webreft runs: a row each, with what their configuration classes and models do their own way.
//!
//! Source: `configuration_*.py` and `modeling_*.py` of Transformers 5.24.

/// What a model type does its own way.
pub(super) struct ModelType {
    /// `model_type`
    pub(super) name: &'static str,
    /// The architecture that it is in GGUF.
    pub(super) arch: &'static str,
    /// What the configuration class has for keys that are absent: an object of JSON.
    pub(super) defaults: &'static str,
    /// Which projections have biases.
    pub(super) biases: &'static [(Switch, &'static [&'static str])],
    /// Which layers see a window.
    pub(super) windows: Windows,
}

/// When projections have biases.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    Always,
    /// Where this key is true.
    Key(&'static str),
}

/// Which layers see `sliding_window` keys, where `layer_types` does not say it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// None: the model does not read the key.
    Never,
    /// All, unless the window is null; the model does not read `layer_types`.
    All,
    /// All but one of so many, or of `sliding_window_pattern`, where the class reads that.
    Every { layers: u32, reads_pattern: bool },
    /// With `use_sliding_window`, those from `max_window_layers` on.
    From,
    /// With `use_sliding_window`, those that are not turned by position.
    Unturned,
}

const QKV: &[&str] = &["attn_q", "attn_k", "attn_v"];
const ATTENTION: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output"];
const MLP: &[&str] = &["ffn_gate", "ffn_up", "ffn_down"];
const OF_ATTENTION: (Switch, &[&str]) = (Switch::Key("attention_bias"), ATTENTION);

/// Every model type there is.
pub(super) static MODEL_TYPES: [ModelType; 9] = [
    ModelType {
        name: "llama",
        arch: "llama",
        defaults: r#"{ "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
            "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": false }"#,
        biases: &[OF_ATTENTION, (Switch::Key("mlp_bias"), MLP)],
        windows: Windows::Never,
    },
    ModelType {
        name: "mistral",
        arch: "llama",
        defaults: r#"{ "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": false }"#,
        biases: &[],
        windows: Windows::All,
    },
    ModelType {
        name: "qwen2",
        arch: "qwen2",
        defaults: r#"{ "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 32, "hidden_act": "silu", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
            "tie_word_embeddings": false }"#,
        biases: &[(Switch::Always, QKV)],
        windows: Windows::From,
    },
    ModelType {
        name: "qwen3",
        arch: "qwen3",
        defaults: r#"{ "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 32, "head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false, "sliding_window": 4096,
            "max_window_layers": 28, "tie_word_embeddings": false }"#,
        biases: &[OF_ATTENTION],
        windows: Windows::From,
    },
    ModelType {
        name: "gemma2",
        arch: "gemma2",
        defaults: r#"{ "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "query_pre_attn_scalar": 256,
            "sliding_window": 4096, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
            "tie_word_embeddings": true }"#,
        biases: &[OF_ATTENTION],
        windows: Windows::Every { layers: 2, reads_pattern: false },
    },
    ModelType {
        name: "gemma3_text",
        arch: "gemma3",
        defaults: r#"{ "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0, "query_pre_attn_scalar": 256, "sliding_window": 4096,
            "tie_word_embeddings": true }"#,
        biases: &[OF_ATTENTION],
        windows: Windows::Every { layers: 6, reads_pattern: true },
    },
    ModelType {
        name: "phi3",
        arch: "phi3",
        defaults: r#"{ "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
            "hidden_act": "silu", "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false }"#,
        biases: &[],
        windows: Windows::All,
    },
    ModelType {
        name: "smollm3",
        arch: "smollm3",
        defaults: r#"{ "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
            "num_key_value_heads": 4, "hidden_act": "silu", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "rope_theta": 2000000.0, "use_sliding_window": false, "no_rope_layer_interval": 4,
            "tie_word_embeddings": true }"#,
        biases: &[OF_ATTENTION, (Switch::Key("mlp_bias"), MLP)],
        windows: Windows::Unturned,
    },
    ModelType {
        name: "olmo2",
        arch: "olmo2",
        defaults: r#"{ "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
            "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": false }"#,
        biases: &[OF_ATTENTION],
        windows: Windows::Never,
    },
];

#[cfg(test)]
mod tests {
    use super::MODEL_TYPES;
    use crate::model::ARCHITECTURES;
    use serde_json::Value;

    #[test]
    fn every_model_type_has_an_architecture_and_an_object_of_defaults() {
        for it in &MODEL_TYPES {
            assert!(ARCHITECTURES.iter().any(|arch| arch.name == it.arch), "{}", it.name);
            let defaults: Value = serde_json::from_str(it.defaults).expect(it.name);
            assert!(defaults["hidden_size"].is_u64() && defaults["rms_norm_eps"].is_f64(), "{}", it.name);
        }
    }
}
