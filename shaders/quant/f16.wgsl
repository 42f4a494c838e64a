// Weights in half precision: two to a u32, the lower half first.

@group(1) @binding(0) var<storage, read> w_qs: array<vec2<u32>>;

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let pairs = w_qs[i];
    return vec4(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
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
