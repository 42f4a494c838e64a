//! Q8_0: 32 bytes and a scale.
//!
//! ```text
//! x[j] = d · qs[j]          block_q8_0 { f16 d; i8 qs[32]; }
//! ```

use half::f16;

use super::{Format, Layout, half_word, pack_halves, push_words};

/// The format Q8_0.
pub static Q8_0: Format = Format {
    name: "Q8_0",
    ggml_type: 8,
    wgsl: &[wgsl!("quant/q8_0.wgsl")],
    layout: Layout::Q8_0,
    block_values: 32,
    block_bytes: 34,
    qs_bytes: 32,
    scale_bytes: 2,
    cols_multiple: 32,
    halves: &[(0, 128.0)],
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
            let bytes = qs[8 * i..][..8].iter().flat_map(|word| word.to_le_bytes());
            decode_block(f16::from_bits(half_word(scales, i)), bytes, out);
        }
    },
    quantize: Some(|values, bytes| values.as_chunks().0.iter().for_each(|x| quantize_block(x, bytes))),
};

fn split(block: &[u8; 34]) -> (u16, &[u8]) {
    (u16::from_le_bytes([block[0], block[1]]), &block[2..])
}

fn decode_block(d: f16, qs: impl Iterator<Item = u8>, out: &mut [f32; 32]) {
    let d = d.to_f32();
    for (x, q) in out.iter_mut().zip(qs) {
        *x = f32::from(q as i8) * d;
    }
}

/// `quantize_row_q8_0_ref`: the largest value becomes ±127.
fn quantize_block(values: &[f32; 32], bytes: &mut Vec<u8>) {
    let largest = values.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    bytes.extend(f16::from_f32(d).to_le_bytes());
    bytes.extend(values.iter().map(|x| (x * inverse).round() as i8 as u8));
}
