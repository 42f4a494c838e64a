// The gradient of attention by its keys and values as attention_backward_kv.wgsl has it, for a CPU that plays GPU: a lane
// does four keys of a head, four queries at a time, in registers, and adds dk and dv up in memory.
//
//     s = capped(scale·q·k)     p = e^(s − lse)     ds = p · (dout·v − delta) · slope(s)     dk = scale · Σ ds · q     dv = Σ p · dout
//
// the sums being over the queries that see the key, and over the query heads that share it.
//
//   q      [T, H·K]   in
//   k      [S, G·K]   in
//   v      [S, G·K]   in
//   reach  [S]        in      the run of queries that see a key, of which the first `window` count: first, end
//   dout   [T, H·K]   in
//   stats  [T, H, 2]  in      lse, delta
//   dk     [S, G·K]   out
//   dv     [S, G·K]   out
//
// Grid: lanes over fours of keys, then heads of keys. In matrices of scores a column is a key.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, window: u32, scale: f32, cap: f32, n_rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> reach: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<f32>>;

const FOUR = vec4(0u, 1u, 2u, 3u);

@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if 4u * at.x >= params.n_rows { return; }
    let width = params.head_dim / 4u;
    let group = params.n_head / params.n_head_kv;
    let count = min(4u, params.n_rows - 4u * at.x);
    let key = min(4u * at.x + FOUR, vec4(params.n_rows - 1u));
    let kv_at = (key * params.n_head_kv + at.y) * width;
    let first = vec4(reach[key.x].x, reach[key.y].x, reach[key.z].x, reach[key.w].x);
    let end = first + min(vec4(params.window), vec4(reach[key.x].y, reach[key.y].y, reach[key.z].y, reach[key.w].y) - first);
    let first_query = min(min(first.x, first.y), min(first.z, first.w));
    let end_query = max(max(end.x, end.y), max(end.z, end.w));

    for (var j = 0u; j < count; j++) {
        for (var i = kv_at[j]; i < kv_at[j] + width; i++) {
            dk[i] = vec4(0.0);
            dv[i] = vec4(0.0);
        }
    }
    for (var head = at.y * group; head < (at.y + 1u) * group; head++) {
        for (var four = first_query; four < end_query; four += 4u) {
            let t = four + FOUR;
            let row = min(t, vec4(end_query - 1u)) * params.n_head + head;
            let q_at = row * width;
            var s = mat4x4<f32>();
            var dp = mat4x4<f32>();
            for (var i = 0u; i < width; i++) {
                let queries = mat4x4(q[q_at.x + i], q[q_at.y + i], q[q_at.z + i], q[q_at.w + i]);
                let douts = mat4x4(dout[q_at.x + i], dout[q_at.y + i], dout[q_at.z + i], dout[q_at.w + i]);
                let keys = mat4x4(k[kv_at.x + i], k[kv_at.y + i], k[kv_at.z + i], k[kv_at.w + i]);
                let values = mat4x4(v[kv_at.x + i], v[kv_at.y + i], v[kv_at.z + i], v[kv_at.w + i]);
                s += transpose(queries) * keys;
                dp += transpose(douts) * values;
            }
            let lse = vec4(stats[row.x].x, stats[row.y].x, stats[row.z].x, stats[row.w].x);
            let delta = vec4(stats[row.x].y, stats[row.y].y, stats[row.z].y, stats[row.w].y);
            var p = mat4x4<f32>();
            var ds = mat4x4<f32>();
            for (var j = 0u; j < 4u; j++) {
                let sees = (t >= vec4(first[j])) & (t < vec4(end[j]));
                let scores = capped4(params.scale * s[j], params.cap);
                p[j] = select(vec4(0.0), exp(scores - lse), sees);
                ds[j] = select(vec4(0.0), params.scale * p[j] * (dp[j] - delta) * cap_slope4(scores, params.cap), sees);
            }
            for (var i = 0u; i < width; i++) {
                let queries = mat4x4(q[q_at.x + i], q[q_at.y + i], q[q_at.z + i], q[q_at.w + i]);
                let douts = mat4x4(dout[q_at.x + i], dout[q_at.y + i], dout[q_at.z + i], dout[q_at.w + i]);
                let dk_sums = queries * ds;
                let dv_sums = douts * p;
                for (var j = 0u; j < 4u; j++) {
                    if j >= count { break; }
                    dk[kv_at[j] + i] += dk_sums[j];
                    dv[kv_at[j] + i] += dv_sums[j];
                }
            }
        }
    }
}
