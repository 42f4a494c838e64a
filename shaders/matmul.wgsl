// y (+)= x·Wᵀ for many rows of x: tiles of 64 × 64 outputs, each tile of x and W decoded once into workgroup memory.
//
//   x  [T, K]      in
//   y  [T, n_out]  in out  columns first_row … of y come from this slab; added to if `add`, else overwritten
//   W  [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each 64 rows of W, and 64 rows of x. A lane makes 4 × 4 outputs.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const TILE = 64u;
const DEPTH = 16u; // inputs held at a time

var<workgroup> x_tile: array<f32, TILE * DEPTH>; // [DEPTH, TILE]
var<workgroup> w_tile: array<f32, TILE * DEPTH>; // [DEPTH, TILE]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = params.n_in / 4u;
    let load_row = lane / 4u;
    let load_col = lane % 4u;
    let x_row = at.y * TILE + load_row;
    let w_row = at.x * TILE + load_row;
    let token = 4u * (lane / 16u);
    let out = 4u * (lane % 16u);
    var sums: array<vec4<f32>, 4>;
    for (var depth = 0u; depth < width; depth += DEPTH / 4u) {
        let i = depth + load_col;
        var x4 = vec4(0.0);
        var w4 = vec4(0.0);
        if i < width && x_row < params.n_tokens { x4 = x[x_row * width + i]; }
        if i < width && w_row < params.n_rows { w4 = weight4(w_row * width + i); }
        for (var part = 0u; part < 4u; part++) {
            x_tile[(4u * load_col + part) * TILE + load_row] = x4[part];
            w_tile[(4u * load_col + part) * TILE + load_row] = w4[part];
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let from_w = d * TILE + out;
            let w = vec4(w_tile[from_w], w_tile[from_w + 1u], w_tile[from_w + 2u], w_tile[from_w + 3u]);
            for (var part = 0u; part < 4u; part++) {
                sums[part] += x_tile[d * TILE + token + part] * w;
            }
        }
        workgroupBarrier();
    }
    for (var part = 0u; part < 4u; part++) {
        let t = at.y * TILE + token + part;
        for (var i = 0u; i < 4u; i++) {
            let row = at.x * TILE + out + i;
            if t >= params.n_tokens || row >= params.n_rows { continue; }
            let to = t * params.n_out + params.first_row + row;
            y[to] = select(sums[part][i], y[to] + sums[part][i], params.add == 1u);
        }
    }
}
