// The norm of queries and keys, each group of values by itself; values are copied.
//
//     y = w ∘ x · s      s = 1 / sqrt(mean(x²) + eps)      over the n_q groups of q_width values, then the n_k of k_width
//
//   qkv  [T, W]                in
//   w    [q_width + k_width]   in
//   y    [T, W]                out
//
// One workgroup per group and token; one more per token for what is copied. Widths are multiples of 4.

struct Params { width: u32, n_q: u32, q_width: u32, n_k: u32, k_width: u32, eps: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let row = line * params.width / 4u;
    if at.x == params.n_q + params.n_k {
        let normed = (params.n_q * params.q_width + params.n_k * params.k_width) / 4u;
        for (var i = normed + lane; i < params.width / 4u; i += WG) { y[row + i] = qkv[row + i]; }
        return;
    }
    let group = group_at(at.x);
    var squares = 0.0;
    for (var i = lane; i < group.width; i += WG) {
        let value = qkv[row + group.start + i];
        squares += dot(value, value);
    }
    let s = inverseSqrt(reduce_sum(squares, lane) / f32(4u * group.width) + params.eps);
    for (var i = lane; i < group.width; i += WG) {
        y[row + group.start + i] = w[group.weight + i] * qkv[row + group.start + i] * s;
    }
}
