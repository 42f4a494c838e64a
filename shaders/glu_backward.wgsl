// The gradient of y = act(gate) ∘ up:
//
//     dgate = dy ∘ up ∘ act′(gate)      dup = dy ∘ act(gate)
//
//   gate_up   [T, 2F]  in
//   dy        [T, F]   in
//   dgate_up  [T, 2F]  out
//
// One lane per four values; the grid's second dimension is the token.

struct Params { n_ff: u32, act: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dgate_up: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_ff / 4u;
    if at.x >= width { return; }
    let start = line * 2u * width + at.x;
    let gate = gate_up[start];
    let up = gate_up[start + width];
    let d = dy[line * width + at.x];
    dgate_up[start] = d * up * activate_slope4(params.act, gate);
    dgate_up[start + width] = d * activate4(params.act, gate);
}
