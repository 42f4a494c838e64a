// ggml's block_q4_1: 32 values of 4 bits under an f16 scale and an f16 minimum. One vec4<u32> of quants a block: byte j holds value j in its
// lower half and value j + 16 in its upper. Scale and minimum apart, a u32 a block.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> vec2<f32> {
    return unpack2x16float(w_scales[run]);
}

fn scaled(scale: vec2<f32>, quants: u32) -> vec4<f32> {
    return scale.x * vec4<f32>(unpack4xI8(quants & 0x0f0f0f0fu)) + scale.y;
}
