// The gradient of top_mean by the latents, with that of the penalty λ/P_s · Σ a over the latents that are not among the top:
//
//     dm = Σ strength · du/masked        dlatent = share·dm, or λ/P_s where a > 0 and share = 0
//
// P_s is how many edits the sequence has. Where masked is 0, all latents are.
//
//   spans     [B, 2]  in   first and end of each sequence's edits
//   latent    [P]     in   a
//   strength  [P]     in
//   masked    [P]     in   as top_mean made it
//   share     [P]     in   likewise
//   dtrace    [P, 2]  in   du second, from lowrank_edit_backward
//   theta     [n]     in   λ at penalty_at
//   dlatent   [P]     out
//
// One workgroup per sequence.

struct Params { penalty_at: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> latent: array<f32>;
@group(0) @binding(3) var<storage, read> strength: array<f32>;
@group(0) @binding(4) var<storage, read> masked: array<f32>;
@group(0) @binding(5) var<storage, read> share: array<f32>;
@group(0) @binding(6) var<storage, read> dtrace: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read> theta: array<f32>;
@group(0) @binding(8) var<storage, read_write> dlatent: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let span = spans[line];
    var sum = 0.0;
    for (var i = span.x + lane; i < span.y; i += WG) {
        if masked[i] != 0.0 { sum += strength[i] * (dtrace[i].y / masked[i]); }
    }
    let dm = reduce_sum(sum, lane);
    let penalty = theta[params.penalty_at] / f32(max(span.y - span.x, 1u));
    for (var i = span.x + lane; i < span.y; i += WG) {
        let rest = select(0.0, penalty, latent[i] > 0.0);
        dlatent[i] = select(rest, share[i] * dm, share[i] > 0.0);
    }
}
