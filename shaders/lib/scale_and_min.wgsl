// Scale and minimum of a run under two f16, in five u32 a block: the two f16, then scale and minimum of each run, two runs to a u32. Q4_K, Q5_K.

fn run_scale(run: u32) -> vec2<f32> {
    let at = 5u * (run >> 3u);
    let small = w_scales[at + 1u + ((run >> 1u) & 3u)] >> (16u * (run & 1u));
    return unpack2x16float(w_scales[at]) * vec2<f32>(unpack4xI8(small).xy);
}
