// The functions around what is learned and on gates, by the codes of kernel::Activation.

const GELU = 1u;
const RELU = 2u;
const SILU = 3u;
const TANH = 4u;
const GELU_TANH = 5u;

// Abramowitz and Stegun 7.1.26; within 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(x) * (1.0 - poly * exp(-x * x));
}

// 2 · √(2/π) · (x + 0.044715 x³): (1 + tanh u) / 2 is 1 / (1 + e⁻²ᵘ), which nothing cancels in.
fn gelu_argument(x: f32) -> f32 {
    return 1.5957691 * x * (1.0 + 0.044715 * x * x);
}

fn activate(act: u32, x: f32) -> f32 {
    switch act {
        case GELU: { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
        case RELU: { return max(x, 0.0); }
        case SILU: { return x / (1.0 + exp(-x)); }
        case TANH: { return tanh(x); }
        case GELU_TANH: { return x / (1.0 + exp(-gelu_argument(x))); }
        default: { return x; }
    }
}

// The derivative of `activate` at x.
fn activate_slope(act: u32, x: f32) -> f32 {
    switch act {
        case GELU: { return 0.5 * (1.0 + erf(x * 0.70710678)) + x * 0.39894228 * exp(-0.5 * x * x); }
        case RELU: { return select(0.0, 1.0, x > 0.0); }
        case SILU: {
            let sigma = 1.0 / (1.0 + exp(-x));
            return sigma * (1.0 + x * (1.0 - sigma));
        }
        case TANH: { return 1.0 - tanh(x) * tanh(x); }
        case GELU_TANH: {
            let sigma = 1.0 / (1.0 + exp(-gelu_argument(x)));
            return sigma * (1.0 + x * (1.0 - sigma) * (1.5957691 + 0.21406847 * x * x));
        }
        default: { return 1.0; }
    }
}

fn activate4(act: u32, x: vec4<f32>) -> vec4<f32> {
    return vec4(activate(act, x.x), activate(act, x.y), activate(act, x.z), activate(act, x.w));
}

fn activate_slope4(act: u32, x: vec4<f32>) -> vec4<f32> {
    return vec4(activate_slope(act, x.x), activate_slope(act, x.y), activate_slope(act, x.z), activate_slope(act, x.w));
}
