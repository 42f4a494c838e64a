//! BF16: the upper half of an f32, a block of one.

use half::bf16;

use super::{Format, Layout, half_word, push_words, u16s};

/// The format BF16.
pub static BF16: Format = Format {
    name: "BF16",
    ggml_type: 30,
    wgsl: &[wgsl!("quant/bf16.wgsl")],
    layout: Layout::Bf16,
    block_values: 1,
    block_bytes: 2,
    qs_bytes: 2,
    scale_bytes: 0,
    cols_multiple: 8,
    halves: &[],
    decode: |bytes, out| out.iter_mut().zip(u16s(bytes)).for_each(|(x, bits)| *x = value(bits)),
    repack: |bytes, packed| push_words(bytes, &mut packed.qs),
    decode_packed: |qs, _, first, out| {
        for (i, x) in out.iter_mut().enumerate() {
            *x = value(half_word(qs, first + i));
        }
    },
    quantize: Some(|values, bytes| {
        bytes.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()))
    }),
};

fn value(bits: u16) -> f32 {
    bf16::from_bits(bits).to_f32()
}
