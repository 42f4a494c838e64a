//! How codes of a few bits lie in words for the GPU: in runs of 32, so that a word holds what four neighbouring values, or those and the
//! four values 16 further on, have in common.
//!
//! ```text
//! nibbles  4 words   byte j of word w = value 4·w + j in its lower half, value 16 + 4·w + j in its upper: ggml's order in block_q4_0
//! pairs    2 words   bits 8·j + 2·(s mod 4) of word s / 4 = value 4·s + j
//! bits     1 word    bit 8·j + s = value 4·s + j
//! ```

/// Codes in a run.
pub(super) const RUN: usize = 32;

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

    /// The first bit of a code that it has, and how many.
    fn bits_of_code(self) -> (u32, u32) {
        match self {
            Part::Nibbles => (0, 4),
            Part::Pairs { shift } => (shift, 2),
            Part::Bits { shift } => (shift, 1),
        }
    }

    /// The word, and the first bit in it, where value `i` of a run has its bits.
    fn place(self, i: usize) -> (usize, u32) {
        let (four, byte) = (i / 4, 8 * (i % 4) as u32);
        match self {
            Part::Nibbles => (four % 4, byte + 4 * (four / 4) as u32),
            Part::Pairs { .. } => (four / 4, byte + 2 * (four % 4) as u32),
            Part::Bits { .. } => (0, byte + four as u32),
        }
    }
}

/// Appends a run of codes, part by part.
pub(super) fn pack(codes: &[u8], parts: &[Part], words: &mut Vec<u32>) {
    for part in parts {
        let start = words.len();
        words.resize(start + part.words(), 0);
        let (first, n_bits) = part.bits_of_code();
        for (i, code) in codes.iter().enumerate() {
            let (word, bit) = part.place(i);
            words[start + word] |= (u32::from(*code) >> first & ((1 << n_bits) - 1)) << bit;
        }
    }
}

/// Reads a run of codes back.
pub(super) fn unpack(mut words: &[u32], parts: &[Part], codes: &mut [u8]) {
    codes.fill(0);
    for part in parts {
        let (first, n_bits) = part.bits_of_code();
        for (i, code) in codes.iter_mut().enumerate() {
            let (word, bit) = part.place(i);
            *code |= ((words[word] >> bit & ((1 << n_bits) - 1)) << first) as u8;
        }
        words = &words[part.words()..];
    }
}
