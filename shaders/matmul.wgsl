// y (+)= x·Wᵀ for many rows of x: tiles of 64 × 64 outputs, each tile of x and W decoded once into workgroup memory.
//
//   x  [T, K]      in
//   y  [T, n_out]  in out  columns first_row … of y come from this slab; added to if `add`, else overwritten
//   W  [n_rows, K]         the slab, quantized
//
// Grid: a workgroup for each 64 rows of W, and 64 rows of x. A lane makes 4 × 4 outputs. Half of the lanes load x, half
// load W: four rows by four inputs each, turned in registers, so that the tiles are read by fours of rows.

struct Params { n_tokens: u32, n_in: u32, n_rows: u32, first_row: u32, n_out: u32, add: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const TILE = 16u; // rows, in fours
const DEPTH = 8u; // inputs held at a time, in fours

var<workgroup> x_tile: array<vec4<f32>, 4u * DEPTH * TILE>; // [4·DEPTH, TILE], fours swapped as `place` says
var<workgroup> w_tile: array<vec4<f32>, 4u * DEPTH * TILE>;

// Where four rows of an input lie. Lanes that store eight neighbouring fours of inputs hit different banks.
fn place(input: u32, four: u32) -> u32 {
    return input * TILE + (four ^ (input / 4u));
}

fn x4(t: u32, i: u32) -> vec4<f32> {
    let width = params.n_in / 4u;
    if t >= params.n_tokens || i >= width { return vec4(0.0); }
    return x[t * width + i];
}

fn w4(row: u32, i: u32) -> vec4<f32> {
    let width = params.n_in / 4u;
    if row >= params.n_rows || i >= width { return vec4(0.0); }
    return weight4(row * width + i);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = params.n_in / 4u;
    let part = lane % DEPTH;
    let four = lane / DEPTH % TILE;
    let x_four = lane / TILE;
    let w_four = lane % TILE;
    var sums: array<vec4<f32>, 4>;
    for (var i = 0u; i < width; i += DEPTH) {
        if lane < 128u {
            let t = 4u * (at.y * TILE + four);
            let rows = mat4x4(x4(t, i + part), x4(t + 1u, i + part), x4(t + 2u, i + part), x4(t + 3u, i + part));
            let inputs = transpose(rows);
            for (var j = 0u; j < 4u; j++) { x_tile[place(4u * part + j, four)] = inputs[j]; }
        } else {
            let row = 4u * (at.x * TILE + four);
            let rows = mat4x4(w4(row, i + part), w4(row + 1u, i + part), w4(row + 2u, i + part), w4(row + 3u, i + part));
            let inputs = transpose(rows);
            for (var j = 0u; j < 4u; j++) { w_tile[place(4u * part + j, four)] = inputs[j]; }
        }
        workgroupBarrier();
        for (var d = 0u; d < 4u * DEPTH; d++) {
            let x4 = x_tile[place(d, x_four)];
            let w4 = w_tile[place(d, w_four)];
            for (var j = 0u; j < 4u; j++) { sums[j] += x4[j] * w4; }
        }
        workgroupBarrier();
    }
    for (var j = 0u; j < 4u; j++) {
        let t = 4u * (at.y * TILE + x_four) + j;
        for (var i = 0u; i < 4u; i++) {
            let row = 4u * (at.x * TILE + w_four) + i;
            if t >= params.n_tokens || row >= params.n_rows { continue; }
            let to = t * params.n_out + params.first_row + row;
            y[to] = select(sums[j][i], y[to] + sums[j][i], params.add == 1u);
        }
    }
}
