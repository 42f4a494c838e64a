// Rows of the embedding matrix times a scale, one for each token. A slab writes only the tokens that lie in it.
//
//   tokens  [T]     in
//   h       [T, D]  out
//
// One workgroup per token.

struct Params { n_embd: u32, first_row: u32, n_rows: u32, scale: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> h: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let row = tokens[line] - params.first_row; // wraps around below the slab, and then is too large
    if row >= params.n_rows { return; }
    let width = params.n_embd / 4u;
    for (var i = lane; i < width; i += 64u) {
        h[line * width + i] = params.scale * weight4(row * width + i);
    }
}
