// ggml's block_q3_K: 256 values of 3 bits, offset by 4, with a scale of 6 bits for each 16 under one f16. Three u32 of quants a run of 32: two
// with the lower two bits, one with the third (src/quant/codes.rs). Scales apart, five u32 a block: the f16, then the scales, less 32.

@group(1) @binding(0) var<storage, read> w_qs: array<u32>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

// Four values: their lower bits from bit `2 · sub` of each byte of a word on, their third bits from bit `sub` of another.
fn scaled(scale: f32, low: u32, high: u32, sub: u32) -> vec4<f32> {
    let quants = ((low >> (2u * sub)) & 0x03030303u) | (((high >> sub) & 0x01010101u) << 2u);
    return scale * (vec4<f32>(unpack4xI8(quants)) - 4.0);
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let run = i >> 3u;
    let at = 3u * run;
    let scales = run_scale(run);
    let scale = select(scales.x, scales.y, (i & 4u) != 0u);
    return scaled(scale, w_qs[at + ((i >> 2u) & 1u)], w_qs[at + 2u] >> (i & 4u), i & 3u);
}

// The same, and the four values 16 further on; i is in the first half of a run.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    let run = i >> 3u;
    let at = 3u * run;
    let scales = run_scale(run);
    let high = w_qs[at + 2u];
    return array(scaled(scales.x, w_qs[at], high, i & 3u), scaled(scales.y, w_qs[at + 1u], high >> 4u, i & 3u));
}

// Values 4·i … 4·i + 31, a whole run.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    let run = i >> 3u;
    let at = 3u * run;
    let s = run_scale(run);
    let a = w_qs[at];
    let b = w_qs[at + 1u];
    let high = w_qs[at + 2u];
    let up = high >> 4u;
    return array(
        scaled(s.x, a, high, 0u), scaled(s.x, a, high, 1u), scaled(s.x, a, high, 2u), scaled(s.x, a, high, 3u),
        scaled(s.y, b, up, 0u), scaled(s.y, b, up, 1u), scaled(s.y, b, up, 2u), scaled(s.y, b, up, 3u),
    );
}
