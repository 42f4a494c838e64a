// Rows of h mixed with rows of another run: an interchange, and its kin.
//
//     h ← h + m · ((keep − 1)·h + gain·s)
//
//   edits     [P, 2]  in      row of h
//   strength  [P, 1]  in      m: how much of the edit is made
//   source    [P, D]  in      s; not read where gain is 0
//   h         [T, S]  in out  D columns from column `first` on; all that no edit names keeps its bits
//
// One workgroup per edit.

struct Params { n_embd: u32, stride: u32, first: u32, keep: f32, gain: f32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read> source: array<f32>;
@group(0) @binding(4) var<storage, read_write> h: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let row = edits[line].x * params.stride + params.first;
    let m = strength[line];
    let keep = 1.0 + m * (params.keep - 1.0);
    for (var d = lane; d < params.n_embd; d += WG) {
        var s = 0.0;
        if params.gain != 0.0 { s = source[line * params.n_embd + d]; }
        h[row + d] = keep * h[row + d] + m * params.gain * s;
    }
}
