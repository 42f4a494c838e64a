//! Keys and values of the tokens read so far, for every layer: [S, G·K] each, sequence after sequence.

use super::Model;
use crate::error::Result;
use crate::tensor::Tensor;

/// Room for the keys and values of some sequences.
pub struct Cache {
    /// Rows of one sequence.
    pub n_rows: usize,
    /// Sequences.
    pub n_sequences: usize,
    pub(super) layers: Vec<[Tensor; 2]>,
}

impl Cache {
    /// Room for `n_sequences` of up to `n_rows` tokens each.
    ///
    /// # Errors
    /// `Device` if a layer's keys are larger than the device can bind.
    pub fn new(model: &Model, n_sequences: usize, n_rows: usize) -> Result<Cache> {
        let shape = [n_sequences * n_rows, model.dims.kv_width()];
        let layer = |number: usize| {
            let [k, v] =
                ["k", "v"].map(|name| model.backend.tensor(format!("cache_{name}.{number}"), &shape));
            Ok([k?, v?])
        };
        let layers = (0..model.dims.n_layer).map(layer).collect::<Result<_>>()?;
        Ok(Cache { n_rows, n_sequences, layers })
    }
}
