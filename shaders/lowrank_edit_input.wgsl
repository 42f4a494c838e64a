// What an edit that reads its module's input gives to that input's gradient: dx ← dx + count · Wᵀ·dz, less what was dropped of the input.
//
//   edits    [P, 2]  in      row of dx, and how often it counts
//   theta    [n]     in      W [R, I] from w_at on
//   dtrace   [P, 2R] in      dz first, from lowrank_edit_backward
//   dropout  [4]     in      see lib/dropout; not read where nothing was dropped
//   dx       [T, I]  in out
//
// One workgroup per edit. Lane i owns columns i, i + WG, ….

struct Params { n_in: u32, rank: u32, w_at: u32, drops: u32, number: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read> dtrace: array<f32>;
@group(0) @binding(4) var<storage, read> dropout: Dropout;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let row = edits[line].x * params.n_in;
    let count = f32(edits[line].y);
    for (var d = lane; d < params.n_in; d += WG) {
        var sum = 0.0;
        for (var j = 0u; j < params.rank; j++) {
            sum += theta[params.w_at + j * params.n_in + d] * dtrace[line * 2u * params.rank + j];
        }
        if params.drops == 1u { sum *= kept(edits[line].x, d); }
        dx[row + d] += count * sum;
    }
}
