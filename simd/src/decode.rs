//! Quantized blocks as f32, equal in every bit to ggml's `dequantize_row_*`.
//!
//! A run of 32 codes becomes 32 signed bytes first, and four vectors of eight f32 under a scale and a minimum for each half then.

use crate::math::dot;
use crate::weights::{Layout, Weights};
use fearless_simd::{Bytes, Simd, f32x8, i8x32, prelude::*, u8x32, u32x4, u32x8};

const RUN: usize = 32;
const SUPER: usize = 256;

/// Decodes values `first_col ..` of a row, whole blocks.
#[inline(always)]
pub(crate) fn decode<S: Simd>(simd: S, w: &Weights<'_>, row: usize, first_col: usize, out: &mut [f32]) {
    let first = row * w.cols + first_col;
    match w.layout {
        Layout::F32 => simd.vectorize(
            #[inline(always)]
            || f32s(&w.qs[first..], out),
        ),
        Layout::F16 => simd.vectorize(
            #[inline(always)]
            || halves(&w.qs[first / 2..], out, f16),
        ),
        Layout::Bf16 => simd.vectorize(
            #[inline(always)]
            || halves(&w.qs[first / 2..], out, |bits| f32::from_bits(bits << 16)),
        ),
        _ => {
            let out = out.as_chunks_mut::<RUN>().0;
            each_run(
                simd,
                w,
                first,
                out.iter_mut(),
                #[inline(always)]
                |out, run| run.write(out),
            );
        }
    }
}

/// The product of a row with x.
#[inline(always)]
pub(crate) fn product<S: Simd>(simd: S, w: &Weights<'_>, row: usize, x: &[f32], buffer: &mut [f32]) -> f32 {
    if w.layout.block_values() == 1 {
        decode(simd, w, row, 0, buffer);
        return simd.vectorize(
            #[inline(always)]
            || dot(simd, x, buffer),
        );
    }
    let mut sum: f32x8<S> = 0.0.simd_into(simd);
    each_run(
        simd,
        w,
        row * w.cols,
        x.as_chunks::<RUN>().0.iter(),
        #[inline(always)]
        |x, run| {
            sum = run.add_product(simd, x, sum);
        },
    );
    sum.reduce_sum()
}

/// 32 values: d · code + m, with numbers of their own for each half. Without m there is nothing to add.
struct Run<S: Simd> {
    codes: [f32x8<S>; 4],
    d: [f32; 2],
    m: Option<[f32; 2]>,
}

impl<S: Simd> Run<S> {
    #[inline(always)]
    fn new(codes: i8x32<S>, d: [f32; 2], m: Option<[f32; 2]>) -> Run<S> {
        let (a, b) = codes.widen();
        let ((a, b), (c, e)) = (a.widen(), b.widen());
        Run { codes: [a.to_float(), b.to_float(), c.to_float(), e.to_float()], d, m }
    }

    /// d · code
    #[inline(always)]
    fn scaled(codes: i8x32<S>, d: f32) -> Run<S> {
        Run::new(codes, [d; 2], None)
    }

    /// d · code + m
    #[inline(always)]
    fn line(codes: i8x32<S>, [d, m]: [f32; 2]) -> Run<S> {
        Run::new(codes, [d; 2], Some([m; 2]))
    }

    /// Products and sums are exact, or rounded once, as ggml's are.
    #[inline(always)]
    fn write(self, out: &mut [f32; RUN]) {
        for (i, (codes, out)) in self.codes.into_iter().zip(out.as_chunks_mut::<8>().0).enumerate() {
            let scaled = codes * self.d[i / 2];
            self.m.map_or(scaled, |m| scaled + m[i / 2]).store_array(out);
        }
    }

    /// sum + Σ value · x: codes are multiplied first, and the scale last.
    #[inline(always)]
    fn add_product(self, simd: S, x: &[f32; RUN], sum: f32x8<S>) -> f32x8<S> {
        let load = |i: usize| -> f32x8<S> { x.as_chunks::<8>().0[i].simd_into(simd) };
        let [x0, x1, x2, x3] = [load(0), load(1), load(2), load(3)];
        let [c0, c1, c2, c3] = self.codes;
        let splat = |x: f32| f32x8::splat(simd, x);
        let [first, second] = [c1.mul_add(x1, c0 * x0), c3.mul_add(x3, c2 * x2)];
        let sum = second.mul_add(splat(self.d[1]), first.mul_add(splat(self.d[0]), sum));
        match self.m {
            Some(m) => (x2 + x3).mul_add(splat(m[1]), (x0 + x1).mul_add(splat(m[0]), sum)),
            None => sum,
        }
    }
}

