//! Q4_1: 32 nibbles, a scale and a minimum.
//!
//! ```text
//! x[j] = d · qs[j] + m          block_q4_1 { f16 d, m; u8 qs[16]; }
//! ```

use super::block::Block;
use super::codes::{Part, words};
use super::{FOUR_BITS, Format, Layout};

/// The format Q4_1.
pub static Q4_1: Format = Format {
    name: "Q4_1",
    ggml_type: 3,
    wgsl: &[wgsl!("quant/q4_1.wgsl"), FOUR_BITS],
    layout: Layout::Q4_1,
    block_values: 32,
    block_bytes: 20,
    qs_bytes: 16,
    scale_bytes: 4,
    cols_multiple: 32,
    halves: &[(0, 8.0), (2, 1.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: Block<20, 2, 4> =
    Block { parts: &[Part::Nibbles], codes: |block| words(&block[4..]), number: f32::from };
