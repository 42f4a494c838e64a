//! A copy of rows, where two gradients part ways, or where a product wants rows of their own.

use super::dense::Rows;
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

pub(super) static COPY_FROM: Kernel = Kernel {
    name: "copy_from",
    wgsl: &[include_str!("../../shaders/copy_from.wgsl")],
    params: &[("n_embd", U32), ("x_at", U32)],
    args: &[("x", In), ("y", Out)],
    weight: false,
    twin: twin_from,
};

/// A copy of x [T, D].
pub fn copy(plan: &mut Plan, label: &str, x: Buf) -> Buf {
    let [n_tokens, n_embd] = plan.shape(x);
    let y = plan.scratch(label, &[n_tokens, n_embd]);
    plan.dispatch(&COPY, &[n_embd.into()], &[x, y], [n_embd.div_ceil(256), n_tokens, 1]);
    y
}

/// A copy [T, D] of rows that begin at an element of x.
pub fn copy_from(plan: &mut Plan, label: &str, x: Rows, [n_rows, n_embd]: [usize; 2]) -> Buf {
    let y = plan.scratch(label, &[n_rows, n_embd]);
    let params = [n_embd, x.at].map(Into::into);
    plan.dispatch(&COPY_FROM, &params, &[x.buf, y], [n_embd.div_ceil(64), n_rows, 1]);
    y
}

fn twin_from(call: &Call<'_>) {
    let (n_embd, x_at) = (call.usize(0), call.usize(1));
    let (x, mut y) = (call.f32(0), call.f32_mut(1));
    let n = call.groups(1) * n_embd;
    y[..n].copy_from_slice(&x[x_at..][..n]);
}

fn twin(call: &Call<'_>) {
    let (x, mut y) = (call.f32(0), call.f32_mut(1));
    let n = x.len().min(y.len());
    y[..n].copy_from_slice(&x[..n]);
}
