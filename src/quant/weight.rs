//! A quantized weight matrix in memory.

use super::Format;
use webreft_simd::Weights;

/// Rows of quantized values, as slices of words.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    /// How the values are stored.
    pub format: &'static Format,
    /// The quants, in the format's own layout.
    pub qs: &'a [u32],
    /// The scales of the blocks; empty for formats without.
    pub scales: &'a [u32],
    /// Rows.
    pub rows: usize,
    /// Values in a row.
    pub cols: usize,
}

impl<'a> Weight<'a> {
    /// The same for the CPU's fast code.
    pub fn fast(&self) -> Weights<'a> {
        let Weight { format, qs, scales, rows, cols } = *self;
        Weights { layout: format.layout, qs, scales, rows, cols }
    }

    /// Decodes one row.
    ///
    /// # Panics
    ///
    /// If `out` is not whole blocks or there is no such row.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let first_block = row * self.cols / self.format.block_values;
        self.format.decode_packed(self.qs, self.scales, first_block, out);
    }
}
