//! Q4_0: 32 nibbles and a scale.
//!
//! ```text
//! x[j] = d · (low(qs[j]) − 8)    x[j + 16] = d · (high(qs[j]) − 8)    block_q4_0 { f16 d; u8 qs[16]; }
//! ```

use half::f16;

use super::{FOUR_BITS, Format, Layout, half_word, pack_halves, push_words};

/// The format Q4_0.
pub static Q4_0: Format = Format {
    name: "Q4_0",
    ggml_type: 2,
    wgsl: &[wgsl!("quant/q4_0.wgsl"), FOUR_BITS],
    layout: Layout::Q4_0,
    block_values: 32,
    block_bytes: 18,
    qs_bytes: 16,
    scale_bytes: 2,
    cols_multiple: 32,
    halves: &[(0, 8.0)],
    decode: |bytes, out| {
        for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            let (d, qs) = split(block);
            decode_block(f16::from_bits(d), qs.iter().copied(), out);
        }
    },
    repack: |bytes, packed| {
        let blocks = bytes.as_chunks().0;
        pack_halves(blocks.iter().map(|block| split(block).0), &mut packed.scales);
        blocks.iter().for_each(|block| push_words(split(block).1, &mut packed.qs));
    },
    decode_packed: |qs, scales, first, out| {
        for (i, out) in (first..).zip(out.as_chunks_mut().0) {
            let bytes = qs[4 * i..][..4].iter().flat_map(|word| word.to_le_bytes());
            decode_block(f16::from_bits(half_word(scales, i)), bytes, out);
        }
    },
    quantize: Some(|values, bytes| values.as_chunks().0.iter().for_each(|x| quantize_block(x, bytes))),
};

fn split(block: &[u8; 18]) -> (u16, &[u8]) {
    (u16::from_le_bytes([block[0], block[1]]), &block[2..])
}

fn decode_block(d: f16, qs: impl Iterator<Item = u8>, out: &mut [f32; 32]) {
    let d = d.to_f32();
    let (low, high) = out.split_at_mut(16);
    for ((low, high), q) in low.iter_mut().zip(high).zip(qs) {
        *low = f32::from((q & 15) as i8 - 8) * d;
        *high = f32::from((q >> 4) as i8 - 8) * d;
    }
}

/// `quantize_row_q4_0_ref`: the value farthest from zero becomes −8, with its sign in the scale.
fn quantize_block(values: &[f32; 32], bytes: &mut Vec<u8>) {
    let farthest = values.iter().fold(0.0, |m: f32, &x| if x.abs() > m.abs() { x } else { m });
    let d = farthest / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let nibble = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    bytes.extend(f16::from_f32(d).to_le_bytes());
    bytes.extend((0..16).map(|j| nibble(values[j]) | nibble(values[j + 16]) << 4));
}
