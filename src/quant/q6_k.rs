//! Q6_K: codes of six bits, the upper two apart; a scale of eight bits for each 16.
//!
//! ```text
//! x = d · scale · (q − 32)                block_q6_K { u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d; }
//! ```

use super::codes::{Part, nibbles, pairs, words};
use super::super_block::{SuperBlock, half};
use super::{Format, HALF_SCALES, Layout};

/// The format Q6_K.
pub static Q6_K: Format = Format {
    name: "Q6_K",
    ggml_type: 14,
    wgsl: &[wgsl!("quant/q6_k.wgsl"), HALF_SCALES],
    layout: Layout::Q6K,
    block_values: 256,
    block_bytes: 210,
    qs_bytes: 192,
    scale_bytes: 20,
    cols_multiple: 256,
    halves: &[(208, 128.0 * 32.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: SuperBlock<210, 16> = SuperBlock {
    parts: &[Part::Nibbles, Part::Pairs { shift: 4 }],
    scales: |block| ([half(block, 208), 0], block[192..208].try_into().expect("16 scales")),
    codes: |block, qs| {
        for run in 0..8 {
            // Each 64 bytes have two runs in their lower halves, and the next two in their upper.
            let low = words(&block[64 * (run / 4) + 32 * (run % 2)..]);
            let high = words(&block[128 + 32 * (run / 4)..]);
            qs.extend_from_slice(&nibbles(&low, run % 4 >= 2));
            qs.extend_from_slice(&pairs(&high, 2 * (run % 4)));
        }
    },
    group: |small, group| [f32::from(small[group] as i8), 0.0],
    number: |code| f32::from(code) - 32.0,
};
