// The loss of each labelled token, and in place of its logits their gradient.
//
//     loss = log Σ eˡ − l[label]          dl = weight · (softmax(l) − onehot(label)) · slope(l)
//
//   logits  [m, V]  in out  becomes its own gradient, or if it was capped, that of what it was before
//   labels  [M]     in      those of the logits from `first` on
//   weight  [M]     in      likewise; what the token counts for: 1/M in a mean
//   loss    [M, 2]  in out  likewise; in nats, not weighted; then whether no token is likelier, 1 or 0
//
// One workgroup per token.

struct Params { n_vocab: u32, first: u32, cap: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<vec2<f32>>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) token: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = token.y + token.z * groups.y;
    if line >= params.lines { return; }
    let start = line * params.n_vocab;
    let at = params.first + line;
    let label = labels[at];
    let label_logit = logits[start + label];
    let row = highest_and_mass(start, lane);
    let highest = row.x;
    let mass = row.y;
    if lane == 0u { loss[at] = vec2(highest - label_logit + log(mass), select(0.0, 1.0, label_logit >= highest)); }
    let scale = weight[at] / mass;
    for (var i = lane; i < params.n_vocab; i += WG) {
        let p = scale * exp(logits[start + i] - highest);
        logits[start + i] = select(p, p - weight[at], i == label) * cap_slope(logits[start + i], params.cap);
    }
}
