// ggml's block_q8_0: 32 values of 8 bits under one f16 scale. Two vec4<u32> of quants a block; scales apart, two to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn weight_scale(block: u32) -> f32 {
    return unpack2x16float(w_scales[block >> 1u] >> ((block & 1u) * 16u)).x;
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    return weight_scale(i >> 3u) * vec4<f32>(unpack4xI8(w_qs[i >> 2u][i & 3u]));
}
