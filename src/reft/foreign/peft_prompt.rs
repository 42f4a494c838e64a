//! peft's directory of virtual tokens (0.13.2), both ways: prompt tuning, P-tuning and prefix tuning.
//!
//! ```text
//! adapter_config.json         peft_type, num_virtual_tokens, num_layers, num_attention_heads, token_dim
//! adapter_model.safetensors   prompt_embeddings  [N, D]; of a prefix [N, 2·L·G·K]
//! ```
//!
//! peft keeps what an encoder makes and not the encoder: P-tuning comes back as prompt tuning, a projected prefix as a plain one. So they
//! are written, too.

use super::peft_files::{CONFIG, Directory, Numbers, check_rest, directory};
use super::{File, Interventions};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::reft::kinds::Function;
use crate::reft::{Arithmetic, Params, Reft, ReftConfig};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EMBEDDINGS: &str = "prompt_embeddings";
const EXPECTED: &str = "prompt_embeddings, or score.weight";

/// Reads a directory.
///
/// # Errors
/// `File` for what is wrong with a file, `Unsupported` for prompts of an encoder and a decoder.
pub(super) fn read(files: &[File]) -> Result<Interventions> {
    let mut directory = Directory::open(files)?;
    let head = directory.take_head()?;
    let config = settings(&directory.config).map_err(|error| error.at(CONFIG))?;
    let embedding = embeddings(&mut directory, config.virtual_tokens)?;
    let others = BTreeMap::from([("embedding", embedding)]);
    let params = vec![Params { others, ..Params::default() }];
    Ok(Interventions { configs: vec![config], params, head, ..Interventions::default() })
}

fn settings(config: &Value) -> Result<ReftConfig> {
    let kind = if config["peft_type"] == "PREFIX_TUNING" { "prefix_tuning" } else { "prompt_tuning" };
    let submodules = &config["num_transformer_submodules"];
    if !submodules.is_null() && *submodules != 1 {
        return Err(Error::unsupported(format!("num_transformer_submodules {submodules}: expected 1")));
    }
    match config["num_virtual_tokens"].as_u64() {
        Some(n) => {
            Ok(ReftConfig { kind: kind.to_owned(), virtual_tokens: n as usize, ..ReftConfig::default() })
        }
        None => {
            Err(Error::file(format!("num_virtual_tokens {}: expected a count", config["num_virtual_tokens"])))
        }
    }
}

fn embeddings(directory: &mut Directory<'_>, n_virtual: usize) -> Result<Vec<f32>> {
    let found = directory.tensors.remove(EMBEDDINGS);
    let weights = directory.weights;
    check_rest(&directory.tensors, EXPECTED).map_err(|error| error.at(weights))?;
    let Some(Numbers { shape, values }) = found else {
        return Err(Error::file(format!("tensor {EMBEDDINGS:?} is missing")).at(weights));
    };
    if shape.len() != 2 || shape[0] != n_virtual {
        let message = format!("tensor {EMBEDDINGS:?}: expected [{n_virtual}, width], got {shape:?}");
        return Err(Error::file(message).at(weights));
    }
    Ok(values)
}

/// Writes a directory that `PeftModel.from_pretrained` reads.
///
/// # Errors
/// `Unsupported` if there are others beside the virtual tokens, or a head; `Device` if the parameters cannot be read.
pub(super) async fn write(model: &Model, reft: &Reft) -> Result<Vec<File>> {
    let it = &reft.interventions[0];
    let alone = reft.configs.len() == 1 && reft.head.is_none() && it.scale == 1.0;
    let (Arithmetic::Rows(rows), Function::Rows { placed, .. }, true) =
        (&it.arithmetic, it.kind.function, alone)
    else {
        return Err(Error::unsupported(format!(
            "{}: expected one configuration of virtual tokens, scale 1, without a head, for peft has no others beside them",
            it.kind.name
        )));
    };
    let all = if rows.encoded { &reft.rot } else { &reft.theta }.read().f32().await?;
    let values = &all[rows.rows_at..][..rows.n_rows * rows.row_stride];
    let shape = vec![rows.n_rows, rows.row_stride];
    let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values));
    let dims = &model.dims;
    let (peft_type, n_heads, width) = match placed {
        true => ("PROMPT_TUNING", dims.n_head, dims.n_embd),
        false => ("PREFIX_TUNING", dims.n_head_kv, dims.kv_width()),
    };
    let config = json!({
        "base_model_name_or_path": model.name,
        "inference_mode": true,
        "num_attention_heads": n_heads,
        "num_layers": dims.n_layer,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": rows.n_rows,
        "peft_type": peft_type,
        "task_type": "CAUSAL_LM",
        "token_dim": width,
    });
    let view = view.expect("the shape holds the values");
    Ok(directory(&config, vec![(EMBEDDINGS.to_owned(), view)]))
}
