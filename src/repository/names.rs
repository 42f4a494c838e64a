//! What Transformers calls a model's tensors, and GGUF.
//!
//! Source: `tensor_mapping.py` of gguf-py, `modeling_*.py` of Transformers.

use crate::model::{Architecture, Norms};

/// GGUF's name of a tensor, or none for one that no architecture reads: a vision tower's, a buffer.
pub(super) fn gguf_name(name: &str, arch: &Architecture) -> Option<String> {
    // A model that also sees has its text part one or two levels down.
    let name = name.strip_prefix("model.language_model.").or_else(|| {
        let name = name.strip_prefix("language_model.").unwrap_or(name);
        Some(name.strip_prefix("model.").unwrap_or(name))
    })?;
    if let Some(rest) = name.strip_prefix("layers.") {
        let (number, part) = rest.split_once('.')?;
        let (stem, kind) = part.rsplit_once('.')?;
        let number: u32 = number.parse().ok()?;
        return Some(format!("blk.{number}.{}.{kind}", layer_part(stem, arch)?));
    }
    let whole = match name {
        "embed_tokens.weight" => "token_embd.weight",
        "norm.weight" => "output_norm.weight",
        "lm_head.weight" => "output.weight",
        _ => return None,
    };
    Some(whole.to_owned())
}

fn layer_part(stem: &str, arch: &Architecture) -> Option<&'static str> {
    Some(match stem {
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.qkv_proj" => "attn_qkv",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "input_layernorm" => "attn_norm",
        // In most models the norm before the MLP; where sublayers have norms after them, the attention's.
        "post_attention_layernorm" if arch.norms == Norms::Before => "ffn_norm",
        "post_attention_layernorm" => "post_attention_norm",
        "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        _ => return None,
    })
}
