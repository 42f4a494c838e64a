//! A weight matrix on a device: slabs of rows, each in its own format and small enough to bind.
//!
//! Vocabularies are large: 151,936 rows of Q8_0 pass WebGPU's default binding limit of 128 MiB. And matrices that are
//! always used together (q, k and v; gate and up) are one matrix here, even when the file gives them different formats.

use crate::quant::Format;
use crate::tensor::Tensor;

/// Rows `first_row ..` of a matrix, quantized, repacked for the GPU.
#[derive(Clone)]
pub struct Slab {
    /// The name in prints: the file's tensor name.
    pub label: String,
    /// How the values are stored.
    pub format: &'static Format,
    /// The matrix's row that is this slab's first.
    pub first_row: usize,
    /// Rows in this slab.
    pub rows: usize,
    /// Values in a row.
    pub cols: usize,
    /// The quants, in the format's own layout.
    pub qs: Tensor,
    /// The blocks' scales, for formats that have any.
    pub scales: Option<Tensor>,
}

impl Slab {
    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let words = self.format.words(self.rows, self.cols);
        4 * (words.qs + words.scales) as u64
    }
}

/// A weight matrix [rows, cols] = [out, in].
#[derive(Clone)]
pub struct Matrix {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// All rows, in order.
    pub slabs: Vec<Slab>,
}
