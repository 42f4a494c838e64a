// The gradient of attention by its queries as attention_backward_q.wgsl has it, for a CPU that plays GPU: a lane does four
// queries of a head, four keys at a time, in registers, and adds dq up in memory.
//
//     s = capped(scale·q·k)     p = e^(s − lse)     delta = Σ dout ∘ out     ds = p · (dout·v − delta) · slope(s)     dq = scale · Σ ds · k
//
//   q      [T, H·K]   in
//   k      [S, G·K]   in
//   v      [S, G·K]   in
//   span   [T]        in      the run of rows of k and v that a query sees, of which the last `window` count: first, end
//   out    [T, H·K]   in
//   dout   [T, H·K]   in
//   stats  [T, H, 2]  in out  lse; delta, written here for attention_backward_kv
//   dq     [T, H·K]   out
//
// Grid: lanes over heads, then fours of queries. In matrices of scores a column is a query.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, window: u32, scale: f32, cap: f32, n_rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> span: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> dq: array<vec4<f32>>;

const FOUR = vec4(0u, 1u, 2u, 3u);

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

    var delta = vec4<f32>();
    for (var j = 0u; j < count; j++) {
        for (var i = q_at[j]; i < q_at[j] + width; i++) {
            delta[j] += dot(dout[i], out[i]);
            dq[i] = vec4(0.0);
        }
        stats[row[j]].y = delta[j];
    }
    let lse = vec4(stats[row.x].x, stats[row.y].x, stats[row.z].x, stats[row.w].x);
    for (var four = first_key; four < end_key; four += 4u) {
        let key = four + FOUR;
        let kv_at = (min(key, vec4(end_key - 1u)) * params.n_head_kv + head_kv) * width;
        var s = mat4x4<f32>();
        var dp = mat4x4<f32>();
        for (var i = 0u; i < width; i++) {
            let queries = mat4x4(q[q_at.x + i], q[q_at.y + i], q[q_at.z + i], q[q_at.w + i]);
            let douts = mat4x4(dout[q_at.x + i], dout[q_at.y + i], dout[q_at.z + i], dout[q_at.w + i]);
            let keys = mat4x4(k[kv_at.x + i], k[kv_at.y + i], k[kv_at.z + i], k[kv_at.w + i]);
            let values = mat4x4(v[kv_at.x + i], v[kv_at.y + i], v[kv_at.z + i], v[kv_at.w + i]);
            s += transpose(keys) * queries;
            dp += transpose(values) * douts;
        }
        var ds = mat4x4<f32>();
        for (var j = 0u; j < 4u; j++) {
            let seen = (key >= vec4(first[j])) & (key < vec4(end[j]));
            let scores = capped4(params.scale * s[j], params.cap);
            let p = exp(scores - lse[j]);
            ds[j] = select(vec4(0.0), params.scale * p * (dp[j] - delta[j]) * cap_slope4(scores, params.cap), seen);
        }
        for (var i = 0u; i < width; i++) {
            let keys = mat4x4(k[kv_at.x + i], k[kv_at.y + i], k[kv_at.z + i], k[kv_at.w + i]);
            let sums = keys * ds;
            for (var j = 0u; j < 4u; j++) {
                if j < count { dq[q_at[j] + i] += sums[j]; }
            }
        }
    }
}
