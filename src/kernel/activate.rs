//! The functions around what is learned and on gates, and one of them on each element of a buffer.

use super::declare::kernel;
use crate::plan::{Buf, Field, Param, Plan};

/// The functions in WGSL.
pub(super) const ACTIVATION: &str = wgsl!("lib/activation.wgsl");

kernel! {
    /// y = act(x), element by element.
    ACTIVATE: activate {
        wgsl: [ACTIVATION, wgsl!("activate.wgsl")],
        params { n: usize, act: Activation }
        args { x: In<f32>, y: Out<f32> }
        twin: twin,
    }
}

kernel! {
    /// dy ← dy · act′(x), in place.
    ACTIVATE_BACKWARD: activate_backward {
        wgsl: [ACTIVATION, wgsl!("activate_backward.wgsl")],
        params { n: usize, act: Activation }
        args { x: In<f32>, dy: InOut<f32> }
        twin: twin_backward,
    }
}

/// The function around W·h + b and on a gate, by the names of Transformers' `ACT2FN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// x
    #[default]
    Linear,
    /// x · Φ(x), exact
    Gelu,
    /// max(x, 0)
    Relu,
    /// x / (1 + e⁻ˣ)
    Silu,
    /// tanh x
    Tanh,
    /// x · Φ(x) as tanh has it: ½x · (1 + tanh(√(2/π) · (x + 0.044715x³))), that is x / (1 + e to twice the argument, negative)
    GeluTanh,
}

impl Activation {
    /// Every function there is, in the order of the shader's codes.
    pub const ALL: [Activation; 6] = [
        Activation::Linear,
        Activation::Gelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
        Activation::GeluTanh,
    ];

    /// The name in options and files.
    pub fn name(self) -> &'static str {
        ["linear", "gelu", "relu", "silu", "tanh", "gelu_pytorch_tanh"][self as usize]
    }

    pub(super) fn apply(self, x: f32) -> f32 {
        match self {
            Activation::Linear => x,
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            Activation::Relu => x.max(0.0),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::GeluTanh => x / (1.0 + (-gelu_argument(x)).exp()),
        }
    }

    /// y · act(x). Of SiLU the product comes first: where rounding alone decides which way AdamW goes (DII with a free R), the order shows.
    pub(super) fn times(self, y: f32, x: f32) -> f32 {
        match self {
            Activation::Silu => y * x / (1.0 + (-x).exp()),
            other => y * other.apply(x),
        }
    }

    pub(super) fn slope(self, x: f32) -> f32 {
        match self {
            Activation::Linear => 1.0,
            Activation::Gelu => {
                let density = (-0.5 * x * x).exp()
                    * 0.5
                    * std::f32::consts::FRAC_2_SQRT_PI
                    * std::f32::consts::FRAC_1_SQRT_2;
                0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density
            }
            Activation::Relu => f32::from(x > 0.0),
            Activation::Silu => {
                let sigma = 1.0 / (1.0 + (-x).exp());
                sigma * (1.0 + x * (1.0 - sigma))
            }
            Activation::Tanh => 1.0 - x.tanh() * x.tanh(),
            Activation::GeluTanh => {
                let sigma = 1.0 / (1.0 + (-gelu_argument(x)).exp());
                sigma * (1.0 + x * (1.0 - sigma) * (1.595_769 + 0.214_068_47 * x * x))
            }
        }
    }
}

/// The shader's code: its place in [`Activation::ALL`].
impl Param for Activation {
    const FIELD: Field = Field::U32;

    fn bits(self) -> u32 {
        self as u32
    }

    fn of(bits: u32) -> Activation {
        Activation::ALL[bits as usize]
    }
}

/// Abramowitz and Stegun 7.1.26; within 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = [1.061_405_4, -1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6];
    let poly = poly.into_iter().fold(0.0, |sum, factor| t * (sum + factor));
    x.signum() * (1.0 - poly * (-x * x).exp())
}

/// 2 · √(2/π) · (x + 0.044715x³)
fn gelu_argument(x: f32) -> f32 {
    1.595_769 * x * (1.0 + 0.044_715 * x * x)
}

/// act(x) [M, N] in a new buffer.
pub fn activate(plan: &mut Plan, act: Activation, x: Buf) -> Buf {
    let shape: [usize; 2] = plan.shape(x);
    let (y, n) = (plan.scratch("activated", &shape), shape[0] * shape[1]);
    plan.dispatch(&ACTIVATE, activate::Params { n, act }, activate::Bufs { x, y }, [n.div_ceil(64), 1, 1]);
    y
}

/// Takes dy [M, N] back through the function of x, in place.
pub fn activate_backward(plan: &mut Plan, act: Activation, x: Buf, dy: Buf) {
    let shape: [usize; 2] = plan.shape(x);
    let n = shape[0] * shape[1];
    plan.dispatch(
        &ACTIVATE_BACKWARD,
        activate_backward::Params { n, act },
        activate_backward::Bufs { x, dy },
        [n.div_ceil(64), 1, 1],
    );
}

fn twin(p: &activate::Params, a: activate::Args<'_>) {
    let activate::Params { n, act } = *p;
    let activate::Args { x, y } = a;
    y[..n].iter_mut().zip(x.iter()).for_each(|(y, x)| *y = act.apply(*x));
}

fn twin_backward(p: &activate_backward::Params, a: activate_backward::Args<'_>) {
    let activate_backward::Params { n, act } = *p;
    let activate_backward::Args { x, dy } = a;
    dy[..n].iter_mut().zip(x.iter()).for_each(|(dy, x)| *dy *= act.slope(*x));
}