/// Calls `f` with each run from value `first` on, and with an item that belongs to it.
#[inline(always)]
fn each_run<S: Simd, T>(
    simd: S,
    w: &Weights<'_>,
    first: usize,
    items: impl Iterator<Item = T>,
    f: impl FnMut(T, Run<S>),
) {
    let (qs, scales) = (w.qs, w.scales);
    let half = |i: usize| scale(scales[i / 2] >> (16 * (i % 2)));
    match w.layout {
        Layout::F32 | Layout::F16 | Layout::Bf16 => unreachable!("these have no runs"),
        Layout::Q8_0 => simd.vectorize(
            #[inline(always)]
            || {
                blocks::<S, _, 8>(qs, first, items, f, |i, q| Run::scaled(bytes(simd, q), half(i)));
            },
        ),
        Layout::Q4_0 => simd.vectorize(
            #[inline(always)]
            || {
                blocks::<S, _, 4>(qs, first, items, f, |i, q| Run::scaled(nibbles(simd, q) - 8, half(i)));
            },
        ),
        Layout::Q4_1 => simd.vectorize(
            #[inline(always)]
            || {
                blocks::<S, _, 4>(qs, first, items, f, |i, q| Run::line(nibbles(simd, q), pair(scales[i])));
            },
        ),
        Layout::Q5_0 => simd.vectorize(
            #[inline(always)]
            || {
                blocks::<S, _, 5>(qs, first, items, f, |i, q| Run::scaled(five_bits(simd, q) - 16, half(i)));
            },
        ),
        Layout::Q5_1 => simd.vectorize(
            #[inline(always)]
            || {
                blocks::<S, _, 5>(qs, first, items, f, |i, q| Run::line(five_bits(simd, q), pair(scales[i])));
            },
        ),
        Layout::Iq4Nl => simd.vectorize(
            #[inline(always)]
            || {
                blocks::<S, _, 4>(qs, first, items, f, |i, q| {
                    Run::scaled(uneven(simd, nibbles(simd, q)), half(i))
                });
            },
        ),
        Layout::Q2K => simd.vectorize(
            #[inline(always)]
            || {
                super_blocks::<S, _, 2, 5>((qs, scales), first, items, f, |scales, run, q| {
                    let [d, dmin] = pair(scales[0]);
                    let of = |group: usize| {
                        let small = small_byte(scales, 2 * run + group);
                        [d * f32::from(small & 15), -dmin * f32::from(small >> 4)]
                    };
                    let [[d0, m0], [d1, m1]] = [of(0), of(1)];
                    Run::new(pairs(simd, q), [d0, d1], Some([m0, m1]))
                });
            },
        ),
        Layout::Q3K => simd.vectorize(
            #[inline(always)]
            || {
                super_blocks::<S, _, 3, 5>((qs, scales), first, items, f, |scales, run, [a, b, high]| {
                    let codes = pairs(simd, [a, b]) | bits(simd, high) << 2;
                    Run::new(codes - 4, two_scales(scales, run), None)
                });
            },
        ),
        Layout::Q4K => simd.vectorize(
            #[inline(always)]
            || {
                super_blocks::<S, _, 4, 5>((qs, scales), first, items, f, |scales, run, q| {
                    Run::line(nibbles(simd, q), scale_and_min(scales, run))
                });
            },
        ),
        Layout::Q5K => simd.vectorize(
            #[inline(always)]
            || {
                super_blocks::<S, _, 5, 5>((qs, scales), first, items, f, |scales, run, q| {
                    Run::line(five_bits(simd, q), scale_and_min(scales, run))
                });
            },
        ),
        Layout::Q6K => simd.vectorize(
            #[inline(always)]
            || {
                super_blocks::<S, _, 6, 5>(
                    (qs, scales),
                    first,
                    items,
                    f,
                    |scales, run, [a, b, c, d, e, f]| {
                        let codes = nibbles(simd, [a, b, c, d]) | pairs(simd, [e, f]) << 4;
                        Run::new(codes - 32, two_scales(scales, run), None)
                    },
                );
            },
        ),
        Layout::Iq4Xs => simd.vectorize(
            #[inline(always)]
            || {
                super_blocks::<S, _, 4, 3>((qs, scales), first, items, f, |scales, run, q| {
                    let d = scale(scales[0]) * f32::from(small_byte(scales, run) as i8);
                    Run::scaled(uneven(simd, nibbles(simd, q)), d)
                });
            },
        ),
    }
}

#[inline(always)]
fn f32s(qs: &[u32], out: &mut [f32]) {
    for (x, bits) in out.iter_mut().zip(qs) {
        *x = f32::from_bits(*bits);
    }
}

/// Values of 16 bits, two to a word.
#[inline(always)]
fn halves(qs: &[u32], out: &mut [f32], value: impl Fn(u32) -> f32) {
    for (x, word) in out.as_chunks_mut::<2>().0.iter_mut().zip(qs) {
        *x = [value(word & 0xffff), value(word >> 16)];
    }
}

/// Blocks of one run, of `WORDS` words each, from value `first` on.
#[inline(always)]
fn blocks<S: Simd, T, const WORDS: usize>(
    qs: &[u32],
    first: usize,
    items: impl Iterator<Item = T>,
    mut f: impl FnMut(T, Run<S>),
    run: impl Fn(usize, [u32; WORDS]) -> Run<S>,
) {
    let first = first / RUN;
    let words = qs[WORDS * first..].as_chunks::<WORDS>().0;
    for (i, (item, words)) in items.zip(words).enumerate() {
        f(item, run(first + i, *words));
    }
}

