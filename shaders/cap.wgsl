// l = cap · tanh(l / cap), in place.
//
//   logits  [M, V]  in out
//
// One lane per value; the grid's second dimension is the row.

struct Params { n_vocab: u32, cap: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    if at.x >= params.n_vocab { return; }
    let i = line * params.n_vocab + at.x;
    logits[i] = capped(logits[i], params.cap);
}
