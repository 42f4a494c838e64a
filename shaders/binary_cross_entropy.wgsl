// The loss of scores each of which says whether its class holds, and in place of the scores their gradient (torch's
// BCEWithLogitsLoss):
//
//     loss = Σ (max(s, 0) − s·t + log(1 + e⁻|ˢ|)) / N        ds = weight·(σ(s) − t) / N
//
//   scores   [B, N]  in out
//   targets  [B, N]  in      1 where the class holds, else 0
//   weight   [B]     in      what each row counts for: 1/B in a mean
//   loss     [B, 2]  out     not weighted; then whether the scores above 0 are those of the classes that hold, 1 or 0
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
    var right = 1.0;
    for (var j = 0u; j < params.n_out; j++) {
        let i = at.x * params.n_out + j;
        let score = scores[i];
        sum += max(score, 0.0) - score * targets[i] + log(1.0 + exp(-abs(score)));
        if (score > 0.0) != (targets[i] > 0.5) { right = 0.0; }
        scores[i] = weight[at.x] * (1.0 / (1.0 + exp(-score)) - targets[i]) / f32(params.n_out);
    }
    loss[at.x] = vec2(sum / f32(params.n_out), right);
}
