// σ(x); beyond ±80 it is 0 or 1 to every digit, and e⁻ˣ would not be a number.
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-clamp(x, -80.0, 80.0))); }
