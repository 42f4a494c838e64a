// The gradients of dense by its parameters: dW = dyᵀ·x, db = Σ dy
//
//   x     [M, D]  in      from x_at on
//   dy    [M, N]  in      from dy_at on
//   grad  [n]     in out  dW [N, D] from w_at on; db [N] from b_at on, unless that is NONE
//
// One lane per column; the grid's second dimension is the output.

struct Params { n_rows: u32, n_in: u32, n_out: u32, w_at: u32, b_at: u32, x_at: u32, dy_at: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;

const NONE = 0xffffffffu;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_in { return; }
    var dw = 0.0;
    var db = 0.0;
    for (var m = 0u; m < params.n_rows; m++) {
        let d = dy[params.dy_at + m * params.n_out + at.y];
        dw += d * x[params.x_at + m * params.n_in + at.x];
        db += d;
    }
    grad[params.w_at + at.y * params.n_in + at.x] = dw;
    if at.x == 0u && params.b_at != NONE { grad[params.b_at + at.y] = db; }
}
