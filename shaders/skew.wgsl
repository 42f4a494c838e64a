// A skew-symmetric matrix from what lies below the diagonal of another, as torch's orthogonal parametrization takes it:
//
//     A = scale · (tril(X) − tril(X)ᵀ)
//
//   theta  [n]     in   X, transposed: [D, D] from x_at on; only what lies right of the diagonal is read
//   skew   [D, D]  out  A
//
// One lane for each element; grid: 64 columns, a row.

struct Params { n_embd: u32, x_at: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read_write> skew: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let n = params.n_embd;
    if at.x >= n { return; }
    var value = 0.0;
    if at.y > at.x { value = params.scale * theta[params.x_at + at.x * n + at.y]; }
    if at.y < at.x { value = -params.scale * theta[params.x_at + at.y * n + at.x]; }
    skew[at.y * n + at.x] = value;
}
