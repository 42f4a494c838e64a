// y (+)= x·Wᵀ for a few rows of x: each workgroup makes four outputs of one row, lanes along the input.
//
//   x  [T, K]      in
//   y  [T, n_out]  in out  columns first_row … of y come from this slab; added to if `add`, else overwritten
//   W  [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each four rows of W, and row of x.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WG = 64u;

var<workgroup> partial: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = params.n_in / 4u;
    let row = 4u * at.x;
    let last = params.n_rows - 1u;
    let rows = min(vec4(row, row + 1u, row + 2u, row + 3u), vec4(last)) * width;
    var sums = vec4(0.0);
    for (var i = lane; i < width; i += WG) {
        let value = x[at.y * width + i];
        sums += vec4(
            dot(weight4(rows.x + i), value),
            dot(weight4(rows.y + i), value),
            dot(weight4(rows.z + i), value),
            dot(weight4(rows.w + i), value),
        );
    }
    partial[lane] = sums;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half >>= 1u) {
        if lane < half { partial[lane] += partial[lane + half]; }
        workgroupBarrier();
    }
    if lane < 4u && row + lane < params.n_rows {
        let to = at.y * params.n_out + params.first_row + row + lane;
        let sum = partial[0][lane];
        y[to] = select(sum, y[to] + sum, params.add == 1u);
    }
}
