//! The residual connection, where a hook stands between the sum and the norm after it.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static ADD: Kernel = Kernel {
    name: "add",
    wgsl: &[include_str!("../../shaders/add.wgsl")],
    params: &[("n_embd", U32)],
    args: &[("a", In), ("b", In), ("y", Out)],
    weight: false,
    twin,
};

/// a + b, all [T, D].
pub fn add(plan: &mut Plan, label: &str, a: Buf, b: Buf) -> Buf {
    let [n_tokens, n_embd] = plan.shape(a);
    plan.expect("add: b", b, &[n_tokens, n_embd]);
    let y = plan.scratch(label, &[n_tokens, n_embd]);
    plan.dispatch(&ADD, &[n_embd.into()], &[a, b, y], [n_embd.div_ceil(256), n_tokens, 1]);
    y
}

fn twin(call: &Call<'_>) {
    let (a, b, mut y) = (call.f32(0), call.f32(1), call.f32_mut(2));
    for ((y, a), b) in y.iter_mut().zip(a.iter()).zip(b.iter()) {
        *y = a + b;
    }
}
