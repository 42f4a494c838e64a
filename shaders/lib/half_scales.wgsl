// Scales of the two halves of a run of 32 under one f16, in five u32 a block: the f16, then the scales, a byte each. Q3_K, Q6_K.

fn run_scale(run: u32) -> vec2<f32> {
    let at = 5u * (run >> 3u);
    let small = w_scales[at + 1u + ((run >> 1u) & 3u)] >> (16u * (run & 1u));
    return unpack2x16float(w_scales[at]).x * vec2<f32>(unpack4xI8(small).xy);
}
