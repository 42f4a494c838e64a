// The functions an intervention may put around W·h + b, by the codes of reft::Activation.

const GELU = 1u;
const RELU = 2u;
const SILU = 3u;
const TANH = 4u;

// Abramowitz and Stegun 7.1.26; within 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(x) * (1.0 - poly * exp(-x * x));
}

fn activate(act: u32, x: f32) -> f32 {
    switch act {
        case GELU: { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
        case RELU: { return max(x, 0.0); }
        case SILU: { return x / (1.0 + exp(-x)); }
        case TANH: { return tanh(x); }
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
        default: { return 1.0; }
    }
}
