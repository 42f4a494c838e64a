// The gradient of rotation by its free parameters. For column j of Q let z₀ = H₀ … H_{R−1}·e_j and g₀ = int(X[j, j])·(Bᵀ·dR)_j;
// a reflection is its own inverse, so the vectors between the reflections come back one by one:
//
//     z ← H_k·z       dv_k += −τ·((v·g)·z + (v·z)·g) + τ²·(v·g)·(v·z)·v       g ← H_k·g         for k = 0 … R − 1
//
// With span_only, what of g₀ lies in the span of Q's columns is removed first; why that is nothing, rotation_backward in
// src/kernel/rotation.rs says.
//
//   theta  [n]            in      X, transposed: [R, D] from x_at on
//   base   [I, M + 1, D]  in      the unit vectors of G, then the signs
//   drot   [n]            in      dR, transposed: [R, D] from r_at on
//   grad   [n]            in out  dX [R, D] from x_at on; 0 where X is not free
//   work   [2, D]         out     z and g
//
// One workgroup, column of Q by column; column 0 overwrites dX. Lane i owns columns i, i + WG, … of z, g and dX throughout.

struct Params { n_embd: u32, n_reflections: u32, base_at: u32, x_at: u32, r_at: u32, rank: u32, span_only: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read> base: array<f32>;
@group(0) @binding(3) var<storage, read> drot: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;
@group(0) @binding(5) var<storage, read_write> work: array<f32>;

const WG = 64u;

// Element d of v_k.
fn reflector(k: u32, d: u32) -> f32 {
    if d <= k { return select(0.0, 1.0, d == k); }
    return theta[params.x_at + k * params.n_embd + d];
}

// y ← H_k·y, for y = work[at …]
fn reflect(at: u32, k: u32, lane: u32) {
    var along = 0.0;
    var square = 0.0;
    for (var d = lane; d < params.n_embd; d += WG) {
        let v = reflector(k, d);
        along += v * work[at + d];
        square += v * v;
    }
    let sums = reduce_sum2(vec2(along, square), lane);
    let pull = 2.0 * sums.x / sums.y;
    for (var d = lane; d < params.n_embd; d += WG) {
        work[at + d] -= pull * reflector(k, d);
    }
}

// z ← H_{0} … H_{R−1}·e_j
fn last_to_first(j: u32, lane: u32) {
    for (var d = lane; d < params.n_embd; d += WG) {
        work[d] = select(0.0, 1.0, d == j);
    }
    for (var step = 0u; step < params.rank; step++) {
        reflect(0u, params.rank - 1u - step, lane);
    }
}

// g ← int(X[j, j]) · Bᵀ·dR_j
fn through_base(j: u32, lane: u32) {
    let g_at = params.n_embd;
    let sign_j = trunc(theta[params.x_at + j * params.n_embd + j]);
    for (var d = lane; d < params.n_embd; d += WG) {
        work[g_at + d] = sign_j * drot[params.r_at + j * params.n_embd + d];
    }
    for (var m = 0u; m < params.n_reflections; m++) {
        let from_m = params.base_at + m * params.n_embd;
        var along = 0.0;
        for (var d = lane; d < params.n_embd; d += WG) {
            along += base[from_m + d] * work[g_at + d];
        }
        let pull = 2.0 * reduce_sum(along, lane);
        for (var d = lane; d < params.n_embd; d += WG) {
            work[g_at + d] -= pull * base[from_m + d];
        }
    }
    let signs = params.base_at + params.n_reflections * params.n_embd;
    for (var d = lane; d < params.n_embd; d += WG) {
        work[g_at + d] *= base[signs + d];
    }
}

// Removes from g the first R elements of H_{R−1} … H₀·g: what lies in the span of Q's columns.
fn leave_span(lane: u32) {
    let g_at = params.n_embd;
    for (var k = 0u; k < params.rank; k++) {
        reflect(g_at, k, lane);
    }
    for (var d = lane; d < params.rank; d += WG) {
        work[g_at + d] = 0.0;
    }
    for (var step = 0u; step < params.rank; step++) {
        reflect(g_at, params.rank - 1u - step, lane);
    }
}

// Undoes reflection k of z, adds what column j gives to dX's column k, and takes g through reflection k.
fn past_reflection(j: u32, k: u32, lane: u32) {
    let g_at = params.n_embd;
    var vz = 0.0;
    var vg = 0.0;
    var square = 0.0;
    for (var d = lane; d < params.n_embd; d += WG) {
        let v = reflector(k, d);
        vz += v * work[d];
        vg += v * work[g_at + d];
        square += v * v;
    }
    let sums = reduce_sum4(vec4(square, vz, vg, 0.0), lane);
    let tau = 2.0 / sums.x;
    let z_along = -sums.y; // v·(H·z) = −v·z
    let g_along = sums.z;
    for (var d = lane; d < params.n_embd; d += WG) {
        let v = reflector(k, d);
        let z = work[d] + tau * z_along * v;
        let g = work[g_at + d];
        work[d] = z;
        work[g_at + d] = g - tau * g_along * v;
        let dv = tau * (tau * g_along * z_along * v - g_along * z - z_along * g);
        let to = params.x_at + k * params.n_embd + d;
        let before = select(grad[to], 0.0, j == 0u);
        grad[to] = before + select(0.0, dv, d > k);
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    for (var j = 0u; j < params.rank; j++) {
        last_to_first(j, lane);
        through_base(j, lane);
        if params.span_only != 0u {
            leave_span(lane);
        }
        for (var k = 0u; k < params.rank; k++) {
            past_reflection(j, k, lane);
        }
    }
}
