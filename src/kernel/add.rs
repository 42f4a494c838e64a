//! The residual connection, where no norm takes it in: a hook stands between, or there is none.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static ADD: Kernel = Kernel {
    name: "add",
    wgsl: &[include_str!("../../shaders/add.wgsl")],
    params: &[("n_embd", U32)],
    args: &[("a", In), ("b", In), ("y", Out)],
    weight: false,
    twin,
};

pub(super) static ADD_ONTO: Kernel = Kernel {
    name: "add_onto",
    wgsl: &[include_str!("../../shaders/add_onto.wgsl")],
    params: &[("n_embd", U32)],
    args: &[("x", In), ("y", InOut)],
    weight: false,
    twin: twin_onto,
};

/// a + b, all [T, D].
pub fn add(plan: &mut Plan, label: &str, a: Buf, b: Buf) -> Buf {
    let [n_tokens, n_embd] = plan.shape(a);
    plan.expect("add: b", b, &[n_tokens, n_embd]);
    let y = plan.scratch(label, &[n_tokens, n_embd]);
    plan.dispatch(&ADD, &[n_embd.into()], &[a, b, y], [n_embd.div_ceil(256), n_tokens, 1]);
    y
}

/// Adds x to y, both [T, D].
pub fn add_onto(plan: &mut Plan, x: Buf, y: Buf) {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("add_onto: y", y, &[n_tokens, n_embd]);
    plan.dispatch(&ADD_ONTO, &[n_embd.into()], &[x, y], [n_embd.div_ceil(256), n_tokens, 1]);
}

fn twin_onto(call: &Call<'_>) {
    let (x, mut y) = (call.f32(0), call.f32_mut(1));
    for (y, x) in y.iter_mut().zip(x.iter()) {
        *y += x;
    }
}

fn twin(call: &Call<'_>) {
    let (a, b, mut y) = (call.f32(0), call.f32(1), call.f32_mut(2));
    for ((y, a), b) in y.iter_mut().zip(a.iter()).zip(b.iter()) {
        *y = a + b;
    }
}
