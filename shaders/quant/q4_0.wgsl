// ggml's block_q4_0: 32 values of 4 bits under one f16 scale, offset by 8. One vec4<u32> of quants a block: byte j holds
// value j in its lower half and value j + 16 in its upper. Scales apart, two to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn weight_scale(block: u32) -> f32 {
    return unpack2x16float(w_scales[block >> 1u] >> ((block & 1u) * 16u)).x;
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let block = i >> 3u;
    let nibbles = (w_qs[block][i & 3u] >> (i & 4u)) & 0x0f0f0f0fu;
    return weight_scale(block) * (vec4<f32>(unpack4xU8(nibbles)) - 8.0);
}
