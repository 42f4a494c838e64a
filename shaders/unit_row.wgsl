// Before a step of ReFT-r1 (AxBench's LsReFT): w becomes a unit vector, its gradient loses what is along it, and b becomes the highest
// latent of the step, if any is above 0.
//
//     w ← w/‖w‖        g ← g − (g·w)·w
//
//   theta  [n]  in out  w [D] from w_at on, b at b_at
//   grad   [n]  in out  g [D] from w_at on
//   peak   [n]  in out  the highest latent at peak_at; 0 after
//
// One workgroup.

struct Params { n_embd: u32, w_at: u32, b_at: u32, peak_at: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> theta: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> peak: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    var squares = 0.0;
    for (var d = lane; d < params.n_embd; d += WG) {
        let w = theta[params.w_at + d];
        squares += w * w;
    }
    let total = reduce_sum(squares, lane);
    let scale = select(1.0, inverseSqrt(total), total > 0.0);
    var along = 0.0;
    for (var d = lane; d < params.n_embd; d += WG) {
        let at = params.w_at + d;
        theta[at] *= scale;
        along += grad[at] * theta[at];
    }
    let parallel = reduce_sum(along, lane);
    for (var d = lane; d < params.n_embd; d += WG) {
        let at = params.w_at + d;
        grad[at] -= parallel * theta[at];
    }
    if lane == 0u {
        if peak[params.peak_at] > 0.0 { theta[params.b_at] = peak[params.peak_at]; }
        peak[params.peak_at] = 0.0;
    }
}
