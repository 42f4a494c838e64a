// Row index[i] of y is row i of x; all other rows of y keep their bits.
//
//   index  [M]     in      no row twice
//   x      [M, D]  in
//   y      [N, D]  in out
//
// One workgroup per row.

struct Params { n_embd: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_embd / 4u;
    let to_row = index[line];
    for (var i = lane; i < width; i += 64u) {
        y[to_row * width + i] = x[line * width + i];
    }
}
