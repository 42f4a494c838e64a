// The gradient of mean_rows by x: dx = dy / n
//
//   ranges  [B, 2]  in   first and end of each run; every row is in one of them
//   dy      [B, D]  in
//   dx      [T, D]  out
//
// One lane per column; the grid's second dimension is the run.

struct Params { n_embd: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    if at.x >= params.n_embd { return; }
    let range = ranges[line];
    let d = dy[line * params.n_embd + at.x] / f32(range.y - range.x);
    for (var t = range.x; t < range.y; t++) { dx[t * params.n_embd + at.x] = d; }
}
