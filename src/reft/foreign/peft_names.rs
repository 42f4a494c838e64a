//! The names of peft's tensors.
//!
//! ```text
//! base_model.model.model.layers.<L>.<block>.<projection>.<part>.weight      as `save_pretrained` writes them
//! ….<part>.<adapter>.weight, ….<part>.<adapter>, ….<part>                   with the adapter's name, as in a state dict
//! base_model.model.score.weight, ….modules_to_save.<adapter>.weight         a saved module
//! ….original_module.weight                                                  its copy in the base model, which nothing reads
//! ```

use crate::error::{Error, Result};

/// What wrappers put in front of a name, in any order: peft's, DistributedDataParallel's, `torch.compile`'s, FSDP's.
const WRAPPERS: [&str; 5] =
    ["base_model.model.", "base_model.", "module.", "_orig_mod.", "_fsdp_wrapped_module."];

/// Where Transformers keeps the layers of a language model: with a head, without one, and in models that see, too.
const LAYERS: [&str; 5] = [
    "model.layers.",
    "layers.",
    "language_model.model.layers.",
    "model.language_model.layers.",
    "language_model.layers.",
];

/// A tensor that belongs to a matrix of a layer.
#[derive(Debug, PartialEq)]
pub(super) struct Name<'a> {
    /// The matrix's path in the base model.
    pub(super) path: &'a str,
    pub(super) layer: usize,
    /// `self_attn` or `mlp`.
    pub(super) block: &'a str,
    /// `q_proj`, say.
    pub(super) projection: &'a str,
    /// `lora_A`, say.
    pub(super) part: &'a str,
    /// The adapter's name, where it is in the tensor's.
    pub(super) adapter: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// Takes a name apart; none if it is not one of a layer's matrix.
    pub(super) fn parse(name: &'a str) -> Option<Name<'a>> {
        let inner = unwrapped(name);
        let rest = LAYERS.iter().find_map(|root| inner.strip_prefix(root))?;
        let parts: Vec<&str> = rest.split('.').collect();
        let (place, adapter) = match parts[..] {
            [ref place @ .., "weight"] if place.len() == 4 => (place, None),
            [ref place @ .., adapter, "weight"] if place.len() == 4 => (place, Some(adapter)),
            [ref place @ .., adapter] if place.len() == 4 && adapter != "bias" => (place, Some(adapter)),
            ref place => (place, None),
        };
        let [layer, block, projection, part] = *place else { return None };
        let end = inner.len() - rest.len() + layer.len() + block.len() + projection.len() + 2;
        let (path, layer) = (&inner[..end], layer.parse().ok()?);
        Some(Name { path, layer, block, projection, part, adapter })
    }
}

/// A name without what wrappers put in front of it.
pub(super) fn unwrapped(mut name: &str) -> &str {
    while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = inner;
    }
    name
}

/// Whether it is the base model's own copy of a saved module.
pub(super) fn is_original(name: &str) -> bool {
    name.contains(".original_module.")
}

/// Whether it is the matrix of a classifier's head.
pub(super) fn is_score(name: &str) -> bool {
    match unwrapped(name).strip_prefix("score.").map(|rest| rest.split('.').collect::<Vec<_>>()) {
        Some(rest) => {
            matches!(rest[..], ["weight"] | ["modules_to_save", "weight"] | ["modules_to_save", _, "weight"])
        }
        None => false,
    }
}

/// The adapter whose tensors a file holds.
#[derive(Default)]
pub(super) struct OneAdapter<'a>(Option<Option<&'a str>>);

impl<'a> OneAdapter<'a> {
    /// Fails for tensors of two adapters.
    pub(super) fn check(&mut self, name: &Name<'a>) -> Result<()> {
        let first = *self.0.get_or_insert(name.adapter);
        match first == name.adapter {
            true => Ok(()),
            false => {
                let names = [first, name.adapter].map(|adapter| adapter.unwrap_or("without a name"));
                Err(Error::unsupported(format!(
                    "belongs to another adapter ({}) than those before it ({}): expected the tensors of one; save each with peft's save_pretrained",
                    names[1], names[0]
                )))
            }
        }
    }
}

/// The error for a tensor that is none of `expected`.
pub(super) fn refusal(name: &str, expected: &str) -> Error {
    let inner = unwrapped(name);
    let has = |part: &str| inner.split('.').any(|it| it == part);
    let what = match () {
        () if has("lm_head") || has("embed_tokens") || inner.contains("lora_embedding_") => {
            "webreft does not load trained embeddings and output matrices; train without modules_to_save and without new tokens, or merge the adapter into its base model"
        }
        () if inner.ends_with(".bias") => {
            "webreft does not load trained biases; train with bias \"none\" and without lora_bias, or merge the adapter into its base model"
        }
        () => "not one that webreft reads",
    };
    Error::unsupported(format!("tensor {name:?}: {what} (expected {expected})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_name_is_taken_apart() {
        let path = "model.layers.12.self_attn.q_proj";
        let plain =
            Name { path, layer: 12, block: "self_attn", projection: "q_proj", part: "lora_A", adapter: None };
        for wrapper in ["base_model.model.", "", "module.base_model.model.", "_orig_mod.base_model.model."] {
            for (end, adapter) in [
                (".weight", None),
                ("", None),
                (".default", Some("default")),
                (".default.weight", Some("default")),
            ] {
                let name = format!("{wrapper}{path}.lora_A{end}");
                assert_eq!(Name::parse(&name), Some(Name { adapter, ..plain }), "{name}");
            }
        }
        let inner = "model.language_model.layers.0.mlp.up_proj";
        let name = format!("base_model.model.{inner}.ia3_l");
        assert_eq!(Name::parse(&name).map(|it| (it.path, it.layer, it.part)), Some((inner, 0, "ia3_l")));
    }

    #[test]
    fn other_names_are_none() {
        for name in [
            "base_model.model.lm_head.weight",
            "base_model.model.model.layers.1.self_attn.q_proj.lora_B.bias",
            "base_model.model.model.layers.1.self_attn.q_proj.lora_B.default.bias",
            "base_model.model.vision_tower.encoder.layers.1.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.layers.x.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.layers.1.input_layernorm.weight",
            "",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }

    #[test]
    fn heads_are_known_in_each_form() {
        for end in ["weight", "modules_to_save.weight", "modules_to_save.default.weight"] {
            assert!(is_score(&format!("base_model.model.score.{end}")), "{end}");
        }
        for name in ["score.bias", "score.original_module.weight", "score.lora_A.weight", "scores.weight"] {
            assert!(!is_score(name), "{name}");
        }
        assert!(is_original("base_model.model.score.original_module.weight"));
    }
}
