//! Picks rows by index: labelled tokens forward, and with the inverse index their gradients back. And puts rows by index.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static GATHER_ROWS: Kernel = Kernel {
    name: "gather_rows",
    wgsl: &[include_str!("../../shaders/gather_rows.wgsl")],
    params: &[("n_embd", U32)],
    args: &[("index", In), ("x", In), ("y", Out)],
    weight: false,
    twin,
};

pub(super) static PUT_ROWS: Kernel = Kernel {
    name: "put_rows",
    wgsl: &[include_str!("../../shaders/put_rows.wgsl")],
    params: &[("n_embd", U32)],
    args: &[("index", In), ("x", In), ("y", InOut)],
    weight: false,
    twin: twin_put,
};

/// The index that stands for a row of zeros.
pub const NONE: u32 = u32::MAX;

/// Rows `index [M]` of x [T, D], as [M, D].
pub fn gather_rows(plan: &mut Plan, label: &str, index: Buf, x: Buf) -> Buf {
    let [n_rows] = plan.shape(index);
    let [_, n_embd] = plan.shape(x);
    let y = plan.scratch(label, &[n_rows, n_embd]);
    plan.dispatch(&GATHER_ROWS, &[n_embd.into()], &[index, x, y], [n_rows, 1, 1]);
    y
}

/// Puts the rows of x [M, D] at rows `index [M]` of y [N, D].
pub fn put_rows(plan: &mut Plan, index: Buf, x: Buf, y: Buf) {
    let [n_rows, n_embd] = plan.shape(x);
    plan.expect("put_rows: index", index, &[n_rows]);
    plan.dispatch(&PUT_ROWS, &[n_embd.into()], &[index, x, y], [n_rows, 1, 1]);
}

fn twin_put(call: &Call<'_>) {
    let n_embd = call.usize(0);
    let (index, x, mut y) = (call.u32(0), call.f32(1), call.f32_mut(2));
    for (&row, x) in index.iter().zip(x.chunks_exact(n_embd)) {
        y[row as usize * n_embd..][..n_embd].copy_from_slice(x);
    }
}

fn twin(call: &Call<'_>) {
    let n_embd = call.usize(0);
    let (index, x, mut y) = (call.u32(0), call.f32(1), call.f32_mut(2));
    for (&row, y) in index.iter().zip(y.chunks_exact_mut(n_embd)) {
        match row {
            NONE => y.fill(0.0),
            row => y.copy_from_slice(&x[row as usize * n_embd..][..n_embd]),
        }
    }
}
