// Scores under a cap, cap · tanh(s / cap), so that none grows beyond it; a cap of 0 is none. Gemma 2 (arXiv:2408.00118).

fn capped(s: f32, cap: f32) -> f32 {
    if cap == 0.0 { return s; }
    return cap * tanh(clamp(s / cap, -15.0, 15.0)); // beyond, tanh is 1, and some drivers overflow
}

fn capped4(s: vec4<f32>, cap: f32) -> vec4<f32> {
    if cap == 0.0 { return s; }
    return cap * tanh(clamp(s / cap, vec4(-15.0), vec4(15.0)));
}

// The derivative of `capped` where it gave s.
fn cap_slope(s: f32, cap: f32) -> f32 {
    if cap == 0.0 { return 1.0; }
    return 1.0 - s / cap * (s / cap);
}

fn cap_slope4(s: vec4<f32>, cap: f32) -> vec4<f32> {
    if cap == 0.0 { return vec4(1.0); }
    return vec4(1.0) - s / cap * (s / cap);
}
