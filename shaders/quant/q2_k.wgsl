// ggml's block_q2_K: 256 values of 2 bits, with a scale and a minimum of 4 bits for each 16 under two f16. One vec2<u32> of quants a run of 32
// (src/quant/codes.rs). Scales apart, five u32 a block: the two f16, then a byte for each 16 values, its minimum above its scale.

@group(1) @binding(0) var<storage, read> w_qs: array<vec2<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

// The scales of the two halves of a run, then their minimums.
fn run_scale(run: u32) -> vec4<f32> {
    let at = 5u * (run >> 3u);
    let small = w_scales[at + 1u + ((run >> 1u) & 3u)] >> (16u * (run & 1u));
    let whole = unpack2x16float(w_scales[at]);
    let scales = vec2<f32>(unpack4xI8(small & 0x0f0fu).xy);
    let mins = vec2<f32>(unpack4xI8((small >> 4u) & 0x0f0fu).xy);
    return vec4(whole.x * scales, whole.y * mins);
}

// Four values, from bit `2 · sub` of each byte on.
fn scaled(scale: f32, minimum: f32, quants: u32, sub: u32) -> vec4<f32> {
    return scale * vec4<f32>(unpack4xI8((quants >> (2u * sub)) & 0x03030303u)) - minimum;
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let run = i >> 3u;
    let s = run_scale(run);
    let quants = w_qs[run];
    let upper = (i & 4u) != 0u;
    return scaled(select(s.x, s.y, upper), select(s.z, s.w, upper), select(quants.x, quants.y, upper), i & 3u);
}

// The same, and the four values 16 further on; i is in the first half of a run.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    let s = run_scale(i >> 3u);
    let quants = w_qs[i >> 3u];
    return array(scaled(s.x, s.z, quants.x, i & 3u), scaled(s.y, s.w, quants.y, i & 3u));
}

// Values 4·i … 4·i + 31, a whole run.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    let s = run_scale(i >> 3u);
    let a = w_qs[i >> 3u].x;
    let b = w_qs[i >> 3u].y;
    return array(
        scaled(s.x, s.z, a, 0u), scaled(s.x, s.z, a, 1u), scaled(s.x, s.z, a, 2u), scaled(s.x, s.z, a, 3u),
        scaled(s.y, s.w, b, 0u), scaled(s.y, s.w, b, 1u), scaled(s.y, s.w, b, 2u), scaled(s.y, s.w, b, 3u),
    );
}
