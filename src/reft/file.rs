//! The file of a [`Reft`]: safetensors, a few kilobytes.
//!
//! ```text
//! interventions.<i>.rotation  [R, D]  F32   R, orthonormal rows
//! interventions.<i>.weight    [R, D]  F32   W
//! interventions.<i>.bias      [R]     F32   b
//! metadata                                  format "webreft/1", config (JSON), base_model (name), fingerprint
//! ```

use super::{Params, Reft, ReftConfig};
use crate::error::{Error, Result};
use crate::model::Model;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;

const FORMAT: &str = "webreft/1";
const PARTS: [&str; 3] = ["rotation", "weight", "bias"];

impl Reft {
    /// The interventions as a file.
    ///
    /// # Errors
    /// `Device` if the parameters cannot be read.
    pub async fn save(&self, model: &Model) -> Result<Vec<u8>> {
        let interventions = self.values().await?;
        let (rank, n_embd) = (self.config.rank, model.dims.n_embd);
        let mut tensors = Vec::new();
        for (number, values) in interventions.iter().enumerate() {
            let shapes = [vec![rank, n_embd], vec![rank, n_embd], vec![rank]];
            for ((part, values), shape) in PARTS.iter().zip(values).zip(shapes) {
                let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values));
                tensors.push((name(number, part), view.expect("the shape holds the values")));
            }
        }
        let config = serde_json::to_string(&self.config).expect("a configuration is plain data");
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("config", config),
            ("base_model", model.name.clone()),
            ("fingerprint", model.fingerprint.clone()),
        ];
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(safetensors::serialize(tensors, Some(metadata)).expect("every tensor is whole"))
    }

    /// Interventions from a file that [`Reft::save`] wrote for this model.
    ///
    /// # Errors
    /// `File` if it is damaged or not such a file, `Input` if it was trained on another model.
    pub fn load(model: &Model, bytes: &[u8]) -> Result<Reft> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_ours)?;
        let file = SafeTensors::deserialize(bytes).map_err(not_ours)?;
        let config = config_for(model, header.metadata().as_ref())?;
        let n_interventions = file.len() / PARTS.len();
        let (rank, n_embd) = (config.rank, model.dims.n_embd);
        let mut rotations = Vec::with_capacity(n_interventions);
        let read = |number: usize| {
            let [rotation, weight, bias] = PARTS.map(|part| name(number, part));
            let rotation = values(&file, &rotation, &[rank, n_embd])?;
            let (weight, bias) = (values(&file, &weight, &[rank, n_embd])?, values(&file, &bias, &[rank])?);
            check_orthonormal(&rotation, n_embd).map_err(|error| error.at(name(number, "rotation")))?;
            let params = Params::from_rotation(&rotation, &weight, &bias);
            rotations.push(rotation);
            Ok(params)
        };
        let params = (0..n_interventions).map(read).collect::<Result<_>>()?;
        let reft = Reft::with_params(model, &config, params)?;
        // The rotations that follow from new parameters equal the file's up to rounding only.
        reft.rot.write_f32(&rotations.concat());
        Ok(reft)
    }
}

fn name(number: usize, part: &str) -> String {
    format!("interventions.{number}.{part}")
}

fn not_ours(error: safetensors::SafeTensorError) -> Error {
    Error::file(format!("not a safetensors file: {error}"))
}

/// The configuration, if the file is ours and was trained on this model.
fn config_for(model: &Model, metadata: Option<&HashMap<String, String>>) -> Result<ReftConfig> {
    let get = |key: &str| metadata.and_then(|metadata| metadata.get(key)).map(String::as_str);
    match get("format") {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(Error::file(format!("intervention file of format {other:?}: expected {FORMAT:?}")));
        }
        None => {
            return Err(Error::file(format!(
                "not an intervention file: expected metadata format {FORMAT:?}"
            )));
        }
    }
    let fingerprint = get("fingerprint").unwrap_or("");
    if fingerprint != model.fingerprint {
        let theirs = get("base_model").unwrap_or("unnamed");
        return Err(Error::input(format!(
            "intervention file was trained on another model: {theirs:?} ({fingerprint}), loaded is {:?} ({})",
            model.name, model.fingerprint
        )));
    }
    let config = get("config").ok_or_else(|| Error::file("intervention file: metadata config is missing"))?;
    let config: ReftConfig = serde_json::from_str(config)
        .map_err(|error| Error::file(format!("intervention file: config: {error}")))?;
    config.check(&model.dims).map_err(|error| Error::file(format!("intervention file: {error}")))?;
    Ok(config)
}

fn values(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let view = file.tensor(name).map_err(|_| Error::file(format!("tensor {name:?} is missing")))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        let (dtype, got) = (view.dtype(), view.shape());
        return Err(Error::file(format!("tensor {name:?}: expected F32 {shape:?}, got {dtype:?} {got:?}")));
    }
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::file(format!("tensor {name:?}: holds {value}"))),
        None => Ok(values),
    }
}

/// Fails unless the rows are orthonormal up to rounding.
fn check_orthonormal(rows: &[f32], n_embd: usize) -> Result<()> {
    let rows: Vec<&[f32]> = rows.chunks_exact(n_embd).collect();
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate().take(i + 1) {
            let product: f64 = a.iter().zip(*b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let expected = f64::from(u8::from(i == j));
            if (product - expected).abs() > 1e-3 {
                return Err(Error::file(format!(
                    "rows {i} and {j}: expected product {expected}, got {product}"
                )));
            }
        }
    }
    Ok(())
}
