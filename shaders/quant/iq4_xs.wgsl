// ggml's block_iq4_xs: 256 codes of 4 bits in eight runs of 32, each the number of one of 16 values, with a scale of 6 bits for each run under
// one f16. One vec4<u32> of quants a run: byte j holds code j in its lower half and code j + 16 in its upper. Scales apart, three u32 a block:
// the f16, then the scales, less 32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> f32 {
    let at = 3u * (run >> 3u);
    let small = w_scales[at + 1u + ((run >> 2u) & 1u)] >> (8u * (run & 3u));
    return unpack2x16float(w_scales[at]).x * f32(unpack4xI8(small).x);
}
