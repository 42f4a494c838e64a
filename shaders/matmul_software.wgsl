// y (+)= x·Wᵀ for many rows of x on a CPU that plays GPU, where a load costs more than a product: a lane makes 16 × 4
// outputs in registers from whole blocks of W, without workgroup memory.
//
//   x  [T, K]      in
//   y  [T, n_out]  in out  columns first_row … of y come from this slab; added to if `add`, else overwritten
//   W  [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each 128 rows of W, and 4 rows of x.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const ROWS = 16u;

@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let width = params.n_in / 4u;
    let row = at.x * ROWS;
    let t = at.y * 4u;
    if row >= params.n_rows { return; }
    let last_row = params.n_rows - 1u;
    let x_at = min(vec4(t, t + 1u, t + 2u, t + 3u), vec4(params.n_tokens - 1u)) * width;
    var sums: array<vec4<f32>, ROWS>; // of four tokens each
    for (var i = 0u; i < width; i += 8u) {
        var inputs: array<mat4x4<f32>, 8>; // a column is four inputs of a token
        for (var part = 0u; part < 8u; part++) {
            let j = i + part;
            if j < width { inputs[part] = mat4x4(x[x_at.x + j], x[x_at.y + j], x[x_at.z + j], x[x_at.w + j]); }
        }
        for (var r = 0u; r < ROWS; r++) {
            var w = weight32(min(row + r, last_row) * width + i);
            for (var part = 0u; part < 8u; part++) { sums[r] += w[part] * inputs[part]; }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        for (var part = 0u; part < 4u; part++) {
            if row + r < params.n_rows && t + part < params.n_tokens {
                let to = (t + part) * params.n_out + params.first_row + row + r;
                y[to] = select(sums[r][part], y[to] + sums[r][part], params.add == 1u);
            }
        }
    }
}
