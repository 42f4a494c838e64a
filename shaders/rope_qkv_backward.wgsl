// The gradient of rope_qkv: turns dq and dk back and joins dq, dk and dv.
//
//   dq     [T, H·K]               in
//   dk     [S, G·K]               in   rows as `place` names them
//   dv     [S, G·K]               in   likewise
//   table  [positions, n_rot/2]   in   cos and sin of each pair's angle
//   place  [T]                    in   position, and row of k and v
//   dqkv   [T, (H + 2G)·K]        out
//
// Pairs as in rope_qkv. One workgroup per token, lanes over pairs of values.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, n_rot: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dq: array<f32>;
@group(0) @binding(2) var<storage, read> dk: array<f32>;
@group(0) @binding(3) var<storage, read> dv: array<f32>;
@group(0) @binding(4) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> place: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<f32>;

fn turned_back(value: vec2<f32>, position: u32, pair: u32) -> vec2<f32> {
    let rotated = params.n_rot / 2u;
    if pair >= rotated { return value; }
    let angle = table[position * rotated + pair];
    return vec2(value.x * angle.x + value.y * angle.y, value.y * angle.x - value.x * angle.y);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) token: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = token.y + token.z * groups.y;
    if line >= params.lines { return; }
    let t = line;
    let pairs = params.head_dim / 2u;
    let q_width = params.n_head * params.head_dim;
    let kv_width = params.n_head_kv * params.head_dim;
    let start = t * (q_width + 2u * kv_width);
    let position = place[t].x;
    let row = place[t].y * kv_width;
    for (var i = lane; i < (params.n_head + 2u * params.n_head_kv) * pairs; i += 64u) {
        let head = i / pairs;
        let pair = i % pairs;
        let at = pair_at(pair);
        var value = vec2<f32>();
        if head < params.n_head {
            let from_q = t * q_width + head * params.head_dim;
            value = turned_back(vec2(dq[from_q + at.x], dq[from_q + at.y]), position, pair);
        } else if head < params.n_head + params.n_head_kv {
            let from_k = row + (head - params.n_head) * params.head_dim;
            value = turned_back(vec2(dk[from_k + at.x], dk[from_k + at.y]), position, pair);
        } else {
            let from_v = row + (head - params.n_head - params.n_head_kv) * params.head_dim;
            value = vec2(dv[from_v + at.x], dv[from_v + at.y]);
        }
        let to = start + head * params.head_dim;
        dqkv[to + at.x] = value.x;
        dqkv[to + at.y] = value.y;
    }
}
