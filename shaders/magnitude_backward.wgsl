// The gradient of `magnitude` by m, for lengths n that are constant:
//
//     dm = dg / n
//
//   rot   [n]  in      1/n [D] behind g [D], which begins at g_at
//   drot  [n]  in      dg [D] from g_at on
//   grad  [n]  in out  dm [D] from m_at on
//
// One lane for each row of W₀.

struct Params { n_embd: u32, m_at: u32, g_at: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rot: array<f32>;
@group(0) @binding(2) var<storage, read> drot: array<f32>;
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= params.n_embd { return; }
    grad[params.m_at + at.x] = drot[params.g_at + at.x] * rot[params.g_at + params.n_embd + at.x];
}
