// One step of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2), in the order of torch.optim.AdamW:
//
//     m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²        cᵢ = 1 − βᵢᵗ
//     p ← p·(1 − rate·decay) − (rate / c₁) · m / (sqrt(v) / sqrt(c₂) + eps)
//
//   hyper  [8]  in      1 − rate·decay, β₁, 1 − β₁, β₂, 1 − β₂, rate / c₁, sqrt(c₂), eps
//   grad   [n]  in
//   p      [n]  in out  the parameters
//   m      [n]  in out  running mean of g
//   v      [n]  in out  running mean of g²
//
// One lane per parameter. hyper comes from f64: 1 − β₂ in f32 would be off by 5e-5.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> hyper: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> p: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let i = at.x;
    if i >= params.n { return; }
    let g = grad[i];
    let mean = hyper[1] * m[i] + hyper[2] * g;
    let square = hyper[3] * v[i] + hyper[4] * g * g;
    p[i] = p[i] * hyper[0] - hyper[5] * mean / (sqrt(square) / hyper[6] + hyper[7]);
    m[i] = mean;
    v[i] = square;
}
