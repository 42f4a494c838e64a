// The gradient of mix_rows by h, in place; the rows of the other run get none.
//
//     dh ← count · (1 + m·(keep − 1))·dh
//
//   edits     [P, 2]  in      row of h, and how often it counts
//   strength  [P, 1]  in      m
//   dh        [T, S]  in out  D columns from column `first` on
//
// One workgroup per edit.

struct Params { n_embd: u32, stride: u32, first: u32, keep: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read_write> dh: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let row = edits[line].x * params.stride + params.first;
    let scale = f32(edits[line].y) * (1.0 + strength[line] * (params.keep - 1.0));
    for (var d = lane; d < params.n_embd; d += WG) {
        dh[row + d] *= scale;
    }
}
