// The gradient of detect_rows: by the rows, onto what is there, and by w, onto that of the edit.
//
//     dh += da·w        dw += Σ da·h
//
//   edits    [P, 2]  in      row of dh, and how often it counts
//   theta    [n]     in      w [D] from w_at on
//   before   [P, D]  in      the rows of h
//   latent   [P]     in      a
//   dlatent  [P]     in      da
//   dh       [T, S]  in out  D columns from column `first` on
//   grad     [n]     in out  dw from w_at on; 0 for b and λ, which no gradient moves
//   peak     [n]     in out  the highest a so far, at peak_at
//
// Lane d owns column d.

struct Params {
    n_edits: u32, n_embd: u32, stride: u32, first: u32, w_at: u32, b_at: u32, penalty_at: u32, peak_at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read> before: array<f32>;
@group(0) @binding(4) var<storage, read> latent: array<f32>;
@group(0) @binding(5) var<storage, read> dlatent: array<f32>;
@group(0) @binding(6) var<storage, read_write> dh: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad: array<f32>;
@group(0) @binding(8) var<storage, read_write> peak: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let d = at.x;
    if d == 0u {
        var highest = peak[params.peak_at];
        for (var p = 0u; p < params.n_edits; p++) { highest = max(highest, latent[p]); }
        peak[params.peak_at] = highest;
        grad[params.b_at] = 0.0;
        grad[params.penalty_at] = 0.0;
    }
    if d >= params.n_embd { return; }
    let w = theta[params.w_at + d];
    var sum = grad[params.w_at + d];
    for (var p = 0u; p < params.n_edits; p++) {
        let da = dlatent[p];
        dh[edits[p].x * params.stride + params.first + d] += da * w;
        sum += da * before[p * params.n_embd + d];
    }
    grad[params.w_at + d] = sum;
}
