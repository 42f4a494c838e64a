//! Q2_K: codes of two bits; a scale and a minimum of four bits for each 16.
//!
//! ```text
//! x = d · scale · q − dmin · min          block_q2_K { u8 scales[16]; u8 qs[64]; f16 d, dmin; }
//! ```

use super::codes::{Part, pairs, words};
use super::super_block::{SuperBlock, half};
use super::{Format, Layout};

/// The format Q2_K.
pub static Q2_K: Format = Format {
    name: "Q2_K",
    ggml_type: 10,
    wgsl: &[wgsl!("quant/q2_k.wgsl")],
    layout: Layout::Q2K,
    block_values: 256,
    block_bytes: 84,
    qs_bytes: 64,
    scale_bytes: 20,
    cols_multiple: 256,
    halves: &[(80, 15.0 * 3.0), (82, 15.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: SuperBlock<84, 16> = SuperBlock {
    parts: &[Part::Pairs { shift: 0 }],
    scales: |block| ([half(block, 80), half(block, 82)], block[..16].try_into().expect("16 scales")),
    codes: |block, qs| {
        for half in [16, 48] {
            let bytes = words(&block[half..]);
            (0..4).for_each(|run| qs.extend_from_slice(&pairs(&bytes, 2 * run)));
        }
    },
    group: |small, group| [small[group] & 15, small[group] >> 4].map(f32::from),
    number: f32::from,
};
