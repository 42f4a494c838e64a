// The gradients of one intervention's parameters, summed over its edits:
//
//     dW = Σ count · dz ⊗ before      db = Σ count · dz      dc = −Σ count · du
//     dP = Σ count · (u ⊗ after − (du ⊗ before, if P·h was subtracted) + (dz ⊗ source, if z was P·s))
//
//   edits   [P, 2]  in      row of h, and how often it counts
//   before  [P, I]  in      the rows that W was put on; those of h where P·h was subtracted
//   after   [P, D]  in      the gradient of the edited rows
//   source  [P, D]  in      s
//   trace   [P, 2R] in      u second
//   dtrace  [P, 2R] in      dz, then du
//   grad    [n]     in out  dW [R, I] from w_at on, db [R] from b_at on, dc [R] from c_at on; dP [R, D] from p_at on where P is free
//   drot    [n]     in out  dP [R, D] from p_at on where P is a rotation
//
// Where `onto` is 1, what is there already is added to: interventions may share parameters. One workgroup per 64 columns and
// dimension of the subspace; one lane per column.

struct Params {
    n_edits: u32, n_embd: u32, n_in: u32, rank: u32,
    w_at: u32, b_at: u32, p_at: u32, c_at: u32, learned: u32, subtracts: u32, free: u32, onto: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> before: array<f32>;
@group(0) @binding(3) var<storage, read> after: array<f32>;
@group(0) @binding(4) var<storage, read> source: array<f32>;
@group(0) @binding(5) var<storage, read> trace: array<f32>;
@group(0) @binding(6) var<storage, read> dtrace: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad: array<f32>;
@group(0) @binding(8) var<storage, read_write> drot: array<f32>;

fn put_grad(at: u32, value: f32) {
    if params.onto == 1u { grad[at] += value; } else { grad[at] = value; }
}

fn put_drot(at: u32, value: f32) {
    if params.onto == 1u { drot[at] += value; } else { drot[at] = value; }
}

// dW, db and dc, as far as the edit has them.
fn learned_part(d: u32, j: u32) {
    var dw = 0.0;
    var db = 0.0;
    var dc = 0.0;
    for (var p = 0u; p < params.n_edits; p++) {
        let count = f32(edits[p].y);
        let traced = p * 2u * params.rank + j;
        let dz = count * dtrace[traced];
        dw += dz * before[p * params.n_in + d];
        db += dz;
        dc -= count * dtrace[traced + params.rank];
    }
    if params.learned == STATE || params.learned == INPUT {
        put_grad(params.w_at + j * params.n_in + d, dw);
    }
    if d == 0u && params.b_at != NONE { put_grad(params.b_at + j, db); }
    if d == 0u && params.c_at != NONE { put_grad(params.c_at + j, dc); }
}

fn projection_part(d: u32, j: u32) {
    var dp = 0.0;
    for (var p = 0u; p < params.n_edits; p++) {
        let traced = p * 2u * params.rank + j;
        let du = dtrace[traced + params.rank];
        var sum = trace[traced + params.rank] * after[p * params.n_embd + d];
        if params.subtracts == 1u { sum -= du * before[p * params.n_in + d]; }
        if params.learned == SOURCE { sum += dtrace[traced] * source[p * params.n_embd + d]; }
        dp += f32(edits[p].y) * sum;
    }
    let to = params.p_at + j * params.n_embd + d;
    if params.free == 1u { put_grad(to, dp); } else { put_drot(to, dp); }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < params.n_in { learned_part(at.x, at.y); }
    if at.x < params.n_embd { projection_part(at.x, at.y); }
}
