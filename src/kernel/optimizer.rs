//! One step of an optimizer over all trained parameters at once: AdamW, Adam, or SGD with momentum; with the clipping of gradients.

use super::REDUCE;
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static GRAD_NORM: Kernel = Kernel {
    name: "grad_norm",
    wgsl: &[REDUCE, include_str!("../../shaders/grad_norm.wgsl")],
    params: &[("n", U32)],
    args: &[("hyper", In), ("grad", In), ("norm", Out)],
    weight: false,
    twin: twin_norm,
};

pub(super) static ACCUMULATE: Kernel = Kernel {
    name: "accumulate",
    wgsl: &[include_str!("../../shaders/accumulate.wgsl")],
    params: &[("n", U32), ("onto", U32)],
    args: &[("x", In), ("sum", InOut)],
    weight: false,
    twin: twin_accumulate,
};

pub(super) static OPTIMIZER: Kernel = Kernel {
    name: "optimizer",
    wgsl: &[include_str!("../../shaders/optimizer.wgsl")],
    params: &[("n", U32)],
    args: &[
        ("hyper", In),
        ("decays", In),
        ("grad", In),
        ("norm", In),
        ("p", InOut),
        ("m", InOut),
        ("v", InOut),
    ],
    weight: false,
    twin,
};

/// How parameters move against their gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimizer {
    /// `torch.optim.AdamW`: decay of the parameters themselves.
    #[default]
    AdamW,
    /// `torch.optim.Adam`: decay by way of the gradient.
    Adam,
    /// `torch.optim.SGD` with momentum β₁.
    Sgd,
}

impl Optimizer {
    /// Every optimizer there is.
    pub const ALL: [Optimizer; 3] = [Optimizer::AdamW, Optimizer::Adam, Optimizer::Sgd];

    /// The name in options.
    pub fn name(self) -> &'static str {
        ["adamw", "adam", "sgd"][self as usize]
    }
}

/// An optimizer's settings; torch's names and defaults, but for the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Which optimizer.
    pub optimizer: Optimizer,
    /// Learning rate.
    pub rate: f64,
    /// Decay of the running means of the gradient and of its square; the first is SGD's momentum.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Weight decay.
    pub decay: f64,
    /// The gradient is made no longer than this; 0 leaves it as it is.
    pub clip: f64,
}

/// Numbers that the kernels read.
pub const HYPERS: usize = 16;

impl Hyper {
    /// AdamW with torch's defaults at this learning rate, without decay and clipping.
    pub fn with_rate(rate: f64) -> Hyper {
        let optimizer = Optimizer::default();
        Hyper { optimizer, rate, betas: [0.9, 0.999], eps: 1e-8, decay: 0.0, clip: 0.0 }
    }

    /// The values that the kernels read at step `step`, counted from 1; computed in f64.
    pub fn at_step(&self, step: u32) -> [f32; HYPERS] {
        let [b1, b2] = self.betas;
        let t = f64::from(step);
        let (c1, c2) = (1.0 - b1.powf(t), 1.0 - b2.powf(t));
        let is_sgd = self.optimizer == Optimizer::Sgd;
        let decoupled = self.optimizer == Optimizer::AdamW;
        let mut values = [0.0; HYPERS];
        values[0] = if decoupled { 1.0 - self.rate * self.decay } else { 1.0 };
        values[1] = if is_sgd && step == 1 { 0.0 } else { b1 };
        values[2] = if is_sgd { 1.0 } else { 1.0 - b1 };
        values[3..8].copy_from_slice(&[b2, 1.0 - b2, self.rate / c1, c2.sqrt(), self.eps]);
        values[8] = self.clip;
        values[9] = if decoupled { 0.0 } else { self.decay };
        values[10] = self.rate;
        values[11] = f64::from(u8::from(is_sgd));
        values.map(|value| value as f32)
    }
}

/// The length of the gradient `grad [n]` and the factor that clips it, as `norm [4]`.
pub fn grad_norm(plan: &mut Plan, hyper: Buf, grad: Buf) -> Buf {
    let [n] = plan.shape(grad);
    plan.expect("grad_norm: hyper", hyper, &[HYPERS]);
    let norm = plan.kept("norm", &[4]);
    plan.dispatch(&GRAD_NORM, &[n.into()], &[hyper, grad, norm], [1, 1, 1]);
    norm
}

/// Adds `x [n]` to `sum [n]`, or begins the sum with it.
pub fn accumulate(plan: &mut Plan, x: Buf, sum: Buf, onto: bool) {
    let [n] = plan.shape(x);
    plan.expect("accumulate: sum", sum, &[n]);
    plan.dispatch(&ACCUMULATE, &[n.into(), onto.into()], &[x, sum], [n.div_ceil(64), 1, 1]);
}

/// Moves the parameters `p` against their gradient; `m` and `v` are the optimizer's running means, `decays` says which
/// parameters decay.
pub fn optimizer(plan: &mut Plan, [hyper, decays, norm]: [Buf; 3], grad: Buf, [p, m, v]: [Buf; 3]) {
    let [n] = plan.shape(p);
    plan.expect("optimizer: hyper", hyper, &[HYPERS]);
    for (name, buf) in [("decays", decays), ("grad", grad), ("m", m), ("v", v)] {
        plan.expect(&format!("optimizer: {name}"), buf, &[n]);
    }
    let args = [hyper, decays, grad, norm, p, m, v];
    plan.dispatch(&OPTIMIZER, &[n.into()], &args, [n.div_ceil(64), 1, 1]);
}

fn twin_norm(call: &Call<'_>) {
    let (hyper, grad, mut norm) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let grad = &grad[..call.usize(0)];
    let length = super::dot(grad, grad).sqrt();
    norm[0] = length;
    norm[1] = if hyper[8] > 0.0 { (hyper[8] / (length + 1e-6)).min(1.0) } else { 1.0 };
}

fn twin_accumulate(call: &Call<'_>) {
    let (n, onto) = (call.usize(0), call.flag(1));
    let (x, mut sum) = (call.f32(0), call.f32_mut(1));
    for (sum, x) in sum.iter_mut().zip(x.iter()).take(n) {
        *sum = if onto { *sum + x } else { *x };
    }
}

fn twin(call: &Call<'_>) {
    let (hyper, decays, grad, norm) = (call.f32(0), call.f32(1), call.f32(2), call.f32(3));
    let (mut p, mut m, mut v) = (call.f32_mut(4), call.f32_mut(5), call.f32_mut(6));
    for (i, &g) in grad.iter().enumerate().take(call.usize(0)) {
        let g = norm[1] * g + hyper[9] * decays[i] * p[i];
        m[i] = hyper[1] * m[i] + hyper[2] * g;
        if hyper[11] == 1.0 {
            p[i] -= hyper[10] * m[i];
            continue;
        }
        v[i] = hyper[3] * v[i] + hyper[4] * g * g;
        let kept = if decays[i] > 0.0 { hyper[0] } else { 1.0 };
        p[i] = p[i] * kept - hyper[5] * m[i] / (v[i].sqrt() / hyper[6] + hyper[7]);
    }
}
