// y (+)= x·Wᵀ for one row of x on a CPU that plays GPU: a lane makes 16 outputs in registers from whole blocks of W,
// without workgroup memory.
//
//   x  [1, K]      in
//   y  [1, n_out]  in out  columns first_row … of y come from this slab; added to if `add`, else overwritten
//   W  [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each 128 rows of W.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const ROWS = 16u;

@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let width = params.n_in / 4u;
    let row = at.x * ROWS;
    if row >= params.n_rows { return; }
    let last_row = params.n_rows - 1u;
    var sums: array<vec4<f32>, ROWS>; // four parts of each output
    for (var i = 0u; i < width; i += 8u) {
        var inputs: array<vec4<f32>, 8>;
        for (var part = 0u; part < 8u; part++) {
            if i + part < width { inputs[part] = x[i + part]; }
        }
        for (var r = 0u; r < ROWS; r++) {
            var w = weight32(min(row + r, last_row) * width + i);
            for (var part = 0u; part < 8u; part++) { sums[r] += w[part] * inputs[part]; }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        if row + r < params.n_rows {
            let to = params.first_row + row + r;
            let sum = dot(sums[r], vec4(1.0));
            y[to] = select(sum, y[to] + sum, params.add == 1u);
        }
    }
}
