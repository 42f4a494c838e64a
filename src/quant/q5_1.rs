//! Q5_1: 32 codes of five bits, a scale and a minimum; their fifth bits stand apart.
//!
//! ```text
//! x[j] = d · qs[j] + m          block_q5_1 { f16 d, m; u8 qh[4]; u8 qs[16]; }
//! ```

use super::block::Block;
use super::codes::{Part, bits_in_order, words};
use super::{FIVE_BITS, Format, Layout};

/// The format Q5_1.
pub static Q5_1: Format = Format {
    name: "Q5_1",
    ggml_type: 7,
    wgsl: &[wgsl!("quant/q5_1.wgsl"), FIVE_BITS],
    layout: Layout::Q5_1,
    block_values: 32,
    block_bytes: 24,
    qs_bytes: 20,
    scale_bytes: 4,
    cols_multiple: 32,
    halves: &[(0, 16.0), (2, 1.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: Block<24, 2, 5> = Block {
    parts: &[Part::Nibbles, Part::Bits { shift: 4 }],
    codes: |block| {
        let [high, low @ ..]: [u32; 5] = words(&block[4..]);
        [low[0], low[1], low[2], low[3], bits_in_order(high)]
    },
    number: f32::from,
};
