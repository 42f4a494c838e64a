// As many multiply-adds as an adapter can do, for the benchmark's ceiling: eight chains of four a lane, all in registers.
//
//   y  [n]  out
//
// One lane per four values.

struct Params { n: u32, rounds: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    if i >= params.n / 4u { return; }
    let x = vec4(f32(i) * 1e-7, 1e-3, 2e-3, 3e-3);
    let a = vec4(0.999, 0.998, 0.997, 0.996);
    var s0 = x;
    var s1 = x + 1.0;
    var s2 = x + 2.0;
    var s3 = x + 3.0;
    var s4 = x + 4.0;
    var s5 = x + 5.0;
    var s6 = x + 6.0;
    var s7 = x + 7.0;
    for (var i = 0u; i < params.rounds; i++) {
        s0 = fma(s0, a, x);
        s1 = fma(s1, a, x);
        s2 = fma(s2, a, x);
        s3 = fma(s3, a, x);
        s4 = fma(s4, a, x);
        s5 = fma(s5, a, x);
        s6 = fma(s6, a, x);
        s7 = fma(s7, a, x);
    }
    y[i] = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
}
