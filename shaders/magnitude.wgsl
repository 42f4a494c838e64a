// What scales the rows of W₀ + s·B·A to learned lengths m, and the lengths n that they have:
//
//     n² = ‖W₀‖² + s·Σᵣ P[r]·(2·W₀Aᵀ[r] + s·Σ_q AAᵀ[r, q]·P[q])      g = m / n      P = Bᵀ
//
//   theta  [n]          in      m [D] from m_at on, P [R, D] from p_at on
//   base   [n]          in      ‖W₀‖ [D] from norms_at on
//   wa     [R, n_rows]  in      W₀Aᵀ, D columns from column `first` on
//   aa     [R, R]       in      AAᵀ
//   rot    [n]          in out  g [D] from g_at on, and behind it 1/n [D]; a row of zeros has 0 for both
//
// One lane for each row of W₀.

struct Params {
    n_embd: u32, rank: u32, first: u32, n_rows: u32, m_at: u32, p_at: u32, norms_at: u32, g_at: u32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read> base: array<f32>;
@group(0) @binding(3) var<storage, read> wa: array<f32>;
@group(0) @binding(4) var<storage, read> aa: array<f32>;
@group(0) @binding(5) var<storage, read_write> rot: array<f32>;

fn p(r: u32, d: u32) -> f32 { return theta[params.p_at + r * params.n_embd + d]; }

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let d = at.x;
    if d >= params.n_embd { return; }
    var added = 0.0;
    for (var r = 0u; r < params.rank; r++) {
        var pa = 0.0;
        for (var q = 0u; q < params.rank; q++) { pa += p(q, d) * aa[r * params.rank + q]; }
        added += p(r, d) * (2.0 * wa[r * params.n_rows + params.first + d] + params.scale * pa);
    }
    let norm = base[params.norms_at + d];
    let square = norm * norm + params.scale * added;
    var inverse = 0.0;
    if square > 0.0 { inverse = 1.0 / sqrt(square); }
    rot[params.g_at + d] = theta[params.m_at + d] * inverse;
    rot[params.g_at + params.n_embd + d] = inverse;
}
