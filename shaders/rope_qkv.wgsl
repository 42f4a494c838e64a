// Splits q, k and v, turns q and k by their positions (rotary embedding), and puts k and v into their rows of the cache.
//
//     (x0, x1) → (x0·cos − x1·sin, x0·sin + x1·cos)      for each pair of a head's first n_rot values
//
//   qkv    [T, (H + 2G)·K]        in
//   table  [positions, n_rot/2]   in   cos and sin of each pair's angle
//   place  [T]                    in   position, and row of the cache
//   q      [T, H·K]               out
//   k      [S, G·K]               out  only the rows that `place` names
//   v      [S, G·K]               out  likewise
//
// Pairs are (i, i + n_rot/2), as in GPT-NeoX. One workgroup per token, lanes over pairs of values.

struct Params { n_head: u32, n_head_kv: u32, head_dim: u32, n_rot: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> place: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> q: array<f32>;
@group(0) @binding(5) var<storage, read_write> k: array<f32>;
@group(0) @binding(6) var<storage, read_write> v: array<f32>;

fn turned(value: vec2<f32>, position: u32, pair: u32) -> vec2<f32> {
    let rotated = params.n_rot / 2u;
    if pair >= rotated { return value; }
    let angle = table[position * rotated + pair];
    return vec2(value.x * angle.x - value.y * angle.y, value.x * angle.y + value.y * angle.x);
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
        let from_q = start + head * params.head_dim;
        let value = vec2(qkv[from_q + at.x], qkv[from_q + at.y]);
        if head < params.n_head {
            let to = t * q_width + head * params.head_dim;
            let out = turned(value, position, pair);
            q[to + at.x] = out.x;
            q[to + at.y] = out.y;
        } else if head < params.n_head + params.n_head_kv {
            let to = row + (head - params.n_head) * params.head_dim;
            let out = turned(value, position, pair);
            k[to + at.x] = out.x;
            k[to + at.y] = out.y;
        } else {
            let to = row + (head - params.n_head - params.n_head_kv) * params.head_dim;
            v[to + at.x] = value.x;
            v[to + at.y] = value.y;
        }
    }
}
