//! One step of an optimizer over all trained parameters at once: AdamW, Adam, or SGD with momentum; with the clipping of gradients.

use super::REDUCE;
use super::declare::kernel;
use crate::plan::{Buf, Plan, Record, record};

const HYPER: &str = wgsl!("lib/hyper.wgsl");

kernel! {
    /// The length of the gradient, and the factor that clips it.
    GRAD_NORM: grad_norm {
        wgsl: [REDUCE, HYPER, wgsl!("grad_norm.wgsl")],
        params { n: usize }
        args { hyper: One<OptimizerSettings>, grad: In<f32>, norm: Made<GradNorm> }
        twin: twin_norm,
    }
}

kernel! {
    /// sum ← sum + x, or sum ← x.
    ACCUMULATE: accumulate {
        wgsl: [wgsl!("accumulate.wgsl")],
        params { n: usize, onto: bool }
        args { x: In<f32>, sum: InOut<f32> }
        twin: twin_accumulate,
    }
}

kernel! {
    /// One step of an optimizer over all trained parameters. Where the gradient is not finite, nothing moves.
    OPTIMIZER: optimizer {
        wgsl: [HYPER, wgsl!("optimizer.wgsl")],
        params { n: usize }
        args {
            hyper: One<OptimizerSettings>,
            decays: In<f32>,
            grad: In<f32>,
            norm: One<GradNorm>,
            p: InOut<f32>,
            m: InOut<f32>,
            v: InOut<f32>,
            before: InOut<f32>,
        }
        twin: twin,
    }
}

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

record! {
    /// What the kernels read at one step.
    pub struct OptimizerSettings {
        /// What decaying parameters are multiplied by: 1 − rate·decay, for AdamW.
        pub param_scale: f32,
        /// Decay of the running mean of the gradient, β₁; 0 at SGD's first step.
        pub beta1: f32,
        /// What the gradient is multiplied by in its mean: 1 − β₁, or 1 for SGD.
        pub mean_share: f32,
        /// Decay of the running mean of squares, β₂.
        pub beta2: f32,
        /// 1 − β₂
        pub square_share: f32,
        /// rate / (1 − β₁ᵗ)
        pub step_size: f32,
        /// sqrt(1 − β₂ᵗ)
        pub square_correction: f32,
        /// Added to the root of the mean square.
        pub eps: f32,
        /// The gradient is made no longer than this; 0 leaves it as it is.
        pub max_norm: f32,
        /// What of the parameters is added to the gradient: decay, but for AdamW.
        pub gradient_decay: f32,
        /// Learning rate, for SGD.
        pub rate: f32,
        /// Whether it is SGD.
        pub is_sgd: bool,
    }
}

record! {
    /// The length of the gradient.
    pub struct GradNorm {
        /// Before clipping.
        pub length: f32,
        /// The factor that clips it.
        pub factor: f32,
    }
}

impl Hyper {
    /// AdamW with torch's defaults at this learning rate, without decay and clipping.
    pub fn with_rate(rate: f64) -> Hyper {
        let optimizer = Optimizer::default();
        Hyper { optimizer, rate, betas: [0.9, 0.999], eps: 1e-8, decay: 0.0, clip: 0.0 }
    }

    /// The settings of step `step`, counted from 1; computed in f64.
    pub fn at_step(&self, step: u32) -> OptimizerSettings {
        let [b1, b2] = self.betas;
        let t = f64::from(step);
        let (c1, c2) = (1.0 - b1.powf(t), 1.0 - b2.powf(t));
        let is_sgd = self.optimizer == Optimizer::Sgd;
        let decoupled = self.optimizer == Optimizer::AdamW;
        OptimizerSettings {
            param_scale: if decoupled { 1.0 - self.rate * self.decay } else { 1.0 } as f32,
            beta1: if is_sgd && step == 1 { 0.0 } else { b1 } as f32,
            mean_share: if is_sgd { 1.0 } else { 1.0 - b1 } as f32,
            beta2: b2 as f32,
            square_share: (1.0 - b2) as f32,
            step_size: (self.rate / c1) as f32,
            square_correction: c2.sqrt() as f32,
            eps: self.eps as f32,
            max_norm: self.clip as f32,
            gradient_decay: if decoupled { 0.0 } else { self.decay } as f32,
            rate: self.rate as f32,
            is_sgd,
        }
    }
}

