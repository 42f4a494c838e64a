// ggml's block_q5_1: 32 values of 5 bits under an f16 scale and an f16 minimum. Five u32 of quants a block: four with the lower bits as in
// block_q4_0, one with the fifth (src/quant/codes.rs). Scale and minimum apart, a u32 a block.

@group(1) @binding(0) var<storage, read> w_qs: array<u32>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> vec2<f32> {
    return unpack2x16float(w_scales[run]);
}

fn scaled(scale: vec2<f32>, codes: vec4<f32>) -> vec4<f32> {
    return scale.x * codes + scale.y;
}
