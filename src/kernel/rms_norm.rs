//! Root-mean-square normalization (Zhang and Sennrich 2019, arXiv:1910.07467), forward and backward.

use super::declare::kernel;
use super::{Pool, REDUCE, dot};
use crate::plan::{Buf, Plan};
use webreft_simd::rows;

kernel! {
    /// y = w ∘ x / sqrt(mean(x²) + eps), row by row.
    RMS_NORM: rms_norm {
        wgsl: [REDUCE, wgsl!("rms_norm.wgsl")],
        params { n_embd: usize, eps: f32 }
        args { x: In<f32>, w: In<f32>, y: Out<f32> }
        twin: twin,
        fast: fast,
    }
}

kernel! {
    /// h = x + d, and `rms_norm` of h.
    ADD_RMS_NORM: add_rms_norm {
        wgsl: [REDUCE, wgsl!("add_rms_norm.wgsl")],
        params { n_embd: usize, eps: f32 }
        args { x: In<f32>, d: In<f32>, w: In<f32>, h: Out<f32>, y: Out<f32> }
        twin: twin_add,
        fast: fast_add,
    }
}

kernel! {
    /// dx (+)= the gradient of `rms_norm` by x.
    RMS_NORM_BACKWARD: rms_norm_backward {
        wgsl: [REDUCE, wgsl!("rms_norm_backward.wgsl")],
        params { n_embd: usize, eps: f32, add: bool }
        args { x: In<f32>, w: In<f32>, dy: In<f32>, dx: InOut<f32> }
        twin: twin_backward,
        fast: fast_backward,
    }
}

/// x [T, D] with its rows normalized and scaled by w `[D]`.
pub fn rms_norm(plan: &mut Plan, x: Buf, w: Buf, eps: f32) -> Buf {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("rms_norm: w", w, &[n_embd]);
    let y = plan.scratch("xn", &[n_tokens, n_embd]);
    plan.dispatch(&RMS_NORM, rms_norm::Params { n_embd, eps }, rms_norm::Bufs { x, w, y }, [1, n_tokens, 1]);
    y
}

/// h = x + d, and h with its rows normalized and scaled by w `[D]`.
pub fn add_rms_norm(plan: &mut Plan, [x, d]: [Buf; 2], w: Buf, eps: f32) -> [Buf; 2] {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("add_rms_norm: d", d, &[n_tokens, n_embd]);
    plan.expect("add_rms_norm: w", w, &[n_embd]);
    let [h, y] = ["h", "xn"].map(|name| plan.scratch(name, &[n_tokens, n_embd]));
    plan.dispatch(
        &ADD_RMS_NORM,
        add_rms_norm::Params { n_embd, eps },
        add_rms_norm::Bufs { x, d, w, h, y },
        [1, n_tokens, 1],
    );
    [h, y]
}

/// Gradient of [`rms_norm`] by x, written over `dx` or added to it.
pub fn rms_norm_backward(plan: &mut Plan, [x, w]: [Buf; 2], eps: f32, dy: Buf, dx: Buf, add: bool) {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("rms_norm_backward: dy", dy, &[n_tokens, n_embd]);
    plan.expect("rms_norm_backward: dx", dx, &[n_tokens, n_embd]);
    plan.dispatch(
        &RMS_NORM_BACKWARD,
        rms_norm_backward::Params { n_embd, eps, add },
        rms_norm_backward::Bufs { x, w, dy, dx },
        [1, n_tokens, 1],
    );
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

fn twin(p: &rms_norm::Params, a: rms_norm::Args<'_>) {
    let rms_norm::Params { n_embd, eps } = *p;
    let rms_norm::Args { x, w, y } = a;
    for (x, y) in x.chunks_exact(n_embd).zip(y.chunks_exact_mut(n_embd)) {
        normalize(x, w, eps, y);
    }
}

fn twin_add(p: &add_rms_norm::Params, a: add_rms_norm::Args<'_>) {
    let add_rms_norm::Params { n_embd, eps } = *p;
    let add_rms_norm::Args { x, d, w, h, y } = a;
    for ((h, x), d) in h.iter_mut().zip(x.iter()).zip(d.iter()) {
        *h = x + d;
    }
    for (h, y) in h.chunks_exact(n_embd).zip(y.chunks_exact_mut(n_embd)) {
        normalize(h, w, eps, y);
    }
}

fn twin_backward(p: &rms_norm_backward::Params, a: rms_norm_backward::Args<'_>) {
    let rms_norm_backward::Params { n_embd, eps, add } = *p;
    let rms_norm_backward::Args { x, w, dy, dx } = a;
    let rows = x.chunks_exact(n_embd).zip(dy.chunks_exact(n_embd)).zip(dx.chunks_exact_mut(n_embd));
    for ((x, dy), dx) in rows {
        for (dx, d) in dx.iter_mut().zip(normalize_backward(x, w, eps, dy)) {
            *dx = if add { *dx + d } else { d };
        }
    }
}

fn fast(p: &rms_norm::Params, a: rms_norm::Args<'_>, pool: &Pool) {
    rows::rms_norm(pool, a.x, a.w, p.eps, a.y);
}

fn fast_add(p: &add_rms_norm::Params, a: add_rms_norm::Args<'_>, pool: &Pool) {
    rows::add_rms_norm(pool, [a.x, a.d], a.w, p.eps, [a.h, a.y]);
}

fn fast_backward(p: &rms_norm_backward::Params, a: rms_norm_backward::Args<'_>, pool: &Pool) {
    rows::rms_norm_backward(pool, [a.x, a.w, a.dy], p.eps, a.dx, p.add);
}
