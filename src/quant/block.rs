//! Blocks of one run of 32 codes under a scale, and a minimum if there is one: Q4_1, Q5_0, Q5_1.
//!
//! ```text
//! x[j] = d · (code[j] − zero) + m        qs: the codes' parts        scales: d, and m if there is one, two f16 to a word
//! ```

use half::f16;

use super::codes::{Part, RUN, pack, unpack};
use super::{Packed, half_word, pack_halves};

/// How a block is made: `BYTES` of the file, `HALVES` f16 in front.
pub(super) struct Block<const BYTES: usize, const HALVES: usize> {
    pub(super) parts: &'static [Part],
    /// The code of the value 0, where there is no minimum.
    pub(super) zero: u8,
    /// The codes in a block of the file.
    pub(super) codes: fn(&[u8; BYTES]) -> [u8; RUN],
}

impl<const BYTES: usize, const HALVES: usize> Block<BYTES, HALVES> {
    fn values(&self, halves: [u16; HALVES], codes: &[u8; RUN], out: &mut [f32; RUN]) {
        let real = |i: usize| halves.get(i).map(|bits| f16::from_bits(*bits).to_f32());
        let (d, m) = (real(0).unwrap_or_default(), real(1));
        for (x, code) in out.iter_mut().zip(codes) {
            let scaled = (f32::from(*code) - f32::from(self.zero)) * d;
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
        blocks.iter().for_each(|block| pack(&(self.codes)(block), self.parts, &mut packed.qs));
    }

    pub(super) fn decode_packed(&self, qs: &[u32], scales: &[u32], first: usize, out: &mut [f32]) {
        let words: usize = self.parts.iter().map(|part| part.words()).sum();
        for (i, out) in (first..).zip(out.as_chunks_mut().0) {
            let mut codes = [0; RUN];
            unpack(&qs[words * i..], self.parts, &mut codes);
            self.values(std::array::from_fn(|half| half_word(scales, HALVES * i + half)), &codes, out);
        }
    }
}

/// The lower halves of 16 bytes, then their upper halves.
pub(super) fn nibbles(bytes: &[u8]) -> [u8; RUN] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// The same with a fifth bit each from a word of 32.
pub(super) fn nibbles_and_bits(bytes: &[u8], bits: &[u8]) -> [u8; RUN] {
    let low = nibbles(bytes);
    std::array::from_fn(|i| low[i] | (bits[i / 8] >> (i % 8) & 1) << 4)
}
