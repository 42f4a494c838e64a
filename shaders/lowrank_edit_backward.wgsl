// The gradient of lowrank_edit by the hidden states, in place; dh comes in as the gradient of the edited rows.
//
//     du = m ∘ P·dh        dz = act′(z) ∘ du        dh ← count · (dh + (Wᵀ·dz, if W was put on h) − (Pᵀ·du, if P·h was subtracted))
//
//   edits     [P, 2]  in      row of h, and how often it counts
//   strength  [P, R]  in      m
//   theta     [n]     in      W [R, D] from w_at on
//   proj      [n]     in      P [R, D] from p_at on
//   trace     [P, 2R] in      z first, from lowrank_edit
//   dh        [T, S]  in out  D columns from column `first` on; all that no edit names keeps its bits
//   after     [P, D]  out     the rows of dh as they came in; lowrank_edit_params wants them, and du and dz
//   dtrace    [P, 2R] out     dz, then du
//
// One workgroup per edit. Lane i owns columns i, i + WG, … of dh throughout.

struct Params {
    n_embd: u32, stride: u32, first: u32, rank: u32, w_at: u32, p_at: u32, act: u32, learned: u32, subtracts: u32, lines: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read> theta: array<f32>;
@group(0) @binding(4) var<storage, read> proj: array<f32>;
@group(0) @binding(5) var<storage, read> trace: array<f32>;
@group(0) @binding(6) var<storage, read_write> dh: array<f32>;
@group(0) @binding(7) var<storage, read_write> after: array<f32>;
@group(0) @binding(8) var<storage, read_write> dtrace: array<f32>;

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
    let saved = line * params.n_embd;
    let traced = line * 2u * params.rank;
    for (var d = lane; d < params.n_embd; d += WG) {
        after[saved + d] = dh[row + d];
    }
    for (var j = 0u; j < params.rank; j++) {
        var sum = 0.0;
        for (var d = lane; d < params.n_embd; d += WG) {
            sum += proj[params.p_at + j * params.n_embd + d] * dh[row + d];
        }
        let total = reduce_sum(sum, lane);
        if lane == 0u {
            let du = strength[line * params.rank + j] * total;
            dtrace[traced + j] = activate_slope(params.act, trace[traced + j]) * du;
            dtrace[traced + params.rank + j] = du;
        }
    }
    storageBarrier();
    let count = f32(edits[line].y);
    for (var d = lane; d < params.n_embd; d += WG) {
        var sum = dh[row + d];
        for (var j = 0u; j < params.rank; j++) {
            let at = j * params.n_embd + d;
            if params.learned == STATE { sum += theta[params.w_at + at] * dtrace[traced + j]; }
            if params.subtracts == 1u { sum -= proj[params.p_at + at] * dtrace[traced + params.rank + j]; }
        }
        dh[row + d] = count * sum;
    }
}
