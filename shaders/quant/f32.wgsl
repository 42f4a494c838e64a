// Weights as they are: four f32 to a word of the buffer.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<f32>>;

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    return w_qs[i];
}

// The same, and the four values 16 further on.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    return array(w_qs[i], w_qs[i + 4u]);
}

// Values 4·i … 4·i + 31.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    return array(
        w_qs[i], w_qs[i + 1u], w_qs[i + 2u], w_qs[i + 3u], w_qs[i + 4u], w_qs[i + 5u], w_qs[i + 6u], w_qs[i + 7u],
    );
}
