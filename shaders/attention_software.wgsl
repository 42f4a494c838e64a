// Attention as attention.wgsl has it, for a CPU that plays GPU: a lane does four queries of a head, four keys at a time, in
// registers, and adds its output up in memory.
//
//     s = capped(scale · q·k)        out = Σ e^(s − lse) v        lse = log Σ eˢ
//
//   q      [T, H·K]   in
//   k      [S, G·K]   in
//   v      [S, G·K]   in
//   span   [T]        in      the run of rows of k and v that a query sees, of which the last `window` count: first, end
//   out    [T, H·K]   out
//   stats  [T, H, 2]  out     lse; the second is left for attention_backward_q
//
// Grid: lanes over heads, then fours of queries. In matrices of scores a column is a query.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, window: u32, scale: f32, cap: f32, n_rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> span: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;

const FOUR = vec4(0u, 1u, 2u, 3u);
const LOWEST = -3.4e38;

@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let head = at.x;
    if head >= params.n_head { return; }
    let head_kv = head / (params.n_head / params.n_head_kv);
    let width = params.head_dim / 4u;
    let count = min(4u, params.n_rows - 4u * at.y);
    let t = min(4u * at.y + FOUR, vec4(params.n_rows - 1u));
    let row = t * params.n_head + head;
    let q_at = row * width;
    let end = vec4(span[t.x].y, span[t.y].y, span[t.z].y, span[t.w].y);
    let first = max(vec4(span[t.x].x, span[t.y].x, span[t.z].x, span[t.w].x), end - min(vec4(params.window), end));
    let first_key = min(min(first.x, first.y), min(first.z, first.w));
    let end_key = max(max(end.x, end.y), max(end.z, end.w));

    for (var i = 0u; i < width; i++) {
        for (var j = 0u; j < count; j++) { out[q_at[j] + i] = vec4(0.0); }
    }
    var highest = vec4(LOWEST);
    var mass = vec4(0.0);
    for (var four = first_key; four < end_key; four += 4u) {
        let key = four + FOUR;
        let kv_at = (min(key, vec4(end_key - 1u)) * params.n_head_kv + head_kv) * width;
        var s = mat4x4<f32>();
        for (var i = 0u; i < width; i++) {
            let queries = mat4x4(q[q_at.x + i], q[q_at.y + i], q[q_at.z + i], q[q_at.w + i]);
            let keys = mat4x4(k[kv_at.x + i], k[kv_at.y + i], k[kv_at.z + i], k[kv_at.w + i]);
            s += transpose(keys) * queries;
        }
        var p = mat4x4<f32>();
        var shrink = vec4<f32>();
        for (var j = 0u; j < 4u; j++) {
            let seen = (key >= vec4(first[j])) & (key < vec4(end[j]));
            let scores = select(vec4(LOWEST), capped4(params.scale * s[j], params.cap), seen);
            let higher = max(highest[j], max(max(scores.x, scores.y), max(scores.z, scores.w)));
            p[j] = select(vec4(0.0), exp(scores - higher), seen);
            shrink[j] = exp(highest[j] - higher);
            mass[j] = mass[j] * shrink[j] + dot(p[j], vec4(1.0));
            highest[j] = higher;
        }
        for (var i = 0u; i < width; i++) {
            let values = mat4x4(v[kv_at.x + i], v[kv_at.y + i], v[kv_at.z + i], v[kv_at.w + i]);
            let sums = values * p;
            for (var j = 0u; j < 4u; j++) {
                if j < count { out[q_at[j] + i] = out[q_at[j] + i] * shrink[j] + sums[j]; }
            }
        }
    }
    for (var j = 0u; j < count; j++) {
        for (var i = 0u; i < width; i++) { out[q_at[j] + i] /= mass[j]; }
        stats[row[j]].x = highest[j] + log(mass[j]);
    }
}