/// Blocks of eight runs, of `WORDS` words each, under `SCALES` words of scales, from value `first` on.
#[inline(always)]
fn super_blocks<S: Simd, T, const WORDS: usize, const SCALES: usize>(
    (qs, scales): (&[u32], &[u32]),
    first: usize,
    mut items: impl Iterator<Item = T>,
    mut f: impl FnMut(T, Run<S>),
    run: impl Fn(&[u32; SCALES], usize, [u32; WORDS]) -> Run<S>,
) {
    let first = first / SUPER;
    let scales = scales[SCALES * first..].as_chunks::<SCALES>().0;
    let words = qs[8 * WORDS * first..].as_chunks::<WORDS>().0;
    for (words, scales) in words.as_chunks::<8>().0.iter().zip(scales) {
        for (number, words) in words.iter().enumerate() {
            let Some(item) = items.next() else { return };
            f(item, run(scales, number, *words));
        }
    }
}

/// An f16 as f32, without branches: its bits are moved into an f32's, and the exponent put right by a product, which is exact.
#[inline(always)]
pub(crate) fn f16(bits: u32) -> f32 {
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    let infinite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | infinite | (bits & 0x8000) << 16)
}

/// The f16 in the lower half of a word, where it hardly ever is infinite: [`f16`] in fewer steps.
#[inline(always)]
fn scale(word: u32) -> f32 {
    let bits = i32::from(word as i16) << 13;
    let value = f32::from_bits(bits as u32 & 0x8fff_e000) * f32::from_bits(0x7780_0000);
    if word & 0x7c00 == 0x7c00 { f16(word & 0xffff) } else { value }
}

/// The two f16 of a word.
#[inline(always)]
fn pair(word: u32) -> [f32; 2] {
    [scale(word), scale(word >> 16)]
}

/// Byte `i` of a super-block's small scales, which follow the word of its f16.
#[inline(always)]
fn small_byte<const SCALES: usize>(scales: &[u32; SCALES], i: usize) -> u8 {
    (scales[1 + i / 4] >> (8 * (i % 4))) as u8
}

/// d · scale and −dmin · min of a run whose scale and minimum stand together.
#[inline(always)]
fn scale_and_min(scales: &[u32; 5], run: usize) -> [f32; 2] {
    let [d, dmin] = pair(scales[0]);
    [d * f32::from(small_byte(scales, 2 * run)), -dmin * f32::from(small_byte(scales, 2 * run + 1))]
}

/// d · scale of both halves of a run, where scales are signed.
#[inline(always)]
fn two_scales(scales: &[u32; 5], run: usize) -> [f32; 2] {
    let of = |half: usize| scale(scales[0]) * f32::from(small_byte(scales, 2 * run + half) as i8);
    [of(0), of(1)]
}

/// The bytes of eight words.
#[inline(always)]
fn bytes<S: Simd>(simd: S, words: [u32; 8]) -> i8x32<S> {
    let words: u32x8<S> = words.simd_into(simd);
    words.bitcast()
}

/// Codes of four bits: the lower halves of 16 bytes, then the upper.
#[inline(always)]
fn nibbles<S: Simd>(simd: S, words: [u32; 4]) -> i8x32<S> {
    let words: u32x4<S> = words.simd_into(simd);
    let mask = 0x0f0f_0f0f;
    (words & mask).combine((words >> 4) & mask).bitcast()
}

/// Codes of two bits: bits 2·(s mod 4) of each byte of word s / 4 are values 4·s to 4·s + 3.
#[inline(always)]
fn pairs<S: Simd>(simd: S, words: [u32; 2]) -> i8x32<S> {
    bytes(simd, std::array::from_fn(|s| words[s / 4] >> (2 * (s % 4)) & 0x0303_0303))
}

/// A bit of each code: bit s of each byte is of values 4·s to 4·s + 3.
#[inline(always)]
fn bits<S: Simd>(simd: S, word: u32) -> i8x32<S> {
    bytes(simd, std::array::from_fn(|s| word >> s & 0x0101_0101))
}

#[inline(always)]
fn five_bits<S: Simd>(simd: S, [a, b, c, d, high]: [u32; 5]) -> i8x32<S> {
    nibbles(simd, [a, b, c, d]) | bits(simd, high) << 4
}

/// `kvalues_iq4nl`.
const UNEVEN: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

#[inline(always)]
fn uneven<S: Simd>(simd: S, codes: i8x32<S>) -> i8x32<S> {
    let table: [i8; 32] = std::array::from_fn(|i| UNEVEN[i % 16]);
    let table: i8x32<S> = table.simd_into(simd);
    let codes: u8x32<S> = codes.bitcast();
    let values: u8x32<S> = table.bitcast::<u8x32<S>>().swizzle_dyn_within_blocks(codes);
    values.bitcast()
}
