//! IQ4_NL: 32 nibbles, each the number of one of 16 values, and a scale.
//!
//! ```text
//! x[j] = d · VALUES[qs[j]]      block_iq4_nl { f16 d; u8 qs[16]; }
//! ```

use half::f16;

use super::block::nibbles;
use super::codes::{Part, RUN, pack, unpack};
use super::{Format, half_word, pack_halves};

/// The format IQ4_NL.
pub static IQ4_NL: Format = Format {
    name: "IQ4_NL",
    ggml_type: 20,
    wgsl: include_str!("../../shaders/quant/iq4_nl.wgsl"),
    block_values: 32,
    block_bytes: 18,
    qs_bytes: 16,
    scale_bytes: 2,
    cols_multiple: 32,
    halves: &[(0, 127.0)],
    decode: |bytes, out| {
        for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            values(scale(block), &nibbles(&block[2..]), out);
        }
    },
    repack: |bytes, packed| {
        let blocks = bytes.as_chunks().0;
        pack_halves(blocks.iter().map(scale), &mut packed.scales);
        blocks.iter().for_each(|block| pack(&nibbles(&block[2..]), &[Part::Nibbles], &mut packed.qs));
    },
    decode_packed: |qs, scales, first, out| {
        for (i, out) in (first..).zip(out.as_chunks_mut().0) {
            let mut codes = [0; RUN];
            unpack(&qs[4 * i..], &[Part::Nibbles], &mut codes);
            values(half_word(scales, i), &codes, out);
        }
    },
    quantize: None,
};

/// `kvalues_iq4nl`.
pub(super) const VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn scale(block: &[u8; 18]) -> u16 {
    u16::from_le_bytes([block[0], block[1]])
}

fn values(d: u16, codes: &[u8; RUN], out: &mut [f32; RUN]) {
    let d = f16::from_bits(d).to_f32();
    out.iter_mut().zip(codes).for_each(|(x, code)| *x = d * f32::from(VALUES[usize::from(*code)]));
}
