//! F16: IEEE half precision, a block of one.

use half::f16;

use super::{Format, Layout, half_word, push_words, u16s};

/// The format F16.
pub static F16: Format = Format {
    name: "F16",
    ggml_type: 1,
    wgsl: &[wgsl!("quant/f16.wgsl")],
    layout: Layout::F16,
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
    quantize: Some(|values, bytes| bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()))),
};

fn value(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}
