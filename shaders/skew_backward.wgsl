// The gradient of `skew`:
//
//     dX[i, j] = scale · (dA[i, j] − dA[j, i]) below the diagonal, else 0
//
//   dskew  [D, D]  in      dA
//   grad   [n]     in out  dX, transposed: [D, D] from x_at on, written whole
//
// One lane for each element; grid: 64 columns, a row.

struct Params { n_embd: u32, x_at: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dskew: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let n = params.n_embd;
    if at.x >= n { return; }
    var value = 0.0;
    if at.x > at.y { value = params.scale * (dskew[at.x * n + at.y] - dskew[at.y * n + at.x]); }
    grad[params.x_at + at.y * n + at.x] = value;
}
