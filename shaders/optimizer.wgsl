// One step of an optimizer over all trained parameters; g is the gradient times the factor that clips it.
//
//     AdamW  m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²        cᵢ = 1 − βᵢᵗ
//            p ← p·(1 − rate·decay) − (rate / c₁) · m / (sqrt(v) / sqrt(c₂) + eps)
//     Adam   the same with g + decay·p in place of g, and no decay of p
//     SGD    m ← β₁m + g + decay·p (at the first step without β₁m)        p ← p − rate·m
//
// (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; in the order of torch.optim.AdamW, Adam and SGD.)
//
//   hyper         in      see OptimizerSettings in src/kernel/optimizer.rs
//   decays  [n]   in      1 where decay is wanted, else 0: a rotation's fixed parts never decay
//   grad    [n]   in
//   norm          in      the length of the gradient, and the factor
//   p       [n]   in out  the parameters
//   m       [n]   in out  running mean of g
//   v       [n]   in out  running mean of g²
//   before  [n]   out     the parameters as they were
//
// Where the length is infinite or not a number, nothing is written. Its bits say so: a compiler may assume that no float is.
//
// One lane per parameter. hyper comes from f64: 1 − β₂ in f32 would be off by 5e-5.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> hyper: Hyper;
@group(0) @binding(2) var<storage, read> decays: array<f32>;
@group(0) @binding(3) var<storage, read> grad: array<f32>;
@group(0) @binding(4) var<storage, read> norm: Norm;
@group(0) @binding(5) var<storage, read_write> p: array<f32>;
@group(0) @binding(6) var<storage, read_write> m: array<f32>;
@group(0) @binding(7) var<storage, read_write> v: array<f32>;
@group(0) @binding(8) var<storage, read_write> before: array<f32>;

const EXPONENT = 0x7f800000u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    if i >= params.n || (bitcast<u32>(norm.length) & EXPONENT) == EXPONENT { return; }
    before[i] = p[i];
    let g = norm.factor * grad[i] + hyper.gradient_decay * decays[i] * p[i];
    let mean = hyper.beta1 * m[i] + hyper.mean_share * g;
    m[i] = mean;
    if hyper.is_sgd == 1u {
        p[i] -= hyper.rate * mean;
        return;
    }
    let square = hyper.beta2 * v[i] + hyper.square_share * g * g;
    let kept = select(1.0, hyper.param_scale, decays[i] > 0.0);
    p[i] = p[i] * kept - hyper.step_size * mean / (sqrt(square) / hyper.square_correction + hyper.eps);
    v[i] = square;
}
