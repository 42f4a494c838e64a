// ggml's block_q5_0: 32 values of 5 bits under one f16 scale, offset by 16. Five u32 of quants a block: four with the lower bits as in
// block_q4_0, one with the fifth (src/quant/codes.rs). Scales apart, two to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<u32>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> f32 {
    return unpack2x16float(w_scales[run >> 1u] >> ((run & 1u) * 16u)).x;
}

fn scaled(scale: f32, codes: vec4<f32>) -> vec4<f32> {
    return scale * (codes - 16.0);
}
