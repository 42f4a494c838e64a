// Codes of five bits, five u32 a run of 32: four with the lower bits as in lib/four_bits.wgsl, one with the fifth (src/quant/codes.rs). A format
// says what scales a run, `run_scale`, and what four codes stand for, `scaled`.

// Four codes from a word of their lower bits and a word of their fifth bits, the latter from bit `sub` of each byte on.
fn codes(low: u32, high: u32, sub: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8((low & 0x0f0f0f0fu) | (((high >> sub) & 0x01010101u) << 4u)));
}

// Values 4·i … 4·i + 3 of the slab, row after row.
fn weight4(i: u32) -> vec4<f32> {
    let run = i >> 3u;
    let at = 5u * run;
    return scaled(run_scale(run), codes(w_qs[at + (i & 3u)] >> (i & 4u), w_qs[at + 4u], i & 7u));
}

// The same, and the four values 16 further on; i is in the first half of a run.
fn weight8(i: u32) -> array<vec4<f32>, 2> {
    let run = i >> 3u;
    let at = 5u * run;
    let s = run_scale(run);
    let low = w_qs[at + (i & 3u)];
    let high = w_qs[at + 4u] >> (i & 3u);
    return array(scaled(s, codes(low, high, 0u)), scaled(s, codes(low >> 4u, high, 4u)));
}

// Values 4·i … 4·i + 31, a whole run.
fn weight32(i: u32) -> array<vec4<f32>, 8> {
    let run = i >> 3u;
    let at = 5u * run;
    let s = run_scale(run);
    let low = vec4(w_qs[at], w_qs[at + 1u], w_qs[at + 2u], w_qs[at + 3u]);
    let up = low >> vec4(4u);
    let high = w_qs[at + 4u];
    return array(
        scaled(s, codes(low.x, high, 0u)), scaled(s, codes(low.y, high, 1u)),
        scaled(s, codes(low.z, high, 2u)), scaled(s, codes(low.w, high, 3u)),
        scaled(s, codes(up.x, high, 4u)), scaled(s, codes(up.y, high, 5u)),
        scaled(s, codes(up.z, high, 6u)), scaled(s, codes(up.w, high, 7u)),
    );
}
