// y += x.
//
//   x  [T, D]  in
//   y  [T, D]  in out
//
// One lane per four values; the grid's second dimension is the row.

struct Params { n_embd: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_embd / 4u;
    if at.x >= width { return; }
    let i = line * width + at.x;
    y[i] += x[i];
}
