// The mean squared error of scores, and in place of the scores their gradient: loss = Σ (s − t)² / N, ds = 2·weight·(s − t) / N
//
//   scores   [B, N]  in out
//   targets  [B, N]  in
//   weight   [B]     in      what each row counts for: 1/B in a mean
//   loss     [B, 2]  out     not weighted; then 0, for numbers are not right or wrong
//
// One lane per row.

struct Params { n_rows: u32, n_out: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_rows { return; }
    var sum = 0.0;
    for (var j = 0u; j < params.n_out; j++) {
        let i = at.x * params.n_out + j;
        let off = scores[i] - targets[i];
        sum += off * off;
        scores[i] = 2.0 * weight[at.x] * off / f32(params.n_out);
    }
    loss[at.x] = vec2(sum / f32(params.n_out), 0.0);
}
