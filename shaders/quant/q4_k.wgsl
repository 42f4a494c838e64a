// ggml's block_q4_K: 256 values of 4 bits in eight runs of 32, each with a scale and a minimum of 6 bits under two f16. One vec4<u32> of quants
// a run: byte j holds value j in its lower half and value j + 16 in its upper. Scales apart, five u32 a block: the two f16, then scale and
// minimum of each run, two runs to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> vec2<f32> {
    let at = 5u * (run >> 3u);
    let small = w_scales[at + 1u + ((run >> 1u) & 3u)] >> (16u * (run & 1u));
    return unpack2x16float(w_scales[at]) * vec2<f32>(unpack4xI8(small).xy);
}

fn scaled(scale: vec2<f32>, quants: u32) -> vec4<f32> {
    return scale.x * vec4<f32>(unpack4xI8(quants & 0x0f0f0f0fu)) - scale.y;
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let run = i >> 3u;
    return scaled(run_scale(run), w_qs[run][i & 3u] >> (i & 4u));
}

// The same, and the four values 16 further on; i is in the first half of a run.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    let scale = run_scale(i >> 3u);
    let quants = w_qs[i >> 3u][i & 3u];
    return array(scaled(scale, quants), scaled(scale, quants >> 4u));
}

// Values 4·i … 4·i + 31, a whole run.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    let s = run_scale(i >> 3u);
    let low = w_qs[i >> 3u];
    let high = low >> vec4(4u);
    return array(
        scaled(s, low.x), scaled(s, low.y), scaled(s, low.z), scaled(s, low.w),
        scaled(s, high.x), scaled(s, high.y), scaled(s, high.z), scaled(s, high.w),
    );
}
