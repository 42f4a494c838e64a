//! Weight formats: how blocks of a GGUF file become numbers, and the words the GPU reads instead.
//!
//! A matrix [rows, cols] is a run of blocks, row after row. For the GPU it is cut into two buffers of u32 words,
//! because WGSL reads words, not the 18 or 210 bytes of a block:
//!
//! ```text
//! qs      the quants of block 0, block 1, …   codes of 2 to 6 bits: run after run of 32, as `codes` says
//!                                             Q8_0: 8 words a block, 32 bytes
//!                                             F16, BF16: half a word a value; F32: one word a value
//! scales  the scales of block 0, block 1, …   one f16 a block: two to a word, low half first; what `block` and `super_block` say
//! ```
//!
//! Nothing is lost, and no format takes more than 6 % more than in the file.
//!
//! Source: `block_*` in `ggml-common.h`, `dequantize_row_*` and `quantize_row_*_ref` in `ggml-quants.c`.

mod bf16;
mod block;
mod codes;
mod f16;
mod f32;
mod iq4_nl;
mod iq4_xs;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod super_block;
mod weight;

use std::fmt;
use webreft_simd::Layout;

pub use self::bf16::BF16;
pub use self::f16::F16;
pub use self::f32::F32;
pub use self::iq4_nl::IQ4_NL;
pub use self::iq4_xs::IQ4_XS;
pub use self::q2_k::Q2_K;
pub use self::q3_k::Q3_K;
pub use self::q4_0::Q4_0;
pub use self::q4_1::Q4_1;
pub use self::q4_k::Q4_K;
pub use self::q5_0::Q5_0;
pub use self::q5_1::Q5_1;
pub use self::q5_k::Q5_K;
pub use self::q6_k::Q6_K;
pub use self::q8_0::Q8_0;
pub use self::weight::Weight;

use crate::error::{Error, Result};
use crate::gguf::TensorInfo;

/// Every format that webreft reads. A new one is a file and a line.
pub static FORMATS: [&Format; 15] = [
    &F32, &F16, &BF16, &Q8_0, &Q4_0, &Q4_1, &Q5_0, &Q5_1, &Q2_K, &Q3_K, &Q4_K, &Q5_K, &Q6_K, &IQ4_NL, &IQ4_XS,
];

const FOUR_BITS: &str = wgsl!("lib/four_bits.wgsl");
const FIVE_BITS: &str = wgsl!("lib/five_bits.wgsl");
const UNEVEN: &str = wgsl!("lib/uneven.wgsl");
const SCALE_AND_MIN: &str = wgsl!("lib/scale_and_min.wgsl");
const HALF_SCALES: &str = wgsl!("lib/half_scales.wgsl");

/// Those that weights can be quantized to while loading.
const QUANTIZERS: [&Format; 3] = [&Q8_0, &Q4_0, &Q4_K];

/// A weight format: the sizes of its blocks and what turns one form into another.
pub struct Format {
    /// ggml's name.
    pub name: &'static str,
    /// `enum ggml_type`.
    pub ggml_type: u32,
    /// The shader's side: the format's own file, which declares the buffers in group 1, and those it shares with others. They decode 4, 8 or
    /// 32 values at a time.
    pub wgsl: &'static [&'static str],
    /// The same order of words, as the CPU's fast code names it.
    pub layout: Layout,
    /// Values in a block.
    pub block_values: usize,
    /// Bytes of a block in the file.
    pub block_bytes: usize,
    /// Bytes of a block in `qs`.
    pub qs_bytes: usize,
    /// Bytes of a block in `scales`.
    pub scale_bytes: usize,
    /// The length of a row must be a multiple of this, so that each row begins at a whole block, and at 16 bytes of `qs` where those are read
    /// by fours of words.
    pub cols_multiple: usize,
    /// Where a block of the file has f16 scales, and the largest number that each is multiplied with.
    pub halves: &'static [(usize, f32)],
    decode: fn(&[u8], &mut [f32]),
    repack: fn(&[u8], &mut Packed),
    decode_packed: fn(&[u32], &[u32], usize, &mut [f32]),
    quantize: Option<Quantize>,
}

/// Appends blocks of values to bytes.
type Quantize = fn(&[f32], &mut Vec<u8>);

/// Blocks as the GPU reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The quants.
    pub qs: Vec<u32>,
    /// The scales, two to a word.
    pub scales: Vec<u32>,
}

/// How many words a matrix takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Words of quants.
    pub qs: usize,
    /// Words of scales.
    pub scales: usize,
}

/// The format of a tensor.
///
/// # Errors
///
/// An unsupported error that names the tensor and lists the formats there are.
pub fn format_of(tensor: &TensorInfo) -> Result<&'static Format> {
    FORMATS.into_iter().find(|f| f.ggml_type == tensor.format.id).ok_or_else(|| {
        let (tensor, name) = (&tensor.name, tensor.format.name);
        let supported = FORMATS.map(|f| f.name).join(", ");
        Error::unsupported(format!(
            "tensor {tensor:?}: format {name} is not supported (supported: {supported})"
        ))
    })
}

