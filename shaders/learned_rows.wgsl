// Rows set to learned ones: virtual tokens, in the stream or among keys and values.
//
//     h ← (1 − m)·h + m·E[i]
//
//   edits     [P, 2]  in      row of h, and i
//   strength  [P]     in      m
//   learned   [n]     in      E: row i begins at rows_at + i·row_stride
//   h         [T, S]  in out  D columns from column `first` on
//
// One lane for each column; grid: 64 columns, an edit.

struct Params { n_embd: u32, stride: u32, first: u32, rows_at: u32, row_stride: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read> learned: array<f32>;
@group(0) @binding(4) var<storage, read_write> h: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    if at.x >= params.n_embd { return; }
    let edit = edits[line];
    let cell = edit.x * params.stride + params.first + at.x;
    let row = learned[params.rows_at + edit.y * params.row_stride + at.x];
    h[cell] = (1.0 - strength[line]) * h[cell] + strength[line] * row;
}
