// R from its free parameters, as torch's Householder map makes it (pyreft's rotate_layer):
//
//     R = B·Q(X)      Q(X) = H₀·H₁ … H_{R−1} restricted to R columns, column j times int(X[j, j])
//     H_k = I − τ_k·v_k·v_kᵀ      v_k = (0 … 0, 1, X[k+1 …, k])      τ_k = 2 / |v_k|²
//
// B, the fixed base, is itself a product of M reflections by unit vectors and of signs: B = G₀ … G_{M−1}·diag(signs).
//
//   theta  [n]                 in      X, transposed: [R, D] from x_at on; only what lies right of the diagonal is free
//   base   [I, M + 1, D]       in      for each intervention, the unit vectors of G, then the signs
//   rot    [n]                 in out  R, transposed: [R, D] from r_at on
//
// Grid: a workgroup for each row of R. Lane i owns columns i, i + WG, … throughout.

struct Params { n_embd: u32, n_reflections: u32, base_at: u32, x_at: u32, r_at: u32, rank: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read> base: array<f32>;
@group(0) @binding(3) var<storage, read_write> rot: array<f32>;

const WG = 64u;

// Element d of v_k.
fn reflector(k: u32, d: u32) -> f32 {
    if d <= k { return select(0.0, 1.0, d == k); }
    return theta[params.x_at + k * params.n_embd + d];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = at.x;
    let row = params.r_at + j * params.n_embd;
    let sign_j = trunc(theta[params.x_at + j * params.n_embd + j]);
    for (var d = lane; d < params.n_embd; d += WG) {
        rot[row + d] = select(0.0, sign_j, d == j);
    }
    for (var step = 0u; step < params.rank; step++) {
        let k = params.rank - 1u - step;
        var along = 0.0;
        var square = 0.0;
        for (var d = lane; d < params.n_embd; d += WG) {
            let v = reflector(k, d);
            along += v * rot[row + d];
            square += v * v;
        }
        let sums = reduce_sum2(vec2(along, square), lane);
        let pull = 2.0 * sums.x / sums.y;
        for (var d = lane; d < params.n_embd; d += WG) {
            rot[row + d] -= pull * reflector(k, d);
        }
    }
    let signs = params.base_at + params.n_reflections * params.n_embd;
    for (var d = lane; d < params.n_embd; d += WG) {
        rot[row + d] *= base[signs + d];
    }
    for (var step = 0u; step < params.n_reflections; step++) {
        let g = params.base_at + (params.n_reflections - 1u - step) * params.n_embd;
        var along = 0.0;
        for (var d = lane; d < params.n_embd; d += WG) {
            along += base[g + d] * rot[row + d];
        }
        let pull = 2.0 * reduce_sum(along, lane);
        for (var d = lane; d < params.n_embd; d += WG) {
            rot[row + d] -= pull * base[g + d];
        }
    }
}
