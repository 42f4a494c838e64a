//! Q5_K: codes of five bits, the fifth apart; a scale and a minimum of six bits for each 32.
//!
//! ```text
//! x = d · scale · q − dmin · min          block_q5_K { f16 d, dmin; u8 scales[12]; u8 qh[32]; u8 qs[128]; }
//! ```

use super::codes::{Part, bits, words};
use super::super_block::{SuperBlock, half, nibbles_of_run, of_run, scales_and_mins};
use super::{FIVE_BITS, Format, Layout, SCALE_AND_MIN};

/// The format Q5_K.
pub static Q5_K: Format = Format {
    name: "Q5_K",
    ggml_type: 13,
    wgsl: &[wgsl!("quant/q5_k.wgsl"), FIVE_BITS, SCALE_AND_MIN],
    layout: Layout::Q5K,
    block_values: 256,
    block_bytes: 176,
    qs_bytes: 160,
    scale_bytes: 20,
    cols_multiple: 256,
    halves: &[(0, 63.0 * 31.0), (2, 63.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: SuperBlock<176, 16> = SuperBlock {
    parts: &[Part::Nibbles, Part::Bits { shift: 4 }],
    scales: |block| ([half(block, 0), half(block, 2)], scales_and_mins(&block[4..16])),
    codes: |block, qs| {
        let high = words(&block[16..48]);
        for run in 0..8 {
            qs.extend_from_slice(&nibbles_of_run(&block[48..], run));
            qs.push(bits(&high, run));
        }
    },
    group: of_run,
    number: f32::from,
};
