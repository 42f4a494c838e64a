// ggml's block_q4_1: 32 values of 4 bits under an f16 scale and an f16 minimum. One vec4<u32> of quants a block: byte j holds value j in its
// lower half and value j + 16 in its upper. Scale and minimum apart, a u32 a block.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn scaled(scale: vec2<f32>, quants: u32) -> vec4<f32> {
    return scale.x * vec4<f32>(unpack4xI8(quants & 0x0f0f0f0fu)) + scale.y;
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let run = i >> 3u;
    return scaled(unpack2x16float(w_scales[run]), w_qs[run][i & 3u] >> (i & 4u));
}

// The same, and the four values 16 further on; i is in the first half of a block.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    let scale = unpack2x16float(w_scales[i >> 3u]);
    let quants = w_qs[i >> 3u][i & 3u];
    return array(scaled(scale, quants), scaled(scale, quants >> 4u));
}

// Values 4·i … 4·i + 31, a whole block.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    let s = unpack2x16float(w_scales[i >> 3u]);
    let low = w_qs[i >> 3u];
    let high = low >> vec4(4u);
    return array(
        scaled(s, low.x), scaled(s, low.y), scaled(s, low.z), scaled(s, low.w),
        scaled(s, high.x), scaled(s, high.y), scaled(s, high.z), scaled(s, high.w),
    );
}
