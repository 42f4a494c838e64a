//! Super-blocks: 256 codes in eight runs of 32, whose scales are small numbers themselves, under one or two f16. Q2_K to Q6_K, IQ4_XS.
//!
//! ```text
//! x[j] = (d · scale) · (code[j] − zero) − dmin · min         scale and min of the group of 16 or 32 values that j is in
//!
//! qs      run after run, the parts of its codes
//! scales  a word with d, and dmin above it; then the format's bytes of small scales and minimums, four to a word
//! ```
//!
//! Every product is exact in f32 (11 bits of an f16, 6 or 8 of a scale, 6 of a code), so that values are equal to the bit wherever they are
//! computed, with fused operations or without.

use half::f16;

use super::codes::{Part, RUN, pack, unpack};
use super::{Packed, u32s};

/// Values of a super-block.
pub(super) const SUPER: usize = 256;

/// How a super-block is made: `BYTES` of the file, `SMALL` bytes of small scales for the GPU.
pub(super) struct SuperBlock<const BYTES: usize, const SMALL: usize> {
    pub(super) parts: &'static [Part],
    /// Reads a block of the file.
    pub(super) read: fn(&[u8; BYTES]) -> Contents<SMALL>,
    /// Scale and minimum of each group of 16 values, from the small bytes.
    pub(super) group: fn(&[u8; SMALL], usize) -> [f32; 2],
    /// What a code stands for.
    pub(super) number: fn(u8) -> f32,
}

/// A super-block, taken apart.
pub(super) struct Contents<const SMALL: usize> {
    /// The bits of d; and of dmin, where there is one.
    pub(super) halves: [u16; 2],
    pub(super) small: [u8; SMALL],
    pub(super) codes: [u8; SUPER],
}

impl<const BYTES: usize, const SMALL: usize> SuperBlock<BYTES, SMALL> {
    fn values(&self, block: &Contents<SMALL>, out: &mut [f32; SUPER]) {
        let [d, dmin] = block.halves.map(|bits| f16::from_bits(bits).to_f32());
        let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(block.codes.as_chunks::<16>().0);
        for (group, (out, codes)) in groups.enumerate() {
            let [scale, min] = (self.group)(&block.small, group);
            let (scale, min) = (d * scale, dmin * min);
            out.iter_mut().zip(codes).for_each(|(x, code)| *x = scale * (self.number)(*code) - min);
        }
    }

    pub(super) fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            self.values(&(self.read)(block), out);
        }
    }

    pub(super) fn repack(&self, bytes: &[u8], packed: &mut Packed) {
        for block in bytes.as_chunks().0 {
            let Contents { halves: [d, dmin], small, codes } = (self.read)(block);
            packed.scales.push(u32::from(d) | u32::from(dmin) << 16);
            packed.scales.extend(u32s(&small));
            codes.as_chunks::<RUN>().0.iter().for_each(|run| pack(run, self.parts, &mut packed.qs));
        }
    }

    pub(super) fn decode_packed(&self, qs: &[u32], scales: &[u32], first: usize, out: &mut [f32]) {
        let run_words: usize = self.parts.iter().map(|part| part.words()).sum();
        let scale_words = 1 + SMALL / 4;
        for (i, out) in (first..).zip(out.as_chunks_mut().0) {
            let scales = &scales[scale_words * i..][..scale_words];
            let mut block = Contents {
                halves: [scales[0] as u16, (scales[0] >> 16) as u16],
                small: std::array::from_fn(|byte| scales[1 + byte / 4].to_le_bytes()[byte % 4]),
                codes: [0; SUPER],
            };
            let runs = qs[8 * run_words * i..].chunks_exact(run_words);
            for (words, codes) in runs.zip(block.codes.as_chunks_mut::<RUN>().0) {
                unpack(words, self.parts, codes);
            }
            self.values(&block, out);
        }
    }
}

/// The f16 at a byte of a block.
pub(super) fn half(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Codes of four bits: each 32 bytes have a run in their lower halves and the next run in their upper.
pub(super) fn runs_of_nibbles(bytes: &[u8]) -> [u8; SUPER] {
    std::array::from_fn(|i| bytes[32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2)) & 15)
}

/// Codes of two bits: each 32 bytes have four runs, the first in their lowest bits.
pub(super) fn runs_of_pairs(bytes: &[u8]) -> [u8; SUPER] {
    std::array::from_fn(|i| bytes[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3)
}

/// Codes of one bit: 32 bytes have all eight runs, the first in their lowest bits.
pub(super) fn runs_of_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 32] >> (i / 32) & 1
}

/// The scales and minimums of eight runs, six bits each in twelve bytes: `get_scale_min_k4`. Scale and minimum of each run stand together.
pub(super) fn scales_and_mins(packed: &[u8]) -> [u8; 16] {
    let six = |j: usize| match j {
        0..8 => packed[j] & 63,
        8..12 => packed[j] & 15 | packed[j - 8] >> 6 << 4,
        _ => packed[j - 4] >> 4 | packed[j - 8] >> 6 << 4,
    };
    // Numbers 0 to 3 are scales and 4 to 7 minimums of the first four runs; 8 to 11 and 12 to 15 those of the others.
    std::array::from_fn(|i| six(8 * (i / 8) + i / 2 % 4 + 4 * (i % 2)))
}

/// Scale and minimum of a group, where they stand together for each run.
pub(super) fn of_run(small: &[u8; 16], group: usize) -> [f32; 2] {
    let run = group / 2;
    [small[2 * run], small[2 * run + 1]].map(f32::from)
}
