// The gradient of attention by its queries, probabilities computed again from lse:
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
// One workgroup per query and head; lanes over keys for ds, then over the head's values. K ≤ 256.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, window: u32, scale: f32, cap: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> span: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> out: array<f32>;
@group(0) @binding(6) var<storage, read> dout: array<f32>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> dq: array<f32>;

const WG = 64u;

var<workgroup> query: array<f32, 256>;
var<workgroup> dresult: array<f32, 256>;
var<workgroup> share: array<f32, WG>;

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
    let start = row * params.head_dim;
    var along = 0.0;
    for (var i = lane; i < params.head_dim; i += WG) {
        query[i] = q[start + i];
        dresult[i] = dout[start + i];
        along += dout[start + i] * out[start + i];
    }
    let delta = reduce_sum(along, lane);
    let lse = stats[row].x;

    let end = span[line].y;
    let first = max(span[line].x, end - min(params.window, end));
    var sums = vec4(0.0); // values lane, lane + 64, lane + 128 and lane + 192 of the head
    for (var tile = first; tile < end; tile += WG) {
        let key = tile + lane;
        var ds = 0.0;
        if key < end {
            let from_key = (key * params.n_head_kv + head_kv) * params.head_dim;
            var s = 0.0;
            var dp = 0.0;
            for (var i = 0u; i < params.head_dim; i++) {
                s += query[i] * k[from_key + i];
                dp += dresult[i] * v[from_key + i];
            }
            s = capped(params.scale * s, params.cap);
            ds = exp(s - lse) * (dp - delta) * cap_slope(s, params.cap);
        }
        share[lane] = ds;
        workgroupBarrier();
        let count = min(WG, end - tile);
        for (var part = 0u; part < 4u; part++) {
            let i = part * WG + lane;
            if i >= params.head_dim { break; }
            for (var j = 0u; j < count; j++) {
                sums[part] += share[j] * k[((tile + j) * params.n_head_kv + head_kv) * params.head_dim + i];
            }
        }
        workgroupBarrier();
    }
    for (var part = 0u; part < 4u; part++) {
        let i = part * WG + lane;
        if i < params.head_dim { dq[start + i] = params.scale * sums[part]; }
    }
    if lane == 0u { stats[row].y = delta; }
}
