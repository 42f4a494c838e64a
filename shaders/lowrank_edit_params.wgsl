// The gradients of one intervention's parameters, summed over its edits:
//
//     dW = Σ count · dz ⊗ before      db = Σ count · dz      dR = Σ count · (u ⊗ after − du ⊗ before)
//
//   edits   [P, 2]  in   row of h, and how often it counts
//   before  [P, D]  in   the rows that were edited
//   after   [P, D]  in   the gradient of the edited rows
//   u       [P, R]  in
//   du      [P, R]  in
//   dz      [P, R]  in
//   grad    [n]     out  dW [R, D] from w_at on, db [R] from b_at on
//   drot    [n]     out  dR [R, D] from r_at on
//
// One workgroup per 64 columns and dimension of the subspace; one lane per column.

struct Params { n_edits: u32, n_embd: u32, rank: u32, w_at: u32, b_at: u32, r_at: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> before: array<f32>;
@group(0) @binding(3) var<storage, read> after: array<f32>;
@group(0) @binding(4) var<storage, read> u: array<f32>;
@group(0) @binding(5) var<storage, read> du: array<f32>;
@group(0) @binding(6) var<storage, read> dz: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad: array<f32>;
@group(0) @binding(8) var<storage, read_write> drot: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let d = at.x;
    let j = at.y;
    if d >= params.n_embd { return; }
    var dw = 0.0;
    var db = 0.0;
    var dr = 0.0;
    for (var p = 0u; p < params.n_edits; p++) {
        let count = f32(edits[p].y);
        let from_edit = p * params.rank + j;
        let h = before[p * params.n_embd + d];
        dw += count * dz[from_edit] * h;
        db += count * dz[from_edit];
        dr += count * (u[from_edit] * after[p * params.n_embd + d] - du[from_edit] * h);
    }
    grad[params.w_at + j * params.n_embd + d] = dw;
    drot[params.r_at + j * params.n_embd + d] = dr;
    if d == 0u { grad[params.b_at + j] = db; }
}
