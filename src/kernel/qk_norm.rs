//! The norm of queries and keys before they are turned (Henry et al. 2020, arXiv:2010.04245): of each head, or of all of a token's
//! at once.

use super::REDUCE;
use super::rms_norm::{normalize, normalize_backward};
use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Field, Kernel, Plan, Word};
use std::ops::Range;

const GROUPS: &str = include_str!("../../shaders/lib/qk_groups.wgsl");

const PARAMS: &[(&str, Field)] =
    &[("width", U32), ("n_q", U32), ("q_width", U32), ("n_k", U32), ("k_width", U32), ("eps", F32)];

pub(super) static QK_NORM: Kernel = Kernel {
    name: "qk_norm",
    wgsl: &[REDUCE, GROUPS, include_str!("../../shaders/qk_norm.wgsl")],
    params: PARAMS,
    args: &[("qkv", In), ("w", In), ("y", Out)],
    weight: false,
    twin,
};

pub(super) static QK_NORM_BACKWARD: Kernel = Kernel {
    name: "qk_norm_backward",
    wgsl: &[REDUCE, GROUPS, include_str!("../../shaders/qk_norm_backward.wgsl")],
    params: PARAMS,
    args: &[("qkv", In), ("w", In), ("dqkv", InOut)],
    weight: false,
    twin: twin_backward,
};

/// The groups of values of a token's queries and keys that are normed, each by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QkNorm {
    /// Groups of queries.
    pub n_q: usize,
    /// Values in each; a multiple of 4.
    pub q_width: usize,
    /// Groups of keys.
    pub n_k: usize,
    /// Values in each; a multiple of 4.
    pub k_width: usize,
    /// Added to the mean square.
    pub eps: f32,
}

impl QkNorm {
    fn params(&self, width: usize) -> [Word; 6] {
        let [width, n_q, q_width, n_k, k_width] =
            [width, self.n_q, self.q_width, self.n_k, self.k_width].map(Into::into);
        [width, n_q, q_width, n_k, k_width, self.eps.into()]
    }

    fn of(call: &Call<'_>) -> QkNorm {
        let [n_q, q_width, n_k, k_width] = [1, 2, 3, 4].map(|i| call.usize(i));
        QkNorm { n_q, q_width, n_k, k_width, eps: call.real(5) }
    }

    fn expect(&self, plan: &Plan, qkv: Buf, w: Buf) -> [usize; 2] {
        plan.expect("qk_norm: w", w, &[self.q_width + self.k_width]);
        plan.shape(qkv)
    }

    /// For each group its values in a row, and its weights.
    fn groups(self) -> impl Iterator<Item = [Range<usize>; 2]> {
        let QkNorm { n_q, q_width, n_k, k_width, .. } = self;
        let keys = n_q * q_width;
        let q = (0..n_q).map(move |i| [i * q_width..(i + 1) * q_width, 0..q_width]);
        let k =
            (0..n_k).map(move |i| [keys + i * k_width..keys + (i + 1) * k_width, q_width..q_width + k_width]);
        q.chain(k)
    }
}

/// qkv [T, W] with its queries and keys normed and scaled by w, [q_width + k_width]; values as they are.
pub fn qk_norm(plan: &mut Plan, norm: &QkNorm, qkv: Buf, w: Buf) -> Buf {
    let [n_tokens, width] = norm.expect(plan, qkv, w);
    let y = plan.scratch("qkv_normed", &[n_tokens, width]);
    plan.dispatch(&QK_NORM, &norm.params(width), &[qkv, w, y], [norm.n_q + norm.n_k + 1, n_tokens, 1]);
    y
}

/// Takes `dqkv`, the gradient of [`qk_norm`] of `qkv`, back in place.
pub fn qk_norm_backward(plan: &mut Plan, norm: &QkNorm, [qkv, w]: [Buf; 2], dqkv: Buf) {
    let [n_tokens, width] = norm.expect(plan, qkv, w);
    plan.expect("qk_norm_backward: dqkv", dqkv, &[n_tokens, width]);
    let grid = [norm.n_q + norm.n_k, n_tokens, 1];
    plan.dispatch(&QK_NORM_BACKWARD, &norm.params(width), &[qkv, w, dqkv], grid);
}

fn twin(call: &Call<'_>) {
    let (width, norm) = (call.usize(0), QkNorm::of(call));
    let (qkv, w, mut y) = (call.f32(0), call.f32(1), call.f32_mut(2));
    for (qkv, y) in qkv.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        y.copy_from_slice(qkv);
        for [values, weights] in norm.groups() {
            normalize(&qkv[values.clone()], &w[weights], norm.eps, &mut y[values]);
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let (width, norm) = (call.usize(0), QkNorm::of(call));
    let (qkv, w, mut dqkv) = (call.f32(0), call.f32(1), call.f32_mut(2));
    for (qkv, dqkv) in qkv.chunks_exact(width).zip(dqkv.chunks_exact_mut(width)) {
        for [values, weights] in norm.groups() {
            let d = normalize_backward(&qkv[values.clone()], &w[weights], norm.eps, &dqkv[values.clone()]);
            dqkv[values].copy_from_slice(&d);
        }
    }
}
