// The gradient by gate and up of y = g ∘ up with g = act(gate) edited on its way:
//
//     dgate = dg ∘ act′(gate)      dup = dy ∘ g
//
//   gate_up   [T, 2F]  in
//   g         [T, F]   in   as edited
//   dy        [T, F]   in
//   dg        [T, F]   in   the gradient before the edit
//   dgate_up  [T, 2F]  out
//
// One lane per four values; the grid's second dimension is the token.

struct Params { n_ff: u32, act: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dg: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dgate_up: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_ff / 4u;
    if at.x >= width { return; }
    let start = line * 2u * width + at.x;
    let one = line * width + at.x;
    dgate_up[start] = dg[one] * activate_slope4(params.act, gate_up[start]);
    dgate_up[start + width] = dy[one] * g[one];
}
