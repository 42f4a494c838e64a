// How strongly each edited row has a direction, ReFT-r1's latent (Wu et al. 2025, arXiv:2501.17148):
//
//     a = ReLU(w·h)
//
//   edits   [P, 2]  in   row of h, and how often it counts
//   theta   [n]     in   w [D] from w_at on
//   h       [T, S]  in   D columns from column `first` on
//   latent  [P]     out  a
//
// One workgroup per edit.

struct Params { n_embd: u32, stride: u32, first: u32, w_at: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read> h: array<f32>;
@group(0) @binding(4) var<storage, read_write> latent: array<f32>;

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
    var sum = 0.0;
    for (var d = lane; d < params.n_embd; d += WG) {
        sum += theta[params.w_at + d] * h[row + d];
    }
    let total = reduce_sum(sum, lane);
    if lane == 0u { latent[line] = max(total, 0.0); }
}
