// ggml's block_q4_0: 32 values of 4 bits under one f16 scale, offset by 8. One vec4<u32> of quants a block: byte j holds
// value j in its lower half and value j + 16 in its upper. Scales apart, two to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> f32 {
    return unpack2x16float(w_scales[run >> 1u] >> ((run & 1u) * 16u)).x;
}

// The lower halves of four bytes. Unpacked as signed: they are below 16, and CPUs convert no unsigned integers.
fn scaled(scale: f32, quants: u32) -> vec4<f32> {
    return scale * (vec4<f32>(unpack4xI8(quants & 0x0f0f0f0fu)) - 8.0);
}
