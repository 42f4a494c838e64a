// Inverted dropout of rows (Srivastava et al. 2014), in place: x ← x · (0 | 1 / (1 − rate)), and by the same settings its own gradient.
//
//   edits    [P, 2]  in      row of x
//   dropout  [4]     in      see lib/dropout
//   x        [T, S]  in out  D columns from column `first` on; all that no edit names keeps its bits
//
// One workgroup per row. A draw hangs on step, intervention, row of the step and column, and on nothing else: no mask is kept.

struct Params { n_embd: u32, stride: u32, first: u32, number: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> dropout: Dropout;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let row = edits[line].x;
    for (var d = lane; d < params.n_embd; d += WG) {
        x[row * params.stride + params.first + d] *= kept(row, d);
    }
}
