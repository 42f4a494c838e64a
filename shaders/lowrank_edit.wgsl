// Low-rank edit of hidden states, at the chosen rows only.
//
//     z = W·h + b        u = act(z) − R·h        h ← h + Rᵀ·u
//
//   edits   [P, 2]  in      row of h, and how often it counts in gradients; no row twice
//   theta   [n]     in      trained parameters: W [R, D] from w_at on, b [R] from b_at on
//   rot     [n]     in      rotations: R [R, D] from r_at on, one row per dimension of the subspace
//   h       [T, D]  in out  hidden states; rows that no edit names keep their bits
//   before  [P, D]  out     the rows as they were; lowrank_edit_backward wants them, and z and u
//   z       [P, R]  out
//   u       [P, R]  out
//
// One workgroup per edit. Lane i owns columns i, i + WG, … of h throughout.

struct Params { n_embd: u32, rank: u32, w_at: u32, b_at: u32, r_at: u32, act: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read> rot: array<f32>;
@group(0) @binding(4) var<storage, read_write> h: array<f32>;
@group(0) @binding(5) var<storage, read_write> before: array<f32>;
@group(0) @binding(6) var<storage, read_write> z: array<f32>;
@group(0) @binding(7) var<storage, read_write> u: array<f32>;

const WG = 64u;

// What branches and loops go by. Held against a buffer's length, or lavapipe takes it for a constant and compiles the shader
// anew at every run.
fn rank() -> u32 { return min(params.rank, arrayLength(&u)); }
fn act() -> u32 { return min(params.act, arrayLength(&theta)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) edit: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = edits[edit.x].x * params.n_embd;
    let saved = edit.x * params.n_embd;
    for (var d = lane; d < params.n_embd; d += WG) {
        before[saved + d] = h[row + d];
    }
    for (var j = 0u; j < rank(); j++) {
        var wh = 0.0;
        var rh = 0.0;
        for (var d = lane; d < params.n_embd; d += WG) {
            wh += theta[params.w_at + j * params.n_embd + d] * h[row + d];
            rh += rot[params.r_at + j * params.n_embd + d] * h[row + d];
        }
        let sums = reduce_sum2(vec2(wh, rh), lane);
        let inside = sums.x + theta[params.b_at + j];
        if lane == 0u {
            z[edit.x * params.rank + j] = inside;
            u[edit.x * params.rank + j] = activate(act(), inside) - sums.y;
        }
    }
    storageBarrier();
    for (var d = lane; d < params.n_embd; d += WG) {
        var sum = 0.0;
        for (var j = 0u; j < rank(); j++) {
            sum += rot[params.r_at + j * params.n_embd + d] * u[edit.x * params.rank + j];
        }
        h[row + d] += sum;
    }
}
