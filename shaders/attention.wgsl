// Attention of each query over a run of keys, without ever holding a row of scores: running maximum and mass
// (FlashAttention, Dao et al. 2022, arXiv:2205.14135).
//
//     s = capped(scale · q·k)        out = Σ e^(s − lse) v        lse = log Σ eˢ
//
//   q      [T, H·K]   in
//   k      [S, G·K]   in
//   v      [S, G·K]   in
//   span   [T]        in   the run of rows of k and v that a query sees, of which the last `window` count: first, end
//   out    [T, H·K]   out
//   stats  [T, H, 2]  out  lse; the second is left for attention_backward_q
//
// One workgroup per query and head; lanes over keys for scores, then over the head's values. K ≤ 256.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, window: u32, scale: f32, cap: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> span: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;

const WG = 64u;
const LOWEST = -3.4e38;

var<workgroup> query: array<vec4<f32>, 64>;
var<workgroup> share: array<f32, WG>;

fn score(key: u32, head_kv: u32) -> f32 {
    let width = params.head_dim / 4u;
    let start = (key * params.n_head_kv + head_kv) * width;
    var sum = 0.0;
    for (var i = 0u; i < width; i++) {
        sum += dot(query[i], k[start + i]);
    }
    return capped(sum, params.cap);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let head = at.x;
    let head_kv = head / (params.n_head / params.n_head_kv);
    let row = line * params.n_head + head;
    let width = params.head_dim / 4u;
    if lane < width { query[lane] = params.scale * q[row * width + lane]; }
    workgroupBarrier();

    let end = span[line].y;
    let first = max(span[line].x, end - min(params.window, end));
    var highest = LOWEST;
    var mass = 0.0;
    var sums = vec4(0.0); // values lane, lane + 64, lane + 128 and lane + 192 of the head
    for (var tile = first; tile < end; tile += WG) {
        let key = tile + lane;
        var s = LOWEST;
        if key < end { s = score(key, head_kv); }
        let higher = max(highest, reduce_max(s, lane));
        let p = select(0.0, exp(s - higher), key < end);
        share[lane] = p;
        let shrink = exp(highest - higher);
        mass = mass * shrink + reduce_sum(p, lane);
        sums *= shrink;
        highest = higher;
        let count = min(WG, end - tile);
        for (var part = 0u; part < 4u; part++) {
            let i = part * WG + lane;
            if i >= params.head_dim { break; }
            var sum = 0.0;
            for (var j = 0u; j < count; j++) {
                sum += share[j] * v[((tile + j) * params.n_head_kv + head_kv) * params.head_dim + i];
            }
            sums[part] += sum;
        }
        workgroupBarrier();
    }
    for (var part = 0u; part < 4u; part++) {
        let i = part * WG + lane;
        if i < params.head_dim { out[row * params.head_dim + i] = sums[part] / mass; }
    }
    if lane == 0u { stats[row].x = highest + log(mass); }
}
