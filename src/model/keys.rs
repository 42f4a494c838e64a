//! The keys of a GGUF file's metadata under the architecture's name: which are honoured, and what the others may be.
//!
//! A key changes what a model computes, or it does not. One that webreft honours is read elsewhere; one that changes nothing is in
//! [`HARMLESS`]; every other is refused unless its value is the one that changes nothing. This holds for keys that are not known, too: a
//! model that is computed without one would answer wrongly and say nothing of it.
//!
//! Source: `LLM_KV_NAMES` in `llama-arch.cpp`, and what `load_hparams` and `load_arch_hparams` of each architecture read.

use super::{Architecture, arch::has_windows};
use crate::dims::Dims;
use crate::error::{Error, Faults, Result};
use crate::gguf::{Header, Origin};

/// Keys that are honoured for every architecture.
const HONOURED: [&str; 23] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
];

/// Keys that change nothing, and why. A star stands for whatever follows.
const HARMLESS: [(&str, &str); 12] = [
    ("vocab_size", "the embedding's rows say it"),
    ("tensor_data_layout", "how a converter found the tensors"),
    ("rope.scaling.finetuned", "where the weights come from"),
    ("attention.layer_norm_epsilon", "norms here are RMS norms, with an epsilon of their own"),
    ("attention.group_norm_epsilon", "no group norm is here"),
    ("attention.group_norm_groups", "no group norm is here"),
    ("pooling_type", "only embeddings of whole texts are pooled"),
    ("classifier.output_labels", "names, not numbers"),
    ("dense_2_feat_*", "the head of an embedding model, of which the tensors are refused"),
    ("dense_3_feat_*", "the head of an embedding model, of which the tensors are refused"),
    ("vision.*", "images are not read"),
    ("mm.*", "images are not read"),
];

/// The values with which a key changes nothing; any other is refused, and so is any other than 0 of a key that is not here.
const NEUTRAL: [(&str, &[f64]); 11] = [
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("attention.output_scale", &[0.0, 1.0]),
    ("attention.value_scale", &[0.0, 1.0]),
    ("attention.causal", &[1.0]),
    ("rope.scaling.alpha", &[0.0, 1.0]),
    ("rope.scaling.yarn_ext_factor", &[1.0]),
    ("rope.scaling.yarn_attn_factor", &[1.0]),
    ("expert_weights_scale", &[0.0, 1.0]),
    ("attention.temperature_scale", &[0.0, 1.0]),
];

/// A number of a model's shape.
type OfDims = fn(&Dims) -> usize;

/// Keys of layers with a window that must say what is said of all layers.
const LIKE_ALL: [(&str, OfDims); 3] = [
    ("attention.key_length_swa", |dims| dims.head_dim),
    ("attention.value_length_swa", |dims| dims.head_dim),
    ("rope.dimension_count_swa", |dims| dims.n_rot),
];

/// Fails on keys that would change what the model computes, naming all of them.
pub(super) fn check(header: &Header, arch: &Architecture, dims: &Dims) -> Result<()> {
    if header.origin == Origin::HuggingFace {
        return Ok(()); // keys of a configuration are checked where they are read
    }
    let (prefix, mut faults) = (format!("{}.", arch.name), Faults::default());
    for (key, value) in header.metadata.describe() {
        let Some(name) = key.strip_prefix(&prefix) else { continue };
        let numbers = header.metadata.numbers(key);
        if let Some(neutral) = refused(name, numbers.as_deref(), arch, dims) {
            faults.add(Error::unsupported(format!(
                "metadata {key:?}: {value} is not supported for {} (supported: {neutral}): the model would be computed without it",
                arch.name
            )));
        }
    }
    faults.check()
}

/// What a key may be, if it is something else. `numbers` are its values, where they are numbers.
fn refused(name: &str, numbers: Option<&[f64]>, arch: &Architecture, dims: &Dims) -> Option<String> {
    let harmless = |(key, _): &(&str, &str)| match key.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *key,
    };
    let swa_base = name == "rope.freq_base_swa" && (arch.window_rope_base.is_some() || !has_windows(arch));
    if HONOURED.contains(&name) || swa_base || HARMLESS.iter().any(harmless) {
        return None;
    }
    let neutral: Vec<f64> = match (find(&NEUTRAL, name), find(&LIKE_ALL, name)) {
        (Some(neutral), _) => neutral.to_vec(),
        (None, Some(of_all)) => vec![of_all(dims) as f64],
        (None, None) => vec![0.0],
    };
    let is_neutral = numbers.is_some_and(|numbers| numbers.iter().all(|number| neutral.contains(number)));
    let told: Vec<String> = neutral.iter().map(f64::to_string).collect();
    (!is_neutral).then(|| told.join(" or "))
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::dims::Dims;
    use crate::gguf::testing::Writer;
    use crate::model::ARCHITECTURES;

    fn told(writer: Writer) -> String {
        match check(&writer.header().unwrap(), &ARCHITECTURES[0], &Dims::SMALL) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn keys_that_change_nothing_are_taken() {
        let neutral = Writer::default()
            .u32("llama.vocab_size", 7)
            .f32("llama.logit_scale", 1.0)
            .f32("llama.attention.clamp_kqv", 0.0)
            .u32("llama.expert_count", 0)
            .u32("llama.attention.key_length_swa", 32)
            .f32("llama.something_new", 0.0)
            .u32("llama.vision.block_count", 27)
            .u32("qwen2.expert_count", 8);
        assert_eq!(told(neutral), "");
    }

    #[test]
    fn each_key_that_changes_the_model_is_refused_by_name_and_value() {
        let number = |key: &str, value: f32| told(Writer::default().f32(key, value));
        let text = "metadata \"llama.logit_scale\": f32 0.5 is not supported for llama (supported: 0 or 1): the model would be computed without it";
        assert_eq!(number("llama.logit_scale", 0.5), text);
        for key in
            ["residual_scale", "embedding_scale", "attention.clamp_kqv", "expert_count", "something_new"]
        {
            let text = number(&format!("llama.{key}"), 3.0);
            assert!(text.starts_with(&format!("metadata \"llama.{key}\": f32 3 is not supported")), "{text}");
        }
        let text = told(Writer::default().u32("llama.rope.dimension_count_swa", 16));
        assert!(text.contains("u32 16 is not supported for llama (supported: 32)"), "{text}");
        let text = told(Writer::default().str("llama.expert_gating_func", "sigmoid"));
        assert!(text.contains("\"llama.expert_gating_func\": string \"sigmoid\" is not supported"), "{text}");
        let both = Writer::default().f32("llama.logit_scale", 2.0).f32("llama.residual_scale", 2.0);
        assert_eq!(told(both).matches("is not supported").count(), 2);
    }
}