/// A format that weights can be quantized to while loading, by its name.
///
/// # Errors
///
/// An input error that lists the formats there are.
pub fn quantizer(name: &str) -> Result<&'static Format> {
    let known = QUANTIZERS.into_iter().find(|format| format.name == name);
    known.ok_or_else(|| Error::not_known("quantization", name, QUANTIZERS.map(|format| format.name)))
}

impl Format {
    /// Decodes whole blocks.
    ///
    /// # Panics
    ///
    /// If `bytes` is not the blocks of `out`.
    pub fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), self.blocks(out.len()) * self.block_bytes, "{}: decode", self.name);
        (self.decode)(bytes, out);
    }

    /// Cuts whole blocks into words for the GPU.
    ///
    /// A matrix may be repacked in pieces, each appended to the words of those before it, if every piece but the
    /// last is a multiple of [`rows_step`](Format::rows_step) rows: two scales share a word.
    ///
    /// # Panics
    ///
    /// If `bytes` is not whole blocks.
    pub fn repack(&self, bytes: &[u8]) -> Packed {
        assert_eq!(bytes.len() % self.block_bytes, 0, "{}: repack", self.name);
        let words = self.words(bytes.len() / self.block_bytes, self.block_values);
        let mut packed =
            Packed { qs: Vec::with_capacity(words.qs), scales: Vec::with_capacity(words.scales) };
        (self.repack)(bytes, &mut packed);
        debug_assert_eq!((packed.qs.len(), packed.scales.len()), (words.qs, words.scales));
        packed
    }

    /// Decodes repacked blocks, the first of them number `first_block`: equal in every bit to [`Format::decode`] of the
    /// bytes they came from.
    ///
    /// # Panics
    ///
    /// If `out` is not whole blocks or the words end before it.
    pub fn decode_packed(&self, qs: &[u32], scales: &[u32], first_block: usize, out: &mut [f32]) {
        self.blocks(out.len());
        (self.decode_packed)(qs, scales, first_block, out);
    }

    /// Writes values as blocks, rounding as ggml's reference does.
    ///
    /// # Panics
    ///
    /// If `values` is not whole blocks, or webreft does not quantize to this format.
    pub fn quantize(&self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.blocks(values.len()) * self.block_bytes);
        self.quantize.unwrap_or_else(|| panic!("{}: no quantizer", self.name))(values, &mut bytes);
        bytes
    }

    /// Whether webreft quantizes to this format.
    pub fn quantizes(&self) -> bool {
        self.quantize.is_some()
    }

    /// Gives blocks of random bits scales with which values are not much larger than `size`, for fixtures and measuring. Does nothing to
    /// formats without scales.
    pub fn tame(&self, bytes: &mut [u8], size: f32) {
        for block in bytes.chunks_exact_mut(self.block_bytes) {
            for (at, most) in self.halves {
                block[*at..][..2].copy_from_slice(&half::f16::from_f32(size / most).to_le_bytes());
            }
        }
    }

    /// Words of a matrix, or of as many rows of it.
    pub fn words(&self, rows: usize, cols: usize) -> Words {
        let blocks = rows * cols / self.block_values;
        Words { qs: (blocks * self.qs_bytes).div_ceil(4), scales: (blocks * self.scale_bytes).div_ceil(4) }
    }

    /// A piece of a matrix must be a multiple of so many rows, unless it is the last, to begin at a whole word of
    /// scales: 2 where a row is an odd number of blocks, else 1.
    pub fn rows_step(&self, cols: usize) -> usize {
        let row_scale_bytes = cols / self.block_values * self.scale_bytes;
        if row_scale_bytes.is_multiple_of(4) { 1 } else { 2 }
    }

    /// Fails unless rows may be this long.
    ///
    /// # Errors
    ///
    /// An unsupported error with the multiple that is wanted.
    pub fn check_cols(&self, cols: usize) -> Result<()> {
        let (name, multiple) = (self.name, self.cols_multiple);
        if cols.is_multiple_of(multiple) {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "rows of {cols} values in {name} are not supported (supported: a multiple of {multiple})"
        )))
    }

    /// Blocks of so many values.
    fn blocks(&self, values: usize) -> usize {
        assert_eq!(values % self.block_values, 0, "{}: expected whole blocks", self.name);
        values / self.block_values
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The u16 at index `i` of words that hold two each, low half first.
fn half_word(words: &[u32], i: usize) -> u16 {
    (words[i / 2] >> (16 * (i % 2))) as u16
}

/// Packs u16s two to a word, low half first; an odd one is followed by zero.
fn pack_halves(halves: impl IntoIterator<Item = u16>, words: &mut Vec<u32>) {
    let mut halves = halves.into_iter().map(u32::from);
    while let Some(low) = halves.next() {
        words.push(low | halves.next().unwrap_or(0) << 16);
    }
}

/// Little-endian u16s.
fn u16s(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b))
}

/// Appends the words of bytes; what the last one lacks is zero.
fn push_words(bytes: &[u8], words: &mut Vec<u32>) {
    let at = words.len();
    words.resize(at + bytes.len().div_ceil(4), 0);
    bytemuck::cast_slice_mut::<u32, u8>(&mut words[at..])[..bytes.len()].copy_from_slice(bytes);
}

/// Little-endian u32s.
fn u32s(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests;
