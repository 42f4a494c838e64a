// Weights as they are: four f32 to a word of the buffer.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<f32>>;

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    return w_qs[i];
}
