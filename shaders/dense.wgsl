// y = x·Wᵀ + b, with trained W and b: the small matrices of heads and encoders.
//
//   x      [M, D]  in      from x_at on
//   theta  [n]     in      W [N, D] from w_at on; b [N] from b_at on, unless that is NONE
//   y      [M, N]  in out  from y_at on
//
// One workgroup per output and row of x.

struct Params { n_rows: u32, n_in: u32, n_out: u32, w_at: u32, b_at: u32, x_at: u32, y_at: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const WG = 64u;
const NONE = 0xffffffffu;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    var sum = 0.0;
    for (var d = lane; d < params.n_in; d += WG) {
        sum += x[params.x_at + line * params.n_in + d] * theta[params.w_at + at.x * params.n_in + d];
    }
    var total = reduce_sum(sum, lane);
    if lane == 0u {
        if params.b_at != NONE { total += theta[params.b_at + at.x]; }
        y[params.y_at + line * params.n_out + at.x] = total;
    }
}
