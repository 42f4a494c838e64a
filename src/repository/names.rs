//! What Transformers calls a model's tensors, and GGUF.
//!
//! Source: `tensor_mapping.py` of gguf-py, `modeling_*.py` of Transformers.

use crate::model::{Architecture, Norms};

/// What becomes of a tensor.
pub(super) enum Role {
    /// It is a weight, by its name in GGUF.
    Weight(String),
    /// The computation does without it.
    Harmless,
    /// No model here has a tensor of this name.
    Unknown,
}

/// Where a name has the text.
enum At {
    Start,
    End,
}

/// Tensors that a repository may have beside the model's own, and why the computation does without them.
const HARMLESS: [(At, &str, &str); 12] = [
    (At::End, "rotary_emb.inv_freq", "frequencies follow from the configuration"),
    (At::End, "self_attn.bias", "a buffer of the causal mask"),
    (At::End, "self_attn.masked_bias", "a buffer of the causal mask"),
    (At::End, "attention_mask", "a buffer of the causal mask"),
    (At::End, "causal_mask", "a buffer of the causal mask"),
    (At::Start, "vision_tower.", "reads images; text does not pass it"),
    (At::Start, "model.vision_tower.", "reads images; text does not pass it"),
    (At::Start, "vision_model.", "reads images; text does not pass it"),
    (At::Start, "visual.", "reads images; text does not pass it"),
    (At::Start, "model.visual.", "reads images; text does not pass it"),
    (At::Start, "multi_modal_projector.", "reads images; text does not pass it"),
    (At::Start, "model.multi_modal_projector.", "reads images; text does not pass it"),
];

/// What becomes of a tensor by its name in Transformers.
pub(super) fn role(name: &str, arch: &Architecture) -> Role {
    let is_harmless = |(at, text, _): &(At, &str, &str)| match at {
        At::Start => name.starts_with(text),
        At::End => name.ends_with(text),
    };
    match gguf_name(name, arch) {
        Some(name) => Role::Weight(name),
        None if HARMLESS.iter().any(is_harmless) => Role::Harmless,
        None => Role::Unknown,
    }
}

/// GGUF's name of a tensor, or none for one that no architecture reads.
fn gguf_name(name: &str, arch: &Architecture) -> Option<String> {
    // A model that also sees has its text part one or two levels down.
    let name = name.strip_prefix("model.language_model.").or_else(|| {
        let name = name.strip_prefix("language_model.").unwrap_or(name);
        Some(name.strip_prefix("model.").unwrap_or(name))
    })?;
    if let Some(rest) = name.strip_prefix("layers.") {
        let (number, part) = rest.split_once('.')?;
        let (stem, kind) = part.rsplit_once('.')?;
        let (is_norm, stem) = (stem.contains("norm"), layer_part(stem, arch)?);
        let number: u32 = number.parse().ok()?;
        let is_known = kind == "weight" || (kind == "bias" && !is_norm);
        return is_known.then(|| format!("blk.{number}.{stem}.{kind}"));
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
