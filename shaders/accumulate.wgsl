// sum ← sum + x, or where `onto` is 0 sum ← x: gradients of the parts of a batch.
//
//   x    [n]  in
//   sum  [n]  in out
//
// One lane per number.

struct Params { n: u32, onto: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    if i >= params.n { return; }
    if params.onto == 1u { sum[i] += x[i]; } else { sum[i] = x[i]; }
}
