// The loss of preferences, from the losses of all labelled tokens of pairs of sequences, the chosen one first:
//
//     margin = scale_c·(ref_c − loss_c) − scale_r·(ref_r − loss_r)        loss = −log σ(margin)
//     weight of each token = share·scale·σ(−margin), negative where the sequence is the rejected one
//
// loss_c is the sum of the chosen sequence's token losses. In direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290,
// eq. 7) every scale is β, and ref_c is the sum without edits. In reference-free preference steering (Wu et al. 2025, arXiv:2505.20809)
// ref is 0, and a scale follows from the length of its sequence.
//
//   losses     [M, 2]  in   of each token, in nats; what follows each is not read
//   ranges     [B, 2]  in   first and end of each sequence's tokens in it
//   reference  [B]     in   what each sequence's sum of losses is compared with
//   scales     [B]     in   what the difference of each sequence counts for
//   weights    [M]     out  what each token's loss counts for in the gradient
//   pairs    [B/2, 2]  out  the loss of each pair, not divided; then whether its margin is above 0, 1 or 0
//
// One lane per pair.

struct Params { n_pairs: u32, share: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> reference: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> weights: array<f32>;
@group(0) @binding(6) var<storage, read_write> pairs: array<vec2<f32>>;

// How much likelier a sequence has become, scaled.
fn gain(sequence: u32) -> f32 {
    var sum = reference[sequence];
    for (var i = ranges[sequence].x; i < ranges[sequence].y; i++) { sum -= losses[i].x; }
    return scales[sequence] * sum;
}

fn put(sequence: u32, weight: f32) {
    for (var i = ranges[sequence].x; i < ranges[sequence].y; i++) { weights[i] = weight; }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_pairs { return; }
    let margin = gain(2u * at.x) - gain(2u * at.x + 1u);
    pairs[at.x] = vec2(max(-margin, 0.0) + log(1.0 + exp(-abs(margin))), select(0.0, 1.0, margin > 0.0));
    let weight = params.share / (1.0 + exp(margin));
    put(2u * at.x, weight * scales[2u * at.x]);
    put(2u * at.x + 1u, -weight * scales[2u * at.x + 1u]);
}
