//! The keys of peft's `adapter_config.json` (0.3 to 0.21.2), and what each does to an adapter that is loaded: one table for each
//! kind of adapter.

use super::keys::{self, Effect, Keys, shown};
use crate::error::{Error, Result};
use serde_json::Value;

use Effect::{Harmless, Read, Refused};

const MERGE: &str = "merge the adapter into its base model with peft's merge_and_unload, and load that";
const CONVERT: &str = "peft changes the base model's weights for it; make the adapter a plain LoRA with peft's save_pretrained(path_initial_model_for_weight_conversion=…), or merge it into its base model and load that";

/// Of every kind.
const COMMON: Keys = &[
    ("peft_type", Read),
    ("task_type", Read),
    ("modules_to_save", Read),
    ("base_model_name_or_path", Harmless), // the caller chooses the model
    ("revision", Harmless),                // the caller chooses the model
    ("auto_mapping", Harmless),            // names Python's class of the base model
    ("inference_mode", Harmless),          // says whether the adapter can be trained
    ("peft_version", Harmless),            // says which peft wrote the file
];

const LORA: Keys = &[
    ("r", Read),
    ("lora_alpha", Read),
    ("rank_pattern", Read),
    ("alpha_pattern", Read),
    ("use_rslora", Read),
    ("use_dora", Read),
    ("layers_to_transform", Read),
    ("exclude_modules", Read),
    ("target_modules", Harmless), // the names of the tensors say which matrices have an adapter
    ("layers_pattern", Harmless), // the names of the tensors say which matrices have an adapter
    ("lora_dropout", Harmless),   // dropout acts in training only
    ("fan_in_fan_out", Harmless), // peft sets it to false beside linear layers, which all of webreft's are
    ("bias", Harmless),           // trained biases are tensors of their own, which are refused by their names
    (
        "init_lora_weights",
        Refused(&["true", "false", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "\"mica\""], CONVERT),
    ),
    ("loftq_config", Harmless),   // peft reads it where init_lora_weights is "loftq"
    ("eva_config", Harmless),     // peft reads it where init_lora_weights is "eva", for the start
    ("corda_config", Harmless),   // peft reads it where init_lora_weights is "corda"
    ("lora_ga_config", Harmless), // peft reads it where init_lora_weights is "lora_ga"
    ("qalora_group_size", Harmless), // peft reads it where use_qalora is true
    ("megatron_core", Harmless),  // peft reads it where megatron_config is given
    ("runtime_config", Harmless), // says where the start is computed
    ("merge_weights", Harmless),  // says when peft adds the adapter to the weights
    ("ensure_weight_tying", Harmless), // concerns adapters of embeddings, which are refused by their names
    (
        "alora_invocation_tokens",
        Refused(&[], "the adapter acts only from these tokens on, which webreft does not do"),
    ),
    (
        "trainable_token_indices",
        Refused(&[], "these rows of the embedding are trained; webreft does not load trained embeddings"),
    ),
    (
        "target_parameters",
        Refused(
            &[],
            "the adapter stands beside tensors that are no linear layers; webreft has adapters of linear layers",
        ),
    ),
    ("layer_replication", Refused(&[], "layers of the base model run several times; webreft runs each once")),
    (
        "megatron_config",
        Refused(
            &[],
            "the adapter is one of Megatron's parallel layers; export it as an adapter of linear layers",
        ),
    ),
    ("lora_bias", Refused(&[], "lora_B has a bias, which webreft's LoRA has not")),
    (
        "use_qalora",
        Refused(&[], "the input is pooled in groups before lora_A; webreft's LoRA reads it whole"),
    ),
    ("use_bdlora", Refused(&[], "the matrices are block-diagonal; webreft's LoRA has whole ones")),
    ("arrow_config", Refused(&[], "a router chooses between adapters; webreft loads one")),
    (
        "monteclora_config",
        Refused(&[], "the matrices are sampled anew in each pass; webreft's LoRA has fixed ones"),
    ),
    (
        "kasa_config",
        Refused(&[], "it changes the base model's weights and scales the dimensions of the rank"),
    ),
    ("velora_config", Refused(&[], "it replaces lora_A's gradient and saves tensors of its own")),
    (
        "enable_lora",
        Refused(&[], "parts of one fused matrix have adapters; webreft's LoRA is for whole matrices"),
    ),
];

const IA3: Keys = &[
    ("exclude_modules", Read),
    ("target_modules", Harmless), // the names of the tensors say which matrices have an adapter
    ("feedforward_modules", Harmless), // the shape of a vector says whether it scales an input or an output
    ("fan_in_fan_out", Harmless), // peft sets it to false beside linear layers, which all of webreft's are
    ("init_ia3_weights", Harmless), // only the start of the training depends on it
];

/// Of the three kinds that have virtual tokens.
const PROMPTS: Keys = &[
    ("num_virtual_tokens", Read),
    ("num_transformer_submodules", Read),
    ("token_dim", Harmless),                       // the shapes of the tensors say it
    ("num_layers", Harmless),                      // the shapes of the tensors say it
    ("num_attention_heads", Harmless),             // the shapes of the tensors say it
    ("prompt_tuning_init", Harmless),              // only the start of the training depends on it
    ("prompt_tuning_init_text", Harmless),         // only the start of the training depends on it
    ("tokenizer_name_or_path", Harmless),          // only the start of the training depends on it
    ("tokenizer_kwargs", Harmless),                // only the start of the training depends on it
    ("init_weights", Harmless),                    // only the start of the training depends on it
    ("encoder_reparameterization_type", Harmless), // peft saves what the encoder makes
    ("encoder_hidden_size", Harmless),             // peft saves what the encoder makes
    ("encoder_num_layers", Harmless),              // peft saves what the encoder makes
    ("encoder_dropout", Harmless),                 // peft saves what the encoder makes
    ("prefix_projection", Harmless),               // peft saves what the encoder makes
];

/// Peft's names of the kinds that webreft reads, with their tables.
const KINDS: [(&str, Keys); 5] = [
    ("LORA", LORA),
    ("IA3", IA3),
    ("PROMPT_TUNING", PROMPTS),
    ("P_TUNING", PROMPTS),
    ("PREFIX_TUNING", PROMPTS),
];

/// Fails with every key that asks for something that is not loaded.
pub(super) fn check(config: &Value) -> Result<()> {
    let peft_type = &config["peft_type"];
    let Some((_, own)) = KINDS.iter().find(|(name, _)| peft_type == name) else {
        return Err(Error::unsupported(format!(
            "peft_type {}: expected LORA, IA3, PROMPT_TUNING, P_TUNING or PREFIX_TUNING",
            shown(peft_type)
        )));
    };
    keys::check(&[COMMON, own], config, MERGE)
}
