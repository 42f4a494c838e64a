//! One step of AdamW over all trained parameters at once.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static ADAMW: Kernel = Kernel {
    name: "adamw",
    wgsl: &[include_str!("../../shaders/adamw.wgsl")],
    params: &[("n", U32)],
    args: &[("hyper", In), ("grad", In), ("p", InOut), ("m", InOut), ("v", InOut)],
    weight: false,
    twin,
};

/// AdamW's settings; `torch.optim.AdamW`'s names and defaults, but for the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the running means of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Decoupled weight decay.
    pub decay: f64,
}

impl Hyper {
    /// Settings with torch's defaults at this learning rate, and no decay.
    pub fn with_rate(rate: f64) -> Hyper {
        Hyper { rate, betas: [0.9, 0.999], eps: 1e-8, decay: 0.0 }
    }

    /// The eight values that the kernel reads at step `step`, counted from 1; computed in f64.
    pub fn at_step(&self, step: u32) -> [f32; 8] {
        let [b1, b2] = self.betas;
        let t = f64::from(step);
        let (c1, c2) = (1.0 - b1.powf(t), 1.0 - b2.powf(t));
        let values =
            [1.0 - self.rate * self.decay, b1, 1.0 - b1, b2, 1.0 - b2, self.rate / c1, c2.sqrt(), self.eps];
        values.map(|value| value as f32)
    }
}

/// Moves the parameters `p` against their gradient; `m` and `v` are the optimizer's running means.
pub fn adamw(plan: &mut Plan, hyper: Buf, grad: Buf, [p, m, v]: [Buf; 3]) {
    let [n] = plan.shape(p);
    plan.expect("adamw: hyper", hyper, &[8]);
    for (name, buf) in [("adamw: grad", grad), ("adamw: m", m), ("adamw: v", v)] {
        plan.expect(name, buf, &[n]);
    }
    plan.dispatch(&ADAMW, &[n.into()], &[hyper, grad, p, m, v], [n.div_ceil(64), 1, 1]);
}

fn twin(call: &Call<'_>) {
    let (hyper, grad) = (call.f32(0), call.f32(1));
    let (mut p, mut m, mut v) = (call.f32_mut(2), call.f32_mut(3), call.f32_mut(4));
    for (i, &g) in grad.iter().enumerate().take(call.usize(0)) {
        m[i] = hyper[1] * m[i] + hyper[2] * g;
        v[i] = hyper[3] * v[i] + hyper[4] * g * g;
        p[i] = p[i] * hyper[0] - hyper[5] * m[i] / (v[i].sqrt() / hyper[6] + hyper[7]);
    }
}
