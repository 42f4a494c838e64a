// ggml's block_iq4_nl: 32 codes of 4 bits, each the number of one of 16 values, under one f16 scale. One vec4<u32> of quants a block: byte j
// holds code j in its lower half and code j + 16 in its upper. Scales apart, two to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> f32 {
    return unpack2x16float(w_scales[run >> 1u] >> ((run & 1u) * 16u)).x;
}
