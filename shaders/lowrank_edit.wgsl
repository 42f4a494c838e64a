// The low-rank edit under nearly every kind of intervention; P is R where its rows are orthonormal.
//
//     z = b | W·h + b | W·x + b | P·s        u = m ∘ (act(z) − (0 | P·h + c))        h ← h + Pᵀ·u
//
//   edits     [P, 2]  in      row of h, and how often it counts in gradients; no row twice
//   strength  [P, R]  in      m: how much of the edit is made in each dimension of the subspace
//   theta     [n]     in      W [R, I] from w_at on, b [R] from b_at on, c [R] from c_at on; any of them may be missing
//   proj      [n]     in      P [R, D] from p_at on
//   source    [·, I]  in      s, one row an edit; or x, the input of the module, one row a token
//   h         [T, S]  in out  D columns from column `first` on; all that no edit names keeps its bits
//   before    [P, I]  out     the rows that W was put on; lowrank_edit_params wants them
//   trace     [P, 2R] out     z, then u
//
// One workgroup per edit. Lane i owns columns i, i + WG, … throughout.

struct Params {
    n_embd: u32, n_in: u32, stride: u32, first: u32, rank: u32,
    w_at: u32, b_at: u32, p_at: u32, c_at: u32, act: u32, learned: u32, subtracts: u32, lines: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read> theta: array<f32>;
@group(0) @binding(4) var<storage, read> proj: array<f32>;
@group(0) @binding(5) var<storage, read> source: array<f32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;
@group(0) @binding(7) var<storage, read_write> before: array<f32>;
@group(0) @binding(8) var<storage, read_write> trace: array<f32>;

const WG = 64u;

// The rows that W is put on.
fn save(edit: u32, row: u32, lane: u32) {
    for (var d = lane; d < params.n_in; d += WG) {
        var value = 0.0;
        if params.learned == INPUT {
            value = source[edits[edit].x * params.n_in + d];
        } else {
            value = h[row + d];
        }
        before[edit * params.n_in + d] = value;
    }
}

// Dimension j of what the subspace is to be, without b.
fn inside(edit: u32, j: u32, lane: u32) -> f32 {
    var sum = 0.0;
    if params.learned == SOURCE {
        for (var d = lane; d < params.n_embd; d += WG) {
            sum += proj[params.p_at + j * params.n_embd + d] * source[edit * params.n_embd + d];
        }
    } else if params.learned != BIAS {
        for (var d = lane; d < params.n_in; d += WG) {
            sum += theta[params.w_at + j * params.n_in + d] * before[edit * params.n_in + d];
        }
    }
    return sum;
}

// Dimension j of what the subspace is, without c.
fn present(row: u32, j: u32, lane: u32) -> f32 {
    var sum = 0.0;
    if params.subtracts == 1u {
        for (var d = lane; d < params.n_embd; d += WG) {
            sum += proj[params.p_at + j * params.n_embd + d] * h[row + d];
        }
    }
    return sum;
}

// Element j of b or c, 0 where the edit has none.
fn bias(at: u32, j: u32) -> f32 {
    if at == NONE { return 0.0; }
    return theta[at + j];
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let row = edits[line].x * params.stride + params.first;
    let traced = line * 2u * params.rank;
    save(line, row, lane);
    for (var j = 0u; j < params.rank; j++) {
        let sums = reduce_sum2(vec2(inside(line, j, lane), present(row, j, lane)), lane);
        if lane == 0u {
            let z = sums.x + bias(params.b_at, j);
            let there = sums.y + bias(params.c_at, j);
            trace[traced + j] = z;
            trace[traced + params.rank + j] = strength[line * params.rank + j] * (activate(params.act, z) - there);
        }
    }
    storageBarrier();
    for (var d = lane; d < params.n_embd; d += WG) {
        var sum = 0.0;
        for (var j = 0u; j < params.rank; j++) {
            sum += proj[params.p_at + j * params.n_embd + d] * trace[traced + params.rank + j];
        }
        h[row + d] += sum;
    }
}
