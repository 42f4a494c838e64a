// ggml's block_q5_K: 256 values of 5 bits in eight runs of 32, each with a scale and a minimum of 6 bits under two f16. Five u32 of quants a
// run: four with the lower bits as in block_q4_0, one with the fifth (src/quant/codes.rs). Scales apart, five u32 a block: the two f16, then
// scale and minimum of each run, two runs to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<u32>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn scaled(scale: vec2<f32>, codes: vec4<f32>) -> vec4<f32> {
    return scale.x * codes - scale.y;
}
