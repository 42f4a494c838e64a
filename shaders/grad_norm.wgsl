// The length of the gradient, and what it is multiplied by so that it is no longer than `most`: min(1, most / (norm + 1e-6)), as
// torch.nn.utils.clip_grad_norm_ has it; 1 where `most` is 0.
//
//   hyper  [16]  in   most at MOST
//   grad   [n]   in
//   norm   [4]   out  norm, and the factor
//
// One workgroup.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> hyper: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;

const WG = 256u;
const MOST = 8u;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.n; i += WG) {
        sum += grad[i] * grad[i];
    }
    let length = sqrt(reduce_sum(sum, lane));
    if lane == 0u {
        var factor = 1.0;
        if hyper[MOST] > 0.0 { factor = min(1.0, hyper[MOST] / (length + 1e-6)); }
        norm[0] = length;
        norm[1] = factor;
    }
}
