//! The norm of queries and keys before they are turned (Henry et al. 2020, arXiv:2010.04245): of each head, or of all of a token's
//! at once.

use super::declare::kernel;
use super::rms_norm::{normalize, normalize_backward};
use super::{Pool, REDUCE};
use crate::plan::{Buf, Plan, record};
use std::ops::Range;
use webreft_simd::rows;

const GROUPS: &str = wgsl!("lib/qk_groups.wgsl");

kernel! {
    /// Norms queries and keys, group by group; copies values.
    QK_NORM: qk_norm {
        wgsl: [REDUCE, GROUPS, wgsl!("qk_norm.wgsl")],
        params Shape
        args { qkv: In<f32>, w: In<f32>, y: Out<f32> }
        twin: twin,
        fast: fast,
    }
}

kernel! {
    /// The gradient of `qk_norm`, in place.
    QK_NORM_BACKWARD: qk_norm_backward {
        wgsl: [REDUCE, GROUPS, wgsl!("qk_norm_backward.wgsl")],
        params Shape
        args { qkv: In<f32>, w: In<f32>, dqkv: InOut<f32> }
        twin: twin_backward,
        fast: fast_backward,
    }
}

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

record! {
    /// The groups of a row, and its width.
    struct Shape {
        width: usize,
        n_q: usize,
        q_width: usize,
        n_k: usize,
        k_width: usize,
        eps: f32,
    }
}

impl Shape {
    fn new(norm: &QkNorm, width: usize) -> Shape {
        let QkNorm { n_q, q_width, n_k, k_width, eps } = *norm;
        Shape { width, n_q, q_width, n_k, k_width, eps }
    }

    /// For each group its values in a row, and its weights.
    fn groups(self) -> impl Iterator<Item = [Range<usize>; 2]> {
        let Shape { n_q, q_width, n_k, k_width, .. } = self;
        let keys = n_q * q_width;
        let q = (0..n_q).map(move |i| [i * q_width..(i + 1) * q_width, 0..q_width]);
        let k =
            (0..n_k).map(move |i| [keys + i * k_width..keys + (i + 1) * k_width, q_width..q_width + k_width]);
        q.chain(k)
    }

    /// The values in a row of all queries, and of all keys, and the weights of one group of each.
    fn runs(self) -> [[Range<usize>; 2]; 2] {
        let Shape { n_q, q_width, n_k, k_width, .. } = self;
        let keys = n_q * q_width;
        [[0..keys, 0..q_width], [keys..keys + n_k * k_width, q_width..q_width + k_width]]
    }
}

impl QkNorm {
    fn expect(&self, plan: &Plan, qkv: Buf, w: Buf) -> [usize; 2] {
        plan.expect("qk_norm: w", w, &[self.q_width + self.k_width]);
        plan.shape(qkv)
    }
}

/// qkv [T, W] with its queries and keys normed and scaled by w, [q_width + k_width]; values as they are.
pub fn qk_norm(plan: &mut Plan, norm: &QkNorm, qkv: Buf, w: Buf) -> Buf {
    let [n_tokens, width] = norm.expect(plan, qkv, w);
    let y = plan.scratch("qkv_normed", &[n_tokens, width]);
    plan.dispatch(
        &QK_NORM,
        Shape::new(norm, width),
        qk_norm::Bufs { qkv, w, y },
        [norm.n_q + norm.n_k + 1, n_tokens, 1],
    );
    y
}

/// Takes `dqkv`, the gradient of [`qk_norm`] of `qkv`, back in place.
pub fn qk_norm_backward(plan: &mut Plan, norm: &QkNorm, [qkv, w]: [Buf; 2], dqkv: Buf) {
    let [n_tokens, width] = norm.expect(plan, qkv, w);
    plan.expect("qk_norm_backward: dqkv", dqkv, &[n_tokens, width]);
    let grid = [norm.n_q + norm.n_k, n_tokens, 1];
    plan.dispatch(&QK_NORM_BACKWARD, Shape::new(norm, width), qk_norm_backward::Bufs { qkv, w, dqkv }, grid);
}

fn twin(shape: &Shape, a: qk_norm::Args<'_>) {
    let qk_norm::Args { qkv, w, y } = a;
    for (qkv, y) in qkv.chunks_exact(shape.width).zip(y.chunks_exact_mut(shape.width)) {
        y.copy_from_slice(qkv);
        for [values, weights] in shape.groups() {
            normalize(&qkv[values.clone()], &w[weights], shape.eps, &mut y[values]);
        }
    }
}

fn twin_backward(shape: &Shape, a: qk_norm_backward::Args<'_>) {
    let qk_norm_backward::Args { qkv, w, dqkv } = a;
    for (qkv, dqkv) in qkv.chunks_exact(shape.width).zip(dqkv.chunks_exact_mut(shape.width)) {
        for [values, weights] in shape.groups() {
            let d = normalize_backward(&qkv[values.clone()], &w[weights], shape.eps, &dqkv[values.clone()]);
            dqkv[values].copy_from_slice(&d);
        }
    }
}

fn fast(shape: &Shape, a: qk_norm::Args<'_>, pool: &Pool) {
    let qk_norm::Args { qkv, w, y } = a;
    y.copy_from_slice(qkv);
    for (qkv, y) in qkv.chunks_exact(shape.width).zip(y.chunks_exact_mut(shape.width)) {
        for [values, weights] in shape.runs() {
            rows::rms_norm(pool, &qkv[values.clone()], &w[weights], shape.eps, &mut y[values]);
        }
    }
}

fn fast_backward(shape: &Shape, a: qk_norm_backward::Args<'_>, pool: &Pool) {
    let qk_norm_backward::Args { qkv, w, dqkv } = a;
    for (qkv, dqkv) in qkv.chunks_exact(shape.width).zip(dqkv.chunks_exact_mut(shape.width)) {
        for [values, weights] in shape.runs() {
            let dy = dqkv[values.clone()].to_vec();
            let inputs = [&qkv[values.clone()], &w[weights], &dy];
            rows::rms_norm_backward(pool, inputs, shape.eps, &mut dqkv[values], false);
        }
    }
}
