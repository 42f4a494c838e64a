// y = g ∘ up: the second half of silu_mul, and with g = dy the gradient of y by g.
//
//   g        [T, F]   in
//   gate_up  [T, 2F]  in
//   y        [T, F]   out
//
// One lane per four values; the grid's second dimension is the token.

struct Params { n_ff: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gate_up: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_ff / 4u;
    if at.x >= width { return; }
    y[line * width + at.x] = g[line * width + at.x] * gate_up[line * 2u * width + width + at.x];
}
