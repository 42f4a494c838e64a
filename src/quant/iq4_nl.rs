//! IQ4_NL: 32 nibbles, each the number of one of 16 values, and a scale.
//!
//! ```text
//! x[j] = d · VALUES[qs[j]]      block_iq4_nl { f16 d; u8 qs[16]; }
//! ```

use super::block::Block;
use super::codes::{Part, words};
use super::{FOUR_BITS, Format, Layout, UNEVEN};

/// The format IQ4_NL.
pub static IQ4_NL: Format = Format {
    name: "IQ4_NL",
    ggml_type: 20,
    wgsl: &[wgsl!("quant/iq4_nl.wgsl"), UNEVEN, FOUR_BITS],
    layout: Layout::Iq4Nl,
    block_values: 32,
    block_bytes: 18,
    qs_bytes: 16,
    scale_bytes: 2,
    cols_multiple: 32,
    halves: &[(0, 127.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: None,
};

/// `kvalues_iq4nl`.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const BLOCK: Block<18, 1, 4> =
    Block { parts: &[Part::Nibbles], codes: |block| words(&block[2..]), number: value };

/// The value of a code.
pub(super) fn value(code: u8) -> f32 {
    f32::from(VALUES[usize::from(code)])
}
