//! Blocks of one run of 32 codes under a scale, and a minimum if there is one: Q4_1, Q5_0, Q5_1, IQ4_NL.
//!
//! ```text
//! x[j] = d · number(code[j]) + m        qs: the codes' parts        scales: d, and m if there is one, two f16 to a word
//! ```

use half::f16;

use super::codes::{Part, RUN, unpack};
use super::{Packed, half_word, pack_halves};

/// How a block is made: `BYTES` of the file, `HALVES` f16 in front, `WORDS` of codes for the GPU.
pub(super) struct Block<const BYTES: usize, const HALVES: usize, const WORDS: usize> {
    pub(super) parts: &'static [Part],
    /// The codes of a block of the file, as [`unpack`] reads them.
    pub(super) codes: fn(&[u8; BYTES]) -> [u32; WORDS],
    /// What a code stands for.
    pub(super) number: fn(u8) -> f32,
}

impl<const BYTES: usize, const HALVES: usize, const WORDS: usize> Block<BYTES, HALVES, WORDS> {
    fn values(&self, halves: [u16; HALVES], words: &[u32], out: &mut [f32; RUN]) {
        let real = |i: usize| halves.get(i).map(|bits| f16::from_bits(*bits).to_f32());
        let (d, m) = (real(0).unwrap_or_default(), real(1));
        for (x, code) in out.iter_mut().zip(unpack(words, self.parts)) {
            let scaled = d * (self.number)(code);
            *x = m.map_or(scaled, |m| scaled + m);
        }
    }

    fn halves(block: &[u8; BYTES]) -> [u16; HALVES] {
        std::array::from_fn(|i| u16::from_le_bytes([block[2 * i], block[2 * i + 1]]))
    }

    pub(super) fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            self.values(Self::halves(block), &(self.codes)(block), out);
        }
    }

    pub(super) fn repack(&self, bytes: &[u8], packed: &mut Packed) {
        let blocks = bytes.as_chunks().0;
        pack_halves(blocks.iter().flat_map(Self::halves), &mut packed.scales);
        blocks.iter().for_each(|block| packed.qs.extend_from_slice(&(self.codes)(block)));
    }

    pub(super) fn decode_packed(&self, qs: &[u32], scales: &[u32], first: usize, out: &mut [f32]) {
        for (i, out) in (first..).zip(out.as_chunks_mut().0) {
            let halves = std::array::from_fn(|half| half_word(scales, HALVES * i + half));
            self.values(halves, &qs[WORDS * i..][..WORDS], out);
        }
    }
}
