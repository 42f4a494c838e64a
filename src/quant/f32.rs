//! F32: plain values, a block of one.

use super::{Format, Layout, push_words, u32s};

/// The format F32.
pub static F32: Format = Format {
    name: "F32",
    ggml_type: 0,
    wgsl: &[wgsl!("quant/f32.wgsl")],
    layout: Layout::F32,
    block_values: 1,
    block_bytes: 4,
    qs_bytes: 4,
    scale_bytes: 0,
    cols_multiple: 4,
    halves: &[],
    decode: |bytes, out| out.iter_mut().zip(u32s(bytes)).for_each(|(x, bits)| *x = f32::from_bits(bits)),
    repack: |bytes, packed| push_words(bytes, &mut packed.qs),
    decode_packed: |qs, _, first, out| {
        let qs = &qs[first..][..out.len()];
        out.iter_mut().zip(qs).for_each(|(x, &bits)| *x = f32::from_bits(bits));
    },
    quantize: Some(|values, bytes| bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()))),
};
