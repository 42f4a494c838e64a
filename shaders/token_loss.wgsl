// The loss of each labelled token, as cross_entropy has it, and nothing else: log Σ eˡ − l[label].
//
//   logits  [m, V]  in
//   labels  [M]     in   those of the logits from `first` on
//   loss    [M, 2]  out  likewise, in nats; then whether no token is likelier, 1 or 0
//
// One workgroup per token.

struct Params { n_vocab: u32, first: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<vec2<f32>>;

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
    let label_logit = logits[start + labels[at]];
    let row = highest_and_mass(start, lane);
    if lane == 0u { loss[at] = vec2(row.x - label_logit + log(row.y), select(0.0, 1.0, label_logit >= row.x)); }
}
