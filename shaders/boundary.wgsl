// The learned boundary between dimensions that are edited and those that are not (Wu et al. 2023, arXiv:2305.08809):
//
//     mⱼ = σ(j/T)·σ((β·D − j)/T)      masked = strength ∘ m
//
//   strength  [P, D]  in   how much of each edit is made
//   theta     [n]     in   β, held between 0.001 and 1, and T at `at`
//   masked    [P, D]  out
//
// One lane for each element.

struct Params { n_embd: u32, at: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> strength: array<f32>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read_write> masked: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    if i >= arrayLength(&strength) || i >= arrayLength(&masked) { return; }
    let edge = clamp(theta[params.at], 1e-3, 1.0) * f32(params.n_embd);
    let temperature = theta[params.at + 1u];
    let j = f32(i % params.n_embd);
    masked[i] = strength[i] * sigmoid(j / temperature) * sigmoid((edge - j) / temperature);
}
