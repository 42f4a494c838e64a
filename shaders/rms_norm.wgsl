// y = w ∘ x / sqrt(mean(x²) + eps), row by row.
//
//   x  [T, D]  in
//   w  [D]     in
//   y  [T, D]  out
//
// One workgroup per row.

struct Params { n_embd: u32, eps: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_embd / 4u;
    let start = line * width;
    var squares = 0.0;
    for (var i = lane; i < width; i += WG) {
        squares += dot(x[start + i], x[start + i]);
    }
    let rstd = inverseSqrt(reduce_sum(squares, lane) / f32(params.n_embd) + params.eps);
    for (var i = lane; i < width; i += WG) {
        y[start + i] = w[i] * x[start + i] * rstd;
    }
}
