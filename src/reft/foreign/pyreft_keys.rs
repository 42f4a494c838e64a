//! The keys of pyvene's `config.json` (0.0.8 to 0.1.8), and what each does to interventions that are loaded.

use super::keys::{self, Effect, Keys};
use crate::error::{Error, Result};
use serde_json::Value;

use Effect::{Harmless, Read, Refused};

const ADVICE: &str = "train and save the interventions without it";

/// Of `IntervenableConfig`, and of Transformers' `PretrainedConfig` that it is one of.
const CONFIG: Keys = &[
    ("representations", Read),
    ("intervention_types", Read),
    ("mode", Refused(&["\"parallel\""], "groups of interventions would read each other's runs")),
    ("sorted_keys", Harmless), // at one place the order is that of the representations
    ("intervention_dimensions", Harmless), // pyreft's kinds edit the whole width
    ("intervention_constant_sources", Harmless), // pyreft's kinds read no source
    ("model_type", Harmless),  // the caller chooses the model
    ("architectures", Harmless), // the caller chooses the model
    ("_name_or_path", Harmless), // the caller chooses the model
    ("name_or_path", Harmless), // the caller chooses the model
    ("torch_dtype", Harmless), // the tensors have their own
    ("dtype", Harmless),       // the tensors have their own
    ("transformers_version", Harmless), // says which Transformers wrote the file
    ("attn_implementation", Harmless), // says how attention is computed, not what
    ("_attn_implementation_autoset", Harmless), // says how attention is computed, not what
];

/// The fields of a `RepresentationConfig`, which is saved as a list.
const FIELDS: Keys = &[
    ("layer", Read),
    ("component", Read),
    ("unit", Refused(&["\"pos\""], "webreft edits tokens")),
    ("max_number_of_units", Harmless), // the positions say how many tokens are edited
    ("low_rank_dimension", Harmless),  // the tensors' shapes say it
    ("intervention_type", Refused(&[], "pyvene keeps the types in intervention_types")),
    ("intervention", Refused(&[], "pyvene keeps the types in intervention_types")),
    ("subspace_partition", Refused(&[], "each call chooses parts of the subspace")),
    ("group_key", Harmless), // says which interventions have one source; pyreft's kinds read none
    ("intervention_link_key", Refused(&[], "interventions share their parameters under another name")),
    ("moe_key", Refused(&[], "a router chooses between interventions")),
    ("source_representation", Refused(&[], "a fixed source is edited in; pyreft's kinds read none")),
    ("hidden_source_representation", Refused(&[], "a fixed source is edited in; pyreft's kinds read none")),
    ("latent_dim", Harmless), // read by autoencoders only
];

/// Fails with every key that asks for something that is not loaded.
pub(super) fn check(config: &Value) -> Result<()> {
    keys::check(&[CONFIG], config, ADVICE)
}

/// The same of one representation.
pub(super) fn check_representation(fields: &Value) -> Result<()> {
    let list = fields
        .as_array()
        .ok_or_else(|| Error::file(format!("representation {}: expected a list", keys::shown(fields))))?;
    for (number, value) in list.iter().enumerate() {
        let known = FIELDS.get(number);
        let name = known.map_or_else(|| format!("field {number}"), |(name, _)| (*name).to_owned());
        keys::check_key(&name, value, known.map(|(_, effect)| effect), ADVICE)
            .map_err(|error| error.at(format!("representation {}", keys::shown(fields))))?;
    }
    Ok(())
}
