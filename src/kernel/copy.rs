//! A copy of rows, where two gradients part ways.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static COPY: Kernel = Kernel {
    name: "copy",
    wgsl: &[include_str!("../../shaders/copy.wgsl")],
    params: &[("n_embd", U32)],
    args: &[("x", In), ("y", Out)],
    weight: false,
    twin,
};

/// A copy of x [T, D].
pub fn copy(plan: &mut Plan, label: &str, x: Buf) -> Buf {
    let [n_tokens, n_embd] = plan.shape(x);
    let y = plan.scratch(label, &[n_tokens, n_embd]);
    plan.dispatch(&COPY, &[n_embd.into()], &[x, y], [n_embd.div_ceil(256), n_tokens, 1]);
    y
}

fn twin(call: &Call<'_>) {
    let (x, mut y) = (call.f32(0), call.f32_mut(1));
    let n = x.len().min(y.len());
    y[..n].copy_from_slice(&x[..n]);
}
