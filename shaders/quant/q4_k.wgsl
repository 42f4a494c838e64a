// ggml's block_q4_K: 256 values of 4 bits in eight runs of 32, each with a scale and a minimum of 6 bits under two f16. One vec4<u32> of quants
// a run: byte j holds value j in its lower half and value j + 16 in its upper. Scales apart, five u32 a block: the two f16, then scale and
// minimum of each run, two runs to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn scaled(scale: vec2<f32>, quants: u32) -> vec4<f32> {
    return scale.x * vec4<f32>(unpack4xI8(quants & 0x0f0f0f0fu)) - scale.y;
}
