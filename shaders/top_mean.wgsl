// The mean of the strongest latents of each sequence, which becomes the strength of its edits (ReFT-r1, arXiv:2501.17148):
//
//     m = Σ top-k a / k        masked = strength · m/b        share = 1/k where a is among the top k and above 0, else 0
//
// A sequence of fewer than k edits has them all among its top. The edit multiplies by b again.
//
//   spans     [B, 2]  in   first and end of each sequence's edits
//   latent    [P]     in   a
//   strength  [P]     in
//   theta     [n]     in   b at b_at
//   masked    [P]     out
//   share     [P]     out
//
// One workgroup per sequence. Of equal latents the first counts.

struct Params { k: u32, b_at: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> latent: array<f32>;
@group(0) @binding(3) var<storage, read> strength: array<f32>;
@group(0) @binding(4) var<storage, read> theta: array<f32>;
@group(0) @binding(5) var<storage, read_write> masked: array<f32>;
@group(0) @binding(6) var<storage, read_write> share: array<f32>;

const WG = 64u;

// How many latents of the sequence come before that of edit `i`.
fn rank_of(i: u32, span: vec2<u32>) -> u32 {
    let a = latent[i];
    var rank = 0u;
    for (var j = span.x; j < span.y; j++) {
        if latent[j] > a || (latent[j] == a && j < i) { rank++; }
    }
    return rank;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let span = spans[line];
    let each = 1.0 / f32(max(min(params.k, span.y - span.x), 1u));
    var sum = 0.0;
    for (var i = span.x + lane; i < span.y; i += WG) {
        let is_top = latent[i] > 0.0 && rank_of(i, span) < params.k;
        share[i] = select(0.0, each, is_top);
        sum += share[i] * latent[i];
    }
    let mean = reduce_sum(sum, lane);
    for (var i = span.x + lane; i < span.y; i += WG) {
        masked[i] = strength[i] * mean / theta[params.b_at];
    }
}
