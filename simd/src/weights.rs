//! A quantized matrix, as webreft lays it out in memory.

/// How the blocks of a matrix lie in words: webreft's own order of ggml's formats, told in its `src/quant/mod.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are ggml's")]
pub enum Layout {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

impl Layout {
    /// Values in a block.
    pub fn block_values(self) -> usize {
        match self {
            Layout::F32 | Layout::F16 | Layout::Bf16 => 1,
            Layout::Q8_0 | Layout::Q4_0 | Layout::Q4_1 | Layout::Q5_0 | Layout::Q5_1 | Layout::Iq4Nl => 32,
            Layout::Q2K | Layout::Q3K | Layout::Q4K | Layout::Q5K | Layout::Q6K | Layout::Iq4Xs => 256,
        }
    }
}

/// A matrix [rows, cols] of quantized values.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// How values lie in the words.
    pub layout: Layout,
    /// The codes.
    pub qs: &'a [u32],
    /// The scales of blocks; empty where there are none.
    pub scales: &'a [u32],
    /// Rows, one for each output.
    pub rows: usize,
    /// Values in a row, whole blocks.
    pub cols: usize,
}
