//! Super-blocks: 256 codes in eight runs of 32, whose scales are small numbers themselves, under one or two f16. Q2_K to Q6_K, IQ4_XS.
//!
//! ```text
//! x[j] = (d · scale) · number(code[j]) − dmin · min         scale and min of the group of 16 or 32 values that j is in
//!
//! qs      run after run, the parts of its codes
//! scales  a word with d, and dmin above it; then the format's bytes of small scales and minimums, four to a word
//! ```
//!
//! Every product is exact in f32 (11 bits of an f16, 6 or 8 of a scale, 6 of a code), so that values are equal to the bit wherever they are
//! computed, with fused operations or without.

use half::f16;

use super::codes::{Part, RUN, nibbles, unpack, words};
use super::{Packed, push_words};

/// Values of a super-block.
pub(super) const SUPER: usize = 256;

/// The bits of d, and of dmin, where there is one; and the small scales.
type Scales<const SMALL: usize> = ([u16; 2], [u8; SMALL]);

/// How a super-block is made: `BYTES` of the file, `SMALL` bytes of small scales for the GPU.
pub(super) struct SuperBlock<const BYTES: usize, const SMALL: usize> {
    pub(super) parts: &'static [Part],
    pub(super) scales: fn(&[u8; BYTES]) -> Scales<SMALL>,
    /// Appends the codes of the eight runs of a block of the file, as [`unpack`] reads them.
    pub(super) codes: fn(&[u8; BYTES], &mut Vec<u32>),
    /// Scale and minimum of each group of 16 values, from the small bytes.
    pub(super) group: fn(&[u8; SMALL], usize) -> [f32; 2],
    /// What a code stands for.
    pub(super) number: fn(u8) -> f32,
}

impl<const BYTES: usize, const SMALL: usize> SuperBlock<BYTES, SMALL> {
    /// The words of a run.
    fn run_words(&self) -> usize {
        self.parts.iter().map(|part| part.words()).sum()
    }

    fn values(&self, halves: [u16; 2], small: &[u8; SMALL], qs: &[u32], out: &mut [f32; SUPER]) {
        let [d, dmin] = halves.map(|bits| f16::from_bits(bits).to_f32());
        let runs = qs.chunks_exact(self.run_words()).zip(out.as_chunks_mut::<RUN>().0);
        for (run, (words, out)) in runs.enumerate() {
            let codes = unpack(words, self.parts);
            for (i, (x, code)) in out.iter_mut().zip(codes).enumerate() {
                let [scale, min] = (self.group)(small, 2 * run + i / 16);
                *x = d * scale * (self.number)(code) - dmin * min;
            }
        }
    }

    pub(super) fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        let mut qs = Vec::with_capacity(8 * self.run_words());
        for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            qs.clear();
            (self.codes)(block, &mut qs);
            let (halves, small) = (self.scales)(block);
            self.values(halves, &small, &qs, out);
        }
    }

    pub(super) fn repack(&self, bytes: &[u8], packed: &mut Packed) {
        for block in bytes.as_chunks().0 {
            let ([d, dmin], small) = (self.scales)(block);
            packed.scales.push(u32::from(d) | u32::from(dmin) << 16);
            push_words(&small, &mut packed.scales);
            (self.codes)(block, &mut packed.qs);
        }
    }

    pub(super) fn decode_packed(&self, qs: &[u32], scales: &[u32], first: usize, out: &mut [f32]) {
        let (block_words, scale_words) = (8 * self.run_words(), 1 + SMALL / 4);
        for (i, out) in (first..).zip(out.as_chunks_mut().0) {
            let scales = &scales[scale_words * i..][..scale_words];
            let halves = [scales[0] as u16, (scales[0] >> 16) as u16];
            let small = std::array::from_fn(|byte| scales[1 + byte / 4].to_le_bytes()[byte % 4]);
            self.values(halves, &small, &qs[block_words * i..][..block_words], out);
        }
    }
}

/// The f16 at a byte of a block.
pub(super) fn half(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Codes of four bits, where each 32 bytes have a run in their lower halves and the next run in their upper: run `run`.
#[inline(always)]
pub(super) fn nibbles_of_run(bytes: &[u8], run: usize) -> [u32; 4] {
    nibbles(&words(&bytes[32 * (run / 2)..]), run % 2 == 1)
}

/// The scales and minimums of eight runs, six bits each in twelve bytes: `get_scale_min_k4`. Scale and minimum of each run stand together.
pub(super) fn scales_and_mins(packed: &[u8]) -> [u8; 16] {
    let mut small = [0; 16];
    for run in 0..4 {
        let (scale, min, both) = (packed[run], packed[4 + run], packed[8 + run]);
        let later = 8 + 2 * run;
        (small[2 * run], small[2 * run + 1]) = (scale & 63, min & 63);
        (small[later], small[later + 1]) = (both & 15 | scale >> 6 << 4, both >> 4 | min >> 6 << 4);
    }
    small
}

/// Scale and minimum of a group, where they stand together for each run.
pub(super) fn of_run(small: &[u8; 16], group: usize) -> [f32; 2] {
    let run = group / 2;
    [small[2 * run], small[2 * run + 1]].map(f32::from)
}
