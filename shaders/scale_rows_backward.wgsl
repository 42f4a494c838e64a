// The gradients of `scale_rows`:
//
//     dl = Σ count · m · (before − c) ∘ dh      dh ← count · dh ∘ (1 + m·(l − 1))
//
//   edits     [P, 2]  in      row of h, and how often it counts
//   strength  [P]     in      m
//   theta     [n]     in      l [D] from l_at on
//   bias      [S]     in      c, in the columns of dh; read only if `biased` is 1, else c is 0
//   before    [P, D]  in
//   dh        [T, S]  in out  D columns from column `first` on
//   grad      [n]     in out  dl [D] from l_at on; added to where `onto` is 1
//
// One lane for each column, through all edits.

struct Params { n_edits: u32, n_embd: u32, stride: u32, first: u32, l_at: u32, biased: u32, onto: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> strength: array<f32>;
@group(0) @binding(3) var<storage, read> theta: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> before: array<f32>;
@group(0) @binding(6) var<storage, read_write> dh: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_embd { return; }
    let slot = params.l_at + at.x;
    var c = 0.0;
    if params.biased == 1u { c = bias[params.first + at.x]; }
    var sum = 0.0;
    for (var p = 0u; p < params.n_edits; p++) {
        let cell = edits[p].x * params.stride + params.first + at.x;
        let counted = f32(edits[p].y) * dh[cell];
        sum += strength[p] * (before[p * params.n_embd + at.x] - c) * counted;
        dh[cell] = counted * (1.0 + strength[p] * (theta[slot] - 1.0));
    }
    grad[slot] = sum + select(0.0, grad[slot], params.onto == 1u);
}
