// ggml's block_q6_K: 256 values of 6 bits, offset by 32, with a scale of 8 bits for each 16 under one f16. Six u32 of quants a run of 32: four
// with the lower bits as in block_q4_0, two with the upper two (src/quant/codes.rs). Scales apart, five u32 a block: the f16, then the scales.

@group(1) @binding(0) var<storage, read> w_qs: array<u32>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

// Four values from a word of their lower bits and a word of their upper bits, the latter from bit `shift` of each byte on.
fn scaled(scale: f32, low: u32, high: u32, shift: u32) -> vec4<f32> {
    let quants = (low & 0x0f0f0f0fu) | (((high >> shift) & 0x03030303u) << 4u);
    return scale * (vec4<f32>(unpack4xI8(quants)) - 32.0);
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let run = i >> 3u;
    let at = 6u * run;
    let upper = (i & 4u) != 0u;
    let scales = run_scale(run);
    let high = w_qs[at + 4u + ((i >> 2u) & 1u)];
    return scaled(select(scales.x, scales.y, upper), w_qs[at + (i & 3u)] >> (i & 4u), high, 2u * (i & 3u));
}

// The same, and the four values 16 further on; i is in the first half of a run.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    let run = i >> 3u;
    let at = 6u * run;
    let scales = run_scale(run);
    let low = w_qs[at + (i & 3u)];
    let shift = 2u * (i & 3u);
    return array(scaled(scales.x, low, w_qs[at + 4u], shift), scaled(scales.y, low >> 4u, w_qs[at + 5u], shift));
}

// Values 4·i … 4·i + 31, a whole run.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    let run = i >> 3u;
    let at = 6u * run;
    let s = run_scale(run);
    let low = vec4(w_qs[at], w_qs[at + 1u], w_qs[at + 2u], w_qs[at + 3u]);
    let up = low >> vec4(4u);
    let a = w_qs[at + 4u];
    let b = w_qs[at + 5u];
    return array(
        scaled(s.x, low.x, a, 0u), scaled(s.x, low.y, a, 2u), scaled(s.x, low.z, a, 4u), scaled(s.x, low.w, a, 6u),
        scaled(s.y, up.x, b, 0u), scaled(s.y, up.y, b, 2u), scaled(s.y, up.z, b, 4u), scaled(s.y, up.w, b, 6u),
    );
}
