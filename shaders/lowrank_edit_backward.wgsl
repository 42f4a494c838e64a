// The gradient of lowrank_edit by the hidden states, in place; dh comes in as the gradient of the edited rows.
//
//     du = R·dh        dz = act′(z) ∘ du        dh ← count · (dh + Wᵀ·dz − Rᵀ·du)
//
//   edits  [P, 2]  in      row of h, and how often it counts
//   theta  [n]     in      W [R, D] from w_at on
//   rot    [n]     in      R [R, D] from r_at on
//   z      [P, R]  in      from lowrank_edit
//   dh     [T, D]  in out  rows that no edit names keep their bits
//   after  [P, D]  out     the rows of dh as they came in; lowrank_edit_params wants them, and du and dz
//   du     [P, R]  out
//   dz     [P, R]  out
//
// One workgroup per edit. Lane i owns columns i, i + WG, … of dh throughout.

struct Params { n_embd: u32, rank: u32, w_at: u32, r_at: u32, act: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read> rot: array<f32>;
@group(0) @binding(4) var<storage, read> z: array<f32>;
@group(0) @binding(5) var<storage, read_write> dh: array<f32>;
@group(0) @binding(6) var<storage, read_write> after: array<f32>;
@group(0) @binding(7) var<storage, read_write> du: array<f32>;
@group(0) @binding(8) var<storage, read_write> dz: array<f32>;

const WG = 64u;

// What branches and loops go by. Held against a buffer's length, or lavapipe takes it for a constant and compiles the shader
// anew at every run.
fn rank() -> u32 { return min(params.rank, arrayLength(&du)); }
fn act() -> u32 { return min(params.act, arrayLength(&theta)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) edit: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = edits[edit.x].x * params.n_embd;
    let saved = edit.x * params.n_embd;
    for (var d = lane; d < params.n_embd; d += WG) {
        after[saved + d] = dh[row + d];
    }
    for (var j = 0u; j < rank(); j++) {
        var sum = 0.0;
        for (var d = lane; d < params.n_embd; d += WG) {
            sum += rot[params.r_at + j * params.n_embd + d] * dh[row + d];
        }
        let total = reduce_sum(sum, lane);
        let at = edit.x * params.rank + j;
        if lane == 0u {
            du[at] = total;
            dz[at] = activate_slope(act(), z[at]) * total;
        }
    }
    storageBarrier();
    let count = f32(edits[edit.x].y);
    for (var d = lane; d < params.n_embd; d += WG) {
        var sum = dh[row + d];
        for (var j = 0u; j < rank(); j++) {
            let at = j * params.n_embd + d;
            sum += theta[params.w_at + at] * dz[edit.x * params.rank + j];
            sum -= rot[params.r_at + at] * du[edit.x * params.rank + j];
        }
        dh[row + d] = count * sum;
    }
}