/// The length of the gradient `grad [n]` and the factor that clips it, as [`GradNorm`].
pub fn grad_norm(plan: &mut Plan, hyper: Buf, grad: Buf) -> Buf {
    let [n] = plan.shape(grad);
    plan.expect("grad_norm: hyper", hyper, &[OptimizerSettings::WORDS]);
    let norm = plan.kept("norm", &[GradNorm::WORDS]);
    plan.dispatch(&GRAD_NORM, grad_norm::Params { n }, grad_norm::Bufs { hyper, grad, norm }, [1, 1, 1]);
    norm
}

/// Adds `x [n]` to `sum [n]`, or begins the sum with it.
pub fn accumulate(plan: &mut Plan, x: Buf, sum: Buf, onto: bool) {
    let [n] = plan.shape(x);
    plan.expect("accumulate: sum", sum, &[n]);
    plan.dispatch(
        &ACCUMULATE,
        accumulate::Params { n, onto },
        accumulate::Bufs { x, sum },
        [n.div_ceil(64), 1, 1],
    );
}

/// Moves the parameters `p` against their gradient and keeps in `before` what they were; `m` and `v` are the optimizer's running means,
/// `decays` says which parameters decay. Where the gradient's length is not finite, all of them stay as they are.
pub fn optimizer(plan: &mut Plan, [hyper, decays, norm]: [Buf; 3], grad: Buf, [p, m, v, before]: [Buf; 4]) {
    let [n] = plan.shape(p);
    plan.expect("optimizer: hyper", hyper, &[OptimizerSettings::WORDS]);
    for (name, buf) in [("decays", decays), ("grad", grad), ("m", m), ("v", v), ("before", before)] {
        plan.expect(&format!("optimizer: {name}"), buf, &[n]);
    }
    plan.dispatch(
        &OPTIMIZER,
        optimizer::Params { n },
        optimizer::Bufs { hyper, decays, grad, norm, p, m, v, before },
        [n.div_ceil(64), 1, 1],
    );
}

fn twin_norm(p: &grad_norm::Params, a: grad_norm::Args<'_>) {
    let grad_norm::Args { hyper, grad, norm } = a;
    let grad = &grad[..p.n];
    let length = super::dot(grad, grad).sqrt();
    let clipped = (hyper.max_norm / (length + 1e-6)).min(1.0);
    norm.set(GradNorm { length, factor: if hyper.max_norm > 0.0 { clipped } else { 1.0 } });
}

fn twin_accumulate(p: &accumulate::Params, a: accumulate::Args<'_>) {
    let accumulate::Params { n, onto } = *p;
    let accumulate::Args { x, sum } = a;
    for (sum, x) in sum.iter_mut().zip(x.iter()).take(n) {
        *sum = if onto { *sum + x } else { *x };
    }
}

fn twin(params: &optimizer::Params, a: optimizer::Args<'_>) {
    let optimizer::Args { hyper, decays, grad, norm, p, m, v, before } = a;
    if !norm.length.is_finite() {
        return;
    }
    for (i, &g) in grad.iter().enumerate().take(params.n) {
        before[i] = p[i];
        let g = norm.factor * g + hyper.gradient_decay * decays[i] * p[i];
        m[i] = hyper.beta1 * m[i] + hyper.mean_share * g;
        if hyper.is_sgd {
            p[i] -= hyper.rate * m[i];
            continue;
        }
        v[i] = hyper.beta2 * v[i] + hyper.square_share * g * g;
        let kept = if decays[i] > 0.0 { hyper.param_scale } else { 1.0 };
        p[i] = p[i] * kept - hyper.step_size * m[i] / (v[i].sqrt() / hyper.square_correction + hyper.eps);
    }
}
