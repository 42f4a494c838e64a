//! Q3_K: codes of three bits, the third apart; a scale of six bits for each 16.
//!
//! ```text
//! x = d · (scale − 32) · (q − 4)          block_q3_K { u8 hmask[32]; u8 qs[64]; u8 scales[12]; f16 d; }
//! ```

use super::codes::{Part, bits, pairs, words};
use super::super_block::{SuperBlock, half};
use super::{Format, HALF_SCALES, Layout};

/// The format Q3_K.
pub static Q3_K: Format = Format {
    name: "Q3_K",
    ggml_type: 11,
    wgsl: &[wgsl!("quant/q3_k.wgsl"), HALF_SCALES],
    layout: Layout::Q3K,
    block_values: 256,
    block_bytes: 110,
    qs_bytes: 96,
    scale_bytes: 20,
    cols_multiple: 256,
    halves: &[(108, 32.0 * 4.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

const BLOCK: SuperBlock<110, 16> = SuperBlock {
    parts: &[Part::Pairs { shift: 0 }, Part::Bits { shift: 2 }],
    scales: |block| ([half(block, 108), 0], std::array::from_fn(|group| scale(&block[96..108], group))),
    codes: |block, qs| {
        let high = words(&block[..32]);
        for run in 0..8 {
            let low = words(&block[32 + 32 * (run / 4)..]);
            qs.extend_from_slice(&pairs(&low, 2 * (run % 4)));
            qs.push(bits(&high, run));
        }
    },
    group: |small, group| [f32::from(small[group] as i8), 0.0],
    number: |code| f32::from(code) - 4.0,
};

/// The scale of a group, less 32: its lower four bits stand in the first eight bytes, its upper two in the last four.
fn scale(packed: &[u8], group: usize) -> u8 {
    let low = packed[group % 8] >> (4 * (group / 8)) & 15;
    let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
    (low | high << 4).wrapping_sub(32)
}
