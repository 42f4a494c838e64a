// y (+)= x·Wᵀ for up to four rows of x, each weight read once for all: a workgroup makes four outputs of each row.
//
//   x  [T, K]      in
//   y  [T, n_out]  in out  columns first_row … of y come from this slab; added to if `add`, else overwritten
//   W  [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each four rows of W, LINE of them to a line. Lanes lie along the input, each on eight values that share a word in 4-bit
// formats: four in the first half of a block and four in its second.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WG = 64u;
const TOKENS = 4u;
const LINE = 32768u;

var<workgroup> partial: array<array<vec4<f32>, WG>, TOKENS>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = params.n_in / 4u;
    let row = 4u * (at.y * LINE + at.x);
    let w_at = min(vec4(row, row + 1u, row + 2u, row + 3u), vec4(params.n_rows - 1u)) * width;
    var sums: array<vec4<f32>, TOKENS>; // of four outputs each
    for (var i = lane; i < 4u * ((width + 7u) / 8u); i += WG) {
        let near = 8u * (i / 4u) + i % 4u;
        let far = near + 4u;
        if near >= width { continue; }
        let a = weight8(w_at.x + near);
        let b = weight8(w_at.y + near);
        let c = weight8(w_at.z + near);
        let d = weight8(w_at.w + near);
        for (var t = 0u; t < TOKENS; t++) {
            if t >= params.n_tokens { break; }
            sums[t] += x[t * width + near] * mat4x4(a[0], b[0], c[0], d[0]);
            if far < width { sums[t] += x[t * width + far] * mat4x4(a[1], b[1], c[1], d[1]); }
        }
    }
    for (var t = 0u; t < TOKENS; t++) { partial[t][lane] = sums[t]; }
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half >>= 1u) {
        if lane < half {
            for (var t = 0u; t < TOKENS; t++) { partial[t][lane] += partial[t][lane + half]; }
        }
        workgroupBarrier();
    }
    let t = lane / 4u;
    let out = row + lane % 4u;
    if t < params.n_tokens && out < params.n_rows {
        let to = t * params.n_out + params.first_row + out;
        let sum = partial[t][0][lane % 4u];
        y[to] = select(sum, y[to] + sum, params.add == 1u);
    }
}
