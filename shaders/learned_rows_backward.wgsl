// The gradients of `learned_rows`:
//
//     dE[i] = Σ m · dh over the rows that are set to it      dh ← (1 − m)·dh
//
//   edits     [P, 2]  in      row of h, and i
//   strength  [P]     in      m
//   dh        [T, S]  in out  D columns from column `first` on
//   grad      [n]     in out  dE: row i begins at rows_at + i·row_stride
//
// One lane for each element of E, through all edits; grid: 64 columns, a learned row.

struct Params { n_edits: u32, n_rows: u32, n_embd: u32, stride: u32, first: u32, rows_at: u32, row_stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read_write> dh: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_embd { return; }
    var sum = 0.0;
    for (var p = 0u; p < params.n_edits; p++) {
        if edits[p].y == at.y {
            let cell = edits[p].x * params.stride + params.first + at.x;
            sum += strength[p] * dh[cell];
            dh[cell] *= 1.0 - strength[p];
        }
    }
    grad[params.rows_at + at.y * params.row_stride + at.x] = sum;
}
