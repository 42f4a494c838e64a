//! Q5_0: 32 codes of five bits and a scale; their fifth bits stand apart.
//!
//! ```text
//! x[j] = d · (qs[j] − 16)       block_q5_0 { f16 d; u8 qh[4]; u8 qs[16]; }
//! ```

use super::Format;
use super::block::{Block, nibbles_and_bits};
use super::codes::Part;

/// The format Q5_0.
pub static Q5_0: Format = Format {
    name: "Q5_0",
    ggml_type: 6,
    wgsl: include_str!("../../shaders/quant/q5_0.wgsl"),
    block_values: 32,
    block_bytes: 22,
    qs_bytes: 20,
    scale_bytes: 2,
    cols_multiple: 32,
    halves: &[(0, 16.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: Block<22, 1> = Block {
    parts: &[Part::Nibbles, Part::Bits { shift: 4 }],
    zero: 16,
    codes: |block| nibbles_and_bits(&block[6..], &block[2..6]),
};
