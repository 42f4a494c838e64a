// The gradient of attention by its keys and values, probabilities computed again from lse:
//
//     s = capped(scale·q·k)     p = e^(s − lse)     ds = p · (dout·v − delta) · slope(s)     dk = scale · Σ ds · q     dv = Σ p · dout
//
// the sums being over the queries that see the key, and over the query heads that share it: no atomics.
//
//   q      [T, H·K]   in
//   k      [S, G·K]   in
//   v      [S, G·K]   in
//   reach  [S]        in   the run of queries that see a key, of which the first `window` count: first, end
//   dout   [T, H·K]   in
//   stats  [T, H, 2]  in   lse, delta
//   dk     [S, G·K]   out
//   dv     [S, G·K]   out
//
// One workgroup per key and head of keys; lanes over queries for p and ds, then over the head's values. K ≤ 256.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, window: u32, scale: f32, cap: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> reach: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> dout: array<f32>;
@group(0) @binding(6) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> dk: array<f32>;
@group(0) @binding(8) var<storage, read_write> dv: array<f32>;

const WG = 64u;

var<workgroup> key: array<f32, 256>;
var<workgroup> value: array<f32, 256>;
var<workgroup> share: array<vec2<f32>, WG>; // p and ds

fn p_and_ds(query: u32) -> vec2<f32> {
    var s = 0.0;
    var dp = 0.0;
    for (var i = 0u; i < params.head_dim; i++) {
        s += q[query * params.head_dim + i] * key[i];
        dp += dout[query * params.head_dim + i] * value[i];
    }
    s = capped(params.scale * s, params.cap);
    let p = exp(s - stats[query].x);
    return vec2(p, p * (dp - stats[query].y) * cap_slope(s, params.cap));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let head_kv = at.x;
    let start = (line * params.n_head_kv + head_kv) * params.head_dim;
    for (var i = lane; i < params.head_dim; i += WG) {
        key[i] = k[start + i];
        value[i] = v[start + i];
    }
    workgroupBarrier();

    let first = reach[line].x;
    let end = first + min(params.window, reach[line].y - first);
    let group = params.n_head / params.n_head_kv;
    var dk_sums = vec4(0.0); // values lane, lane + 64, lane + 128 and lane + 192 of the head
    var dv_sums = vec4(0.0);
    for (var head = head_kv * group; head < (head_kv + 1u) * group; head++) {
        for (var tile = first; tile < end; tile += WG) {
            share[lane] = vec2(0.0);
            if tile + lane < end { share[lane] = p_and_ds((tile + lane) * params.n_head + head); }
            workgroupBarrier();
            let count = min(WG, end - tile);
            for (var part = 0u; part < 4u; part++) {
                let i = part * WG + lane;
                if i >= params.head_dim { break; }
                for (var j = 0u; j < count; j++) {
                    let from_query = ((tile + j) * params.n_head + head) * params.head_dim + i;
                    dv_sums[part] += share[j].x * dout[from_query];
                    dk_sums[part] += share[j].y * q[from_query];
                }
            }
            workgroupBarrier();
        }
    }
    for (var part = 0u; part < 4u; part++) {
        let i = part * WG + lane;
        if i < params.head_dim {
            dk[start + i] = params.scale * dk_sums[part];
            dv[start + i] = dv_sums[part];
        }
    }
}
