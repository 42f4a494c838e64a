// dx (+)= dy·W on a CPU that plays GPU, where a load costs more than a product: a lane makes 8 × 32 values of dx in
// registers, from whole blocks of four rows of W at a time, without workgroup memory.
//
//   dy  [T, n_out]  in      columns first_row … of dy belong to this slab
//   dx  [T, K]      in out  added to if `add`, else overwritten
//   W   [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each 256 columns of W, and 8 rows of dy.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

const TOKENS = 8u;

// The gradients of four outputs of token t; 0 past the slab's last.
fn four_of_dy(t: u32, row: u32) -> vec4<f32> {
    let i = min(t, params.n_tokens - 1u) * params.n_out + params.first_row + row;
    let rows = vec4(row, row + 1u, row + 2u, row + 3u);
    return select(vec4(0.0), vec4(dy[i], dy[i + 1u], dy[i + 2u], dy[i + 3u]), rows < vec4(params.n_rows));
}

@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let width = params.n_in / 4u;
    let column = at.x * 8u;
    let t = at.y * TOKENS;
    if column >= width { return; }
    let last_row = params.n_rows - 1u;
    var sums: array<array<vec4<f32>, 8>, TOKENS>;
    for (var row = 0u; row < params.n_rows; row += 4u) {
        let w_at = min(vec4(row, row + 1u, row + 2u, row + 3u), vec4(last_row)) * width + column;
        var a = weight32(w_at.x);
        var b = weight32(w_at.y);
        var c = weight32(w_at.z);
        var d = weight32(w_at.w);
        for (var token = 0u; token < TOKENS; token++) {
            let d4 = four_of_dy(t + token, row);
            for (var part = 0u; part < 8u; part++) {
                sums[token][part] += mat4x4(a[part], b[part], c[part], d[part]) * d4;
            }
        }
    }
    for (var token = 0u; token < TOKENS; token++) {
        for (var part = 0u; part < 8u; part++) {
            if t + token < params.n_tokens && column + part < width {
                let to = (t + token) * width + column + part;
                dx[to] = select(sums[token][part], dx[to] + sums[token][part], params.add == 1u);
            }
        }
    }
}
