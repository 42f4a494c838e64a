// The means of runs of rows: y = Σ x / n
//
//   ranges  [B, 2]  in   first and end of each run
//   x       [T, D]  in
//   y       [B, D]  out
//
// One lane per column; the grid's second dimension is the run.

struct Params { n_embd: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    if at.x >= params.n_embd { return; }
    let range = ranges[line];
    var sum = 0.0;
    for (var t = range.x; t < range.y; t++) { sum += x[t * params.n_embd + at.x]; }
    y[line * params.n_embd + at.x] = sum / f32(range.y - range.x);
}
