// Rows scaled by a learned vector, around a bias:
//
//     h ← h + m·(l − 1) ∘ (h − c)
//
//   edits     [P, 2]  in      row of h, and how often it counts in gradients; no row twice
//   strength  [P]     in      m
//   theta     [n]     in      l [D] from l_at on
//   bias      [S]     in      c, in the columns of h; read only if `biased` is 1, else c is 0
//   h         [T, S]  in out  D columns from column `first` on; where m is 0 they keep their bits
//   before    [P, D]  out     the rows as they were; the gradient wants them
//
// One lane for each column; grid: 64 columns, an edit.

struct Params { n_embd: u32, stride: u32, first: u32, l_at: u32, biased: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read> theta: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> h: array<f32>;
@group(0) @binding(6) var<storage, read_write> before: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    if at.x >= params.n_embd { return; }
    let cell = edits[line].x * params.stride + params.first + at.x;
    let was = h[cell];
    var c = 0.0;
    if params.biased == 1u { c = bias[params.first + at.x]; }
    before[line * params.n_embd + at.x] = was;
    h[cell] = was + strength[line] * (theta[params.l_at + at.x] - 1.0) * (was - c);
}
