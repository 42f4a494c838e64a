// ggml's block_iq4_nl: 32 codes of 4 bits, each the number of one of 16 values, under one f16 scale. One vec4<u32> of quants a block: byte j
// holds code j in its lower half and code j + 16 in its upper. Scales apart, two to a u32.

@group(1) @binding(0) var<storage, read> w_qs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> w_scales: array<u32>;

fn run_scale(run: u32) -> f32 {
    return unpack2x16float(w_scales[run >> 1u] >> ((run & 1u) * 16u)).x;
}

// kvalues_iq4nl, a value of 8 bits to a byte: -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113.
const VALUES = vec4(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);

// The values of four codes, in the lower halves of four bytes. Selects and shifts: indexed constants would lie in memory.
fn scaled(scale: f32, quants: u32) -> vec4<f32> {
    let codes = (vec4(quants) >> vec4(0u, 8u, 16u, 24u)) & vec4(15u);
    let upper = (codes & vec4(4u)) != vec4(0u);
    let low = select(vec4(VALUES.x), vec4(VALUES.y), upper);
    let high = select(vec4(VALUES.z), vec4(VALUES.w), upper);
    let four = select(low, high, codes >= vec4(8u));
    return scale * vec4<f32>(bitcast<vec4<i32>>(four << (vec4(24u) - 8u * (codes & vec4(3u)))) >> vec4(24u));
}

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
