// Rows scaled by a learned vector:
//
//     h ← h ∘ (1 + m·(l − 1))
//
//   edits     [P, 2]  in      row of h, and how often it counts in gradients; no row twice
//   strength  [P]     in      m
//   theta     [n]     in      l [D] from l_at on
//   h         [T, S]  in out  D columns from column `first` on; where m is 0 they keep their bits
//   before    [P, D]  out     the rows as they were; the gradient wants them
//
// One lane for each column; grid: 64 columns, an edit.

struct Params { n_embd: u32, stride: u32, first: u32, l_at: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read> theta: array<f32>;
@group(0) @binding(4) var<storage, read_write> h: array<f32>;
@group(0) @binding(5) var<storage, read_write> before: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_embd { return; }
    let cell = edits[at.y].x * params.stride + params.first + at.x;
    before[at.y * params.n_embd + at.x] = h[cell];
    h[cell] *= 1.0 + strength[at.y] * (theta[params.l_at + at.x] - 1.0);
}
