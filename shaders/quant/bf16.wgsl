// Weights in bfloat16, the upper half of an f32: two to a u32, the lower half first.

@group(1) @binding(0) var<storage, read> w_qs: array<vec2<u32>>;

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let pairs = w_qs[i].xxyy;
    return bitcast<vec4<f32>>(vec4(pairs.x << 16u, pairs.y & 0xffff0000u, pairs.z << 16u, pairs.w & 0xffff0000u));
}

// The same, and the four values 16 further on.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    return array(weight4(i), weight4(i + 4u));
}

// Values 4·i … 4·i + 31.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    return array(
        weight4(i), weight4(i + 1u), weight4(i + 2u), weight4(i + 3u),
        weight4(i + 4u), weight4(i + 5u), weight4(i + 6u), weight4(i + 7u),
    );
}
