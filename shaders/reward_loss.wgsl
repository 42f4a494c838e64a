// The loss of a reward model (Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1) on pairs of scores, the chosen one
// first, and in place of the scores their gradient:
//
//     loss = −log σ(s_c − s_r)        ds_c = −share·σ(s_r − s_c)        ds_r = −ds_c
//
//   scores  [B, 1]  in out
//   loss    [B, 2]  out     of each pair, in the place of both its sequences; then whether s_c is the higher score, 1 or 0
//
// One lane per pair.

struct Params { n_pairs: u32, share: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_pairs { return; }
    let chosen = 2u * at.x;
    let margin = scores[chosen] - scores[chosen + 1u];
    let value = vec2(max(-margin, 0.0) + log(1.0 + exp(-abs(margin))), select(0.0, 1.0, margin > 0.0));
    let d = params.share / (1.0 + exp(margin));
    loss[chosen] = value;
    loss[chosen + 1u] = value;
    scores[chosen] = -d;
    scores[chosen + 1u] = d;
}
