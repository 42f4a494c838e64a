// Codes of four bits, one vec4<u32> a run of 32: byte j of word w has those of values 4·w + j and 16 + 4·w + j (src/quant/codes.rs). A format says
// what scales a run, `run_scale`, and what four codes in the lower halves of four bytes stand for, `scaled`.

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
