// dx (+)= dy·W: the gradient of y = x·Wᵀ, from the same blocks of W, read along their rows.
//
//   dy  [T, n_out]  in      columns first_row … of dy belong to this slab
//   dx  [T, K]      in out  added to if `add`, else overwritten
//   W   [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each 64 columns of W, and 64 rows of dy. A lane makes 4 × 4 values of dx.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

const TILE = 64u;
const DEPTH = 16u; // rows of W held at a time

var<workgroup> dy_tile: array<f32, TILE * DEPTH>;      // [DEPTH, TILE]
var<workgroup> w_tile: array<vec4<f32>, TILE * DEPTH / 4u>; // [DEPTH, TILE / 4]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = params.n_in / 4u;
    let column = at.x * TILE / 4u + lane % 16u; // in steps of four values, for loading W and for dx
    let w_depth = lane / 16u;
    let dy_depth = lane % 16u;
    let token = 4u * (lane / 16u);
    var sums: array<vec4<f32>, 4>;
    for (var depth = 0u; depth < params.n_rows; depth += DEPTH) {
        let w_row = depth + w_depth;
        var w4 = vec4(0.0);
        if w_row < params.n_rows && column < width { w4 = weight4(w_row * width + column); }
        w_tile[w_depth * 16u + lane % 16u] = w4;
        let dy_row = depth + dy_depth;
        for (var part = 0u; part < 4u; part++) {
            let t = at.y * TILE + token + part;
            var d = 0.0;
            if t < params.n_tokens && dy_row < params.n_rows { d = dy[t * params.n_out + params.first_row + dy_row]; }
            dy_tile[dy_depth * TILE + token + part] = d;
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let w = w_tile[d * 16u + lane % 16u];
            for (var part = 0u; part < 4u; part++) {
                sums[part] += dy_tile[d * TILE + token + part] * w;
            }
        }
        workgroupBarrier();
    }
    for (var part = 0u; part < 4u; part++) {
        let t = at.y * TILE + token + part;
        if t >= params.n_tokens || column >= width { continue; }
        let to = t * width + column;
        dx[to] = select(sums[part], dx[to] + sums[part], params.add == 1u);
    }
}
