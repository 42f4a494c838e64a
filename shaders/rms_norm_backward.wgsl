// dx (+)= the gradient of y = w ∘ x · s, s = 1 / sqrt(mean(x²) + eps):
//
//     dx = s · (w ∘ dy − x · s² · mean(x ∘ w ∘ dy))
//
//   x   [T, D]  in
//   w   [D]     in
//   dy  [T, D]  in
//   dx  [T, D]  in out  added to if `add`, else overwritten
//
// One workgroup per row.

struct Params { n_embd: u32, eps: f32, add: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_embd / 4u;
    let start = line * width;
    var squares = 0.0;
    var along = 0.0;
    for (var i = lane; i < width; i += WG) {
        let value = x[start + i];
        squares += dot(value, value);
        along += dot(value, w[i] * dy[start + i]);
    }
    let mean = 1.0 / f32(params.n_embd);
    let sums = reduce_sum2(vec2(squares, along), lane);
    let s = inverseSqrt(sums.x * mean + params.eps);
    let pull = sums.y * mean * s * s;
    for (var i = lane; i < width; i += WG) {
        let d = s * (w[i] * dy[start + i] - x[start + i] * pull);
        dx[start + i] = select(d, dx[start + i] + d, params.add == 1u);
    }
}
