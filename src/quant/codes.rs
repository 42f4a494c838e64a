//! How codes of a few bits lie in words for the GPU: in runs of 32, so that a word holds what four neighbouring values, or those and the
//! four values 16 further on, have in common.
//!
//! ```text
//! nibbles  4 words   byte j of word w = value 4·w + j in its lower half, value 16 + 4·w + j in its upper: ggml's order in block_q4_0
//! pairs    2 words   bits 8·j + 2·(s mod 4) of word s / 4 = value 4·s + j
//! bits     1 word    bit 8·j + s = value 4·s + j
//! ```
//!
//! Files have them otherwise; they are brought into this order a word at a time, for loading waits for it. What does so is inlined by order:
//! the wasm file is compiled for its size, and a call for each word would take longer than the work.

/// Codes in a run.
pub(super) const RUN: usize = 32;

const LOWER_HALVES: u32 = 0x0f0f_0f0f;
const LOWEST_PAIRS: u32 = 0x0303_0303;
const LOWEST_BITS: u32 = 0x0101_0101;

/// A part of the bits of codes, from bit `shift` of each on.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Nibbles,
    Pairs { shift: u32 },
    Bits { shift: u32 },
}

impl Part {
    /// Words of a run.
    pub(super) const fn words(self) -> usize {
        match self {
            Part::Nibbles => 4,
            Part::Pairs { .. } => 2,
            Part::Bits { .. } => 1,
        }
    }

    /// The bits of value `i` of a run.
    fn of(self, words: &[u32], i: usize) -> u32 {
        let (four, byte) = (i / 4, 8 * (i % 4));
        match self {
            Part::Nibbles => words[four % 4] >> (byte + 4 * (four / 4)) & 15,
            Part::Pairs { shift } => (words[four / 4] >> (byte + 2 * (four % 4)) & 3) << shift,
            Part::Bits { shift } => (words[0] >> (byte + four) & 1) << shift,
        }
    }
}

/// The codes of a run, from its parts, one after the other.
pub(super) fn unpack(mut words: &[u32], parts: &[Part]) -> [u8; RUN] {
    let mut codes = [0; RUN];
    for part in parts {
        codes.iter_mut().enumerate().for_each(|(i, code)| *code |= part.of(words, i) as u8);
        words = &words[part.words()..];
    }
    codes
}

/// The words of bytes.
#[inline(always)]
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// Nibbles of a run that 32 bytes have in their lower halves, or in their upper.
#[inline(always)]
pub(super) fn nibbles(bytes: &[u32; 8], upper: bool) -> [u32; 4] {
    let half = |word: u32| word >> (4 * u32::from(upper)) & LOWER_HALVES;
    let both = |i: usize| half(bytes[i]) | half(bytes[i + 4]) << 4;
    [both(0), both(1), both(2), both(3)]
}

/// Pairs of a run that 32 bytes have from bit `shift` on.
#[inline(always)]
pub(super) fn pairs(bytes: &[u32; 8], shift: usize) -> [u32; 2] {
    let of = |s: usize| (bytes[s] >> shift & LOWEST_PAIRS) << (2 * (s % 4));
    [of(0) | of(1) | of(2) | of(3), of(4) | of(5) | of(6) | of(7)]
}

/// Bits of a run that 32 bytes have at bit `shift`.
#[inline(always)]
pub(super) fn bits(bytes: &[u32; 8], shift: usize) -> u32 {
    (0..8).fold(0, |word, s| word | (bytes[s] >> shift & LOWEST_BITS) << s)
}

/// Bits of a run that a word has in the order of the values.
#[inline(always)]
pub(super) fn bits_in_order(word: u32) -> u32 {
    // Four bits times this are at bits 0, 8, 16 and 24, among others.
    const SPREAD: u32 = 0x0020_4081;
    (0..8).fold(0, |bits, s| bits | ((word >> (4 * s) & 15).wrapping_mul(SPREAD) & LOWEST_BITS) << s)
}
