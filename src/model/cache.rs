//! Keys and values of tokens, for every layer from one on: [S, G·K] each, sequence after sequence.

use super::Model;
use crate::error::Result;
use crate::tensor::Tensor;

/// Room for the keys and values of some sequences.
pub struct Cache {
    /// Rows of one sequence.
    pub n_rows: usize,
    /// Sequences.
    pub n_sequences: usize,
    /// The lowest layer that has any.
    first_layer: usize,
    layers: Vec<[Tensor; 2]>,
}

impl Cache {
    /// Room for `n_sequences` of up to `n_rows` tokens each, in all layers.
    ///
    /// # Errors
    /// `Device` if a layer's keys are larger than the device can bind.
    pub fn new(model: &Model, n_sequences: usize, n_rows: usize) -> Result<Cache> {
        Cache::from_layer(model, 0, n_sequences, n_rows)
    }

    /// The same for the layers from `first_layer` on.
    ///
    /// # Errors
    /// As [`Cache::new`].
    pub fn from_layer(model: &Model, first_layer: usize, n_sequences: usize, n_rows: usize) -> Result<Cache> {
        let shape = [n_sequences * n_rows, model.dims.kv_width()];
        let layer = |number: usize| {
            let [k, v] =
                ["k", "v"].map(|name| model.backend.tensor(format!("cache_{name}.{number}"), &shape));
            Ok([k?, v?])
        };
        let layers = (first_layer..model.dims.n_layer).map(layer).collect::<Result<_>>()?;
        Ok(Cache { n_rows, n_sequences, first_layer, layers })
    }

    /// Keys and values of a layer, which has some.
    pub(super) fn layer(&self, number: usize) -> &[Tensor; 2] {
        &self.layers[number - self.first_layer]
    }
}
