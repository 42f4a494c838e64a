// The gradient of dense by its input: dx = dy·W
//
//   dy     [M, N]  in      from dy_at on
//   theta  [n]     in      W [N, D] from w_at on
//   dx     [M, D]  in out  from dx_at on
//
// One lane per column; the grid's second dimension is the row.

struct Params { n_rows: u32, n_in: u32, n_out: u32, w_at: u32, dy_at: u32, dx_at: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    if at.x >= params.n_in { return; }
    var sum = 0.0;
    for (var j = 0u; j < params.n_out; j++) {
        sum += dy[params.dy_at + line * params.n_out + j] * theta[params.w_at + j * params.n_in + at.x];
    }
    dx[params.dx_at + line * params.n_in + at.x] = sum;
}
