//! IQ4_XS: codes of four bits, each the number of one of IQ4_NL's 16 values; a scale of six bits for each 32.
//!
//! ```text
//! x = d · (scale − 32) · VALUES[q]        block_iq4_xs { f16 d; u16 scales_h; u8 scales_l[4]; u8 qs[128]; }
//! ```

use super::codes::Part;
use super::iq4_nl::value;
use super::super_block::{SuperBlock, half};
use super::{FOUR_BITS, Format, Layout, UNEVEN, push_words};

/// The format IQ4_XS.
pub static IQ4_XS: Format = Format {
    name: "IQ4_XS",
    ggml_type: 23,
    wgsl: &[wgsl!("quant/iq4_xs.wgsl"), UNEVEN, FOUR_BITS],
    layout: Layout::Iq4Xs,
    block_values: 256,
    block_bytes: 136,
    qs_bytes: 128,
    scale_bytes: 12,
    cols_multiple: 256,
    halves: &[(0, 32.0 * 127.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: SuperBlock<136, 8> = SuperBlock {
    parts: &[Part::Nibbles],
    scales: |block| ([half(block, 0), 0], std::array::from_fn(|run| scale(block, run))),
    codes: |block, qs| push_words(&block[8..], qs),
    group: |small, group| [f32::from(small[group / 2] as i8), 0.0],
    number: value,
};

/// The scale of a run, less 32: its lower four bits stand in `scales_l`, its upper two in `scales_h`.
fn scale(block: &[u8; 136], run: usize) -> u8 {
    let low = block[4 + run / 2] >> (4 * (run % 2)) & 15;
    let high = half(block, 2) >> (2 * run) & 3;
    (low | (high as u8) << 4).wrapping_sub(32)
}
