// Takes the gradient of qk_norm back to what was normed, in place; that of values stays as it is.
//
//     dx = s · (w ∘ dy − x · s² · mean(x ∘ w ∘ dy))      s = 1 / sqrt(mean(x²) + eps)
//
//   qkv   [T, W]                in      before the norm
//   w     [q_width + k_width]   in
//   dqkv  [T, W]                in out
//
// One workgroup per group and token. Widths are multiples of 4.

struct Params { width: u32, n_q: u32, q_width: u32, n_k: u32, k_width: u32, eps: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dqkv: array<vec4<f32>>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let group = group_at(at.x);
    let start = line * params.width / 4u + group.start;
    var squares = 0.0;
    var along = 0.0;
    for (var i = lane; i < group.width; i += WG) {
        let value = qkv[start + i];
        squares += dot(value, value);
        along += dot(value, w[group.weight + i] * dqkv[start + i]);
    }
    let mean = 1.0 / f32(4u * group.width);
    let sums = reduce_sum2(vec2(squares, along), lane);
    let s = inverseSqrt(sums.x * mean + params.eps);
    let pull = sums.y * mean * s * s;
    for (var i = lane; i < group.width; i += WG) {
        dqkv[start + i] = s * (w[group.weight + i] * dqkv[start + i] - qkv[start + i] * pull);
    }
}
