// The product of two square matrices of f32, added to what is there:
//
//     out ← keep · out + alpha · A·B + beta · C
//
//   a    [n]  in      A [D, D]: element (i, k) at a_at + i·a_row + k·a_col, so that a transposed matrix is a pair of strides
//   b    [n]  in      B [D, D], alike
//   c    [n]  in      C [D, D] from c_at on
//   out  [n]  in out  [D, D] from out_at on
//
// One lane for each element; grid: 64 columns, a row.

struct Params {
    n_embd: u32,
    a_at: u32, a_row: u32, a_col: u32,
    b_at: u32, b_row: u32, b_col: u32,
    c_at: u32, out_at: u32,
    alpha: f32, beta: f32, keep: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_embd { return; }
    var sum = 0.0;
    for (var k = 0u; k < params.n_embd; k++) {
        let left = a[params.a_at + at.y * params.a_row + k * params.a_col];
        sum += left * b[params.b_at + k * params.b_row + at.x * params.b_col];
    }
    let cell = at.y * params.n_embd + at.x;
    let kept = select(params.keep * out[params.out_at + cell], 0.0, params.keep == 0.0);
    out[params.out_at + cell] = kept + params.alpha * sum + params.beta * c[params.c_at + cell];
}
