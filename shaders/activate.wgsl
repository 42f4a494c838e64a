// A function of each element: y = act(x)
//
//   x  [M, N]  in
//   y  [M, N]  out
//
// One lane for each element.

struct Params { n: u32, act: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    if i < params.n { y[i] = activate(params.act, x[i]); }
}
