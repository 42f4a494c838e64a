// dx (+)= dy·W: the gradient of y = x·Wᵀ, from the same blocks of W, read along their rows.
//
//   dy  [T, n_out]  in      columns first_row … of dy belong to this slab
//   dx  [T, K]      in out  added to if `add`, else overwritten
//   W   [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each 64 columns of W, and 64 rows of dy. A lane makes 4 × 4 values of dx. Half of the lanes load
// dy, four tokens by four rows of W each, turned in registers; half load W.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

const TILE = 16u;  // tokens and columns, in fours
const DEPTH = 32u; // rows of W held at a time

var<workgroup> dy_tile: array<vec4<f32>, DEPTH * TILE>; // [DEPTH, TILE], fours swapped as `place` says
var<workgroup> w_tile: array<vec4<f32>, DEPTH * TILE>;  // [DEPTH, TILE]

// Where four tokens of a row lie. Lanes that store eight neighbouring fours of rows hit different banks.
fn place(row: u32, four: u32) -> u32 {
    return row * TILE + (four ^ (row / 4u));
}

// The gradient of one output.
fn dy1(t: u32, row: u32) -> f32 {
    if t >= params.n_tokens || row >= params.n_rows { return 0.0; }
    return dy[t * params.n_out + params.first_row + row];
}

// The gradients of one output, of four tokens.
fn dy4(t: u32, row: u32) -> vec4<f32> {
    return vec4(dy1(t, row), dy1(t + 1u, row), dy1(t + 2u, row), dy1(t + 3u, row));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = params.n_in / 4u;
    let dy_four = lane / TILE;
    let w_four = lane % TILE;
    let column = at.x * TILE + w_four;
    var sums: array<vec4<f32>, 4>;
    for (var depth = 0u; depth < params.n_rows; depth += DEPTH) {
        if lane < 128u {
            let row = 4u * (lane % 8u);
            let four = lane / 8u;
            let t = 4u * (at.y * TILE + four);
            for (var j = 0u; j < 4u; j++) { dy_tile[place(row + j, four)] = dy4(t, depth + row + j); }
        } else {
            for (var row = dy_four - 8u; row < DEPTH; row += 8u) {
                var w = vec4(0.0);
                if depth + row < params.n_rows && column < width { w = weight4((depth + row) * width + column); }
                w_tile[row * TILE + w_four] = w;
            }
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let d4 = dy_tile[place(d, dy_four)];
            let w = w_tile[d * TILE + w_four];
            for (var j = 0u; j < 4u; j++) { sums[j] += d4[j] * w; }
        }
        workgroupBarrier();
    }
    for (var j = 0u; j < 4u; j++) {
        let t = 4u * (at.y * TILE + dy_four) + j;
        if t >= params.n_tokens || column >= width { continue; }
        let to = t * width + column;
        dx[to] = select(sums[j], dx[to] + sums[j], params.add == 1u);
    }
}
