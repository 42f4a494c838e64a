// Rows of their own out of a flat buffer.
//
//   x  [n]     in   from x_at on
//   y  [T, D]  out
//
// One lane per value; the grid's second dimension is the row.

struct Params { n_embd: u32, x_at: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let cell = line * params.n_embd + at.x;
    if at.x < params.n_embd { y[cell] = x[params.x_at + cell]; }
}
