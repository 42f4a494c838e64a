// ggml's block_q8_0: 32 values of 8 bits under one f16 scale. Two vec4<u32> of quants a block; scales apart, two to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn weight_scale(block: u32) -> f32 {
    return unpack2x16float(w_scales[block >> 1u] >> ((block & 1u) * 16u)).x;
}

fn scaled(scale: f32, quants: u32) -> vec4<f32> {
    return scale * vec4<f32>(unpack4xI8(quants));
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    return scaled(weight_scale(i >> 3u), w_qs[i >> 2u][i & 3u]);
}

// The same, and the four values 16 further on; i is in the first half of a block.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    let scale = weight_scale(i >> 3u);
    let at = i >> 2u;
    return array(scaled(scale, w_qs[at][i & 3u]), scaled(scale, w_qs[at + 1u][i & 3u]));
}

// Values 4·i … 4·i + 31, a whole block.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    let s = weight_scale(i >> 3u);
    let a = w_qs[i >> 2u];
    let b = w_qs[(i >> 2u) + 1u];
    return array(
        scaled(s, a.x), scaled(s, a.y), scaled(s, a.z), scaled(s, a.w),
        scaled(s, b.x), scaled(s, b.y), scaled(s, b.z), scaled(s, b.w),
    );
}
