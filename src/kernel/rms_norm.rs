//! Root-mean-square normalization (Zhang and Sennrich 2019, arXiv:1910.07467), forward and backward.

use super::{REDUCE, dot};
use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static RMS_NORM: Kernel = Kernel {
    name: "rms_norm",
    wgsl: &[REDUCE, include_str!("../../shaders/rms_norm.wgsl")],
    params: &[("n_embd", U32), ("eps", F32)],
    args: &[("x", In), ("w", In), ("y", Out)],
    weight: false,
    twin,
};

pub(super) static ADD_RMS_NORM: Kernel = Kernel {
    name: "add_rms_norm",
    wgsl: &[REDUCE, include_str!("../../shaders/add_rms_norm.wgsl")],
    params: &[("n_embd", U32), ("eps", F32)],
    args: &[("x", In), ("d", In), ("w", In), ("h", Out), ("y", Out)],
    weight: false,
    twin: twin_add,
};

pub(super) static RMS_NORM_BACKWARD: Kernel = Kernel {
    name: "rms_norm_backward",
    wgsl: &[REDUCE, include_str!("../../shaders/rms_norm_backward.wgsl")],
    params: &[("n_embd", U32), ("eps", F32), ("add", U32)],
    args: &[("x", In), ("w", In), ("dy", In), ("dx", InOut)],
    weight: false,
    twin: twin_backward,
};

/// x [T, D] with its rows normalized and scaled by w `[D]`.
pub fn rms_norm(plan: &mut Plan, x: Buf, w: Buf, eps: f32) -> Buf {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("rms_norm: w", w, &[n_embd]);
    let y = plan.scratch("xn", &[n_tokens, n_embd]);
    plan.dispatch(&RMS_NORM, &[n_embd.into(), eps.into()], &[x, w, y], [n_tokens, 1, 1]);
    y
}

/// h = x + d, and h with its rows normalized and scaled by w `[D]`.
pub fn add_rms_norm(plan: &mut Plan, [x, d]: [Buf; 2], w: Buf, eps: f32) -> [Buf; 2] {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("add_rms_norm: d", d, &[n_tokens, n_embd]);
    plan.expect("add_rms_norm: w", w, &[n_embd]);
    let [h, y] = ["h", "xn"].map(|name| plan.scratch(name, &[n_tokens, n_embd]));
    plan.dispatch(&ADD_RMS_NORM, &[n_embd.into(), eps.into()], &[x, d, w, h, y], [n_tokens, 1, 1]);
    [h, y]
}

/// Gradient of [`rms_norm`] by x, written over `dx` or added to it.
pub fn rms_norm_backward(plan: &mut Plan, [x, w]: [Buf; 2], eps: f32, dy: Buf, dx: Buf, add: bool) {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("rms_norm_backward: dy", dy, &[n_tokens, n_embd]);
    plan.expect("rms_norm_backward: dx", dx, &[n_tokens, n_embd]);
    let params = [n_embd.into(), eps.into(), add.into()];
    plan.dispatch(&RMS_NORM_BACKWARD, &params, &[x, w, dy, dx], [n_tokens, 1, 1]);
}

fn rstd(x: &[f32], eps: f32) -> f32 {
    (dot(x, x) / x.len() as f32 + eps).sqrt().recip()
}

/// y = w ∘ x over the root of its mean square.
pub(super) fn normalize(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let s = rstd(x, eps);
    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
        *y = w * x * s;
    }
}

/// The gradient of [`normalize`] by x.
pub(super) fn normalize_backward(x: &[f32], w: &[f32], eps: f32, dy: &[f32]) -> Vec<f32> {
    let s = rstd(x, eps);
    let wdy: Vec<f32> = w.iter().zip(dy).map(|(w, dy)| w * dy).collect();
    let pull = dot(x, &wdy) / x.len() as f32 * s * s;
    x.iter().zip(&wdy).map(|(x, wdy)| s * (wdy - x * pull)).collect()
}

fn twin(call: &Call<'_>) {
    let (n_embd, eps) = (call.usize(0), call.real(1));
    let (x, w, mut y) = (call.f32(0), call.f32(1), call.f32_mut(2));
    for (x, y) in x.chunks_exact(n_embd).zip(y.chunks_exact_mut(n_embd)) {
        normalize(x, &w, eps, y);
    }
}

fn twin_add(call: &Call<'_>) {
    let (n_embd, eps) = (call.usize(0), call.real(1));
    let (x, d, w) = (call.f32(0), call.f32(1), call.f32(2));
    let (mut h, mut y) = (call.f32_mut(3), call.f32_mut(4));
    for ((h, x), d) in h.iter_mut().zip(x.iter()).zip(d.iter()) {
        *h = x + d;
    }
    for (h, y) in h.chunks_exact(n_embd).zip(y.chunks_exact_mut(n_embd)) {
        normalize(h, &w, eps, y);
    }
}

fn twin_backward(call: &Call<'_>) {
    let (n_embd, eps, add) = (call.usize(0), call.real(1), call.flag(2));
    let (x, w, dy, mut dx) = (call.f32(0), call.f32(1), call.f32(2), call.f32_mut(3));
    let rows = x.chunks_exact(n_embd).zip(dy.chunks_exact(n_embd)).zip(dx.chunks_exact_mut(n_embd));
    for ((x, dy), dx) in rows {
        for (dx, d) in dx.iter_mut().zip(normalize_backward(x, &w, eps, dy)) {
            *dx = if add { *dx + d } else { d };
        }
    }
}
