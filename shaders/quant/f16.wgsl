// Weights in half precision: two to a u32, the lower half first.

@group(1) @binding(0) var<storage, read> w_qs: array<vec2<u32>>;

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let pairs = w_qs[i];
    return vec4(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
}
