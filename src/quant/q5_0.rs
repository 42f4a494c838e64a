//! Q5_0: 32 codes of five bits and a scale; their fifth bits stand apart.
//!
//! ```text
//! x[j] = d · (qs[j] − 16)       block_q5_0 { f16 d; u8 qh[4]; u8 qs[16]; }
//! ```

use super::block::Block;
use super::codes::{Part, bits_in_order, words};
use super::{FIVE_BITS, Format, Layout};

/// The format Q5_0.
pub static Q5_0: Format = Format {
    name: "Q5_0",
    ggml_type: 6,
    wgsl: &[wgsl!("quant/q5_0.wgsl"), FIVE_BITS],
    layout: Layout::Q5_0,
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

const BLOCK: Block<22, 1, 5> = Block {
    parts: &[Part::Nibbles, Part::Bits { shift: 4 }],
    codes: |block| {
        let [high, low @ ..]: [u32; 5] = words(&block[2..]);
        [low[0], low[1], low[2], low[3], bits_in_order(high)]
    },
    number: |code| f32::from(code) - 16.0,
};
