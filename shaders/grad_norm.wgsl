// The length of the gradient, and what it is multiplied by so that it is no longer than max_norm: min(1, max_norm / (length + 1e-6)),
// as in torch.nn.utils.clip_grad_norm_; 1 where max_norm is 0.
//
//   hyper        in
//   grad   [n]   in
//   norm         out
//
// One workgroup.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> hyper: Hyper;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: Norm;

const WG = 256u;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.n; i += WG) {
        sum += grad[i] * grad[i];
    }
    let length = sqrt(reduce_sum(sum, lane));
    if lane == 0u {
        var factor = 1.0;
        if hyper.max_norm > 0.0 { factor = min(1.0, hyper.max_norm / (length + 1e-6)); }
        norm.length = length;
        norm.factor = factor;
    }
}
