//! A small trained matrix: of the head of a classifier, a regression or a reward model, and of encoders.

use super::{REDUCE, add_scaled, dot};
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Kernel, Plan, Word};

pub(super) static DENSE: Kernel = Kernel {
    name: "dense",
    wgsl: &[REDUCE, include_str!("../../shaders/dense.wgsl")],
    params: &[("n_in", U32), ("n_out", U32), ("w_at", U32), ("b_at", U32), ("x_at", U32), ("y_at", U32)],
    args: &[("x", In), ("theta", In), ("y", InOut)],
    weight: false,
    twin,
};

pub(super) static DENSE_BACKWARD: Kernel = Kernel {
    name: "dense_backward",
    wgsl: &[include_str!("../../shaders/dense_backward.wgsl")],
    params: &[("n_in", U32), ("n_out", U32), ("w_at", U32), ("dy_at", U32), ("dx_at", U32)],
    args: &[("dy", In), ("theta", In), ("dx", InOut)],
    weight: false,
    twin: twin_backward,
};

pub(super) static DENSE_PARAMS: Kernel = Kernel {
    name: "dense_params",
    wgsl: &[include_str!("../../shaders/dense_params.wgsl")],
    params: &[
        ("n_rows", U32),
        ("n_in", U32),
        ("n_out", U32),
        ("w_at", U32),
        ("b_at", U32),
        ("x_at", U32),
        ("dy_at", U32),
    ],
    args: &[("x", In), ("dy", In), ("grad", InOut)],
    weight: false,
    twin: twin_params,
};

/// A small matrix as the kernels see it: where its numbers lie in the flat buffer of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense {
    /// Inputs, D.
    pub n_in: usize,
    /// Outputs, N.
    pub n_out: usize,
    /// First element of W [N, D].
    pub w_at: usize,
    /// First element of b `[N]`, if there is one.
    pub b_at: Option<usize>,
}

impl Dense {
    fn bias(&self) -> Word {
        self.b_at.map_or(Word::U32(u32::MAX), Into::into)
    }
}

/// Rows that begin at an element of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The buffer.
    pub buf: Buf,
    /// Their first element.
    pub at: usize,
}

impl From<Buf> for Rows {
    fn from(buf: Buf) -> Rows {
        Rows { buf, at: 0 }
    }
}

/// y [M, N] of x [M, D], in a new buffer.
pub fn dense(plan: &mut Plan, it: &Dense, x: Buf, theta: Buf) -> Buf {
    let [n_rows, _] = plan.shape(x);
    plan.expect("dense: x", x, &[n_rows, it.n_in]);
    let y = plan.scratch("scores", &[n_rows, it.n_out]);
    dense_into(plan, it, n_rows, [x.into(), y.into()], theta);
    y
}

/// y [M, N] of `n_rows` of x [M, D].
pub fn dense_into(plan: &mut Plan, it: &Dense, n_rows: usize, [x, y]: [Rows; 2], theta: Buf) {
    let params = [it.n_in.into(), it.n_out.into(), it.w_at.into(), it.bias(), x.at.into(), y.at.into()];
    plan.dispatch(&DENSE, &params, &[x.buf, theta, y.buf], [n_rows, it.n_out, 1]);
}

/// Gradient of [`dense`] by x [M, D], in a new buffer; its parameters' gradients go to `grad`.
pub fn dense_backward(plan: &mut Plan, it: &Dense, x: Buf, dy: Buf, of: [Buf; 2]) -> Buf {
    let [n_rows, _] = plan.shape(x);
    plan.expect("dense_backward: dy", dy, &[n_rows, it.n_out]);
    let dx = plan.scratch("dscored", &[n_rows, it.n_in]);
    dense_backward_into(plan, it, n_rows, [x.into(), dy.into(), dx.into()], of);
    dx
}

/// As [`dense_backward`], for `n_rows` of x, dy and dx.
pub fn dense_backward_into(
    plan: &mut Plan,
    it: &Dense,
    n_rows: usize,
    [x, dy, dx]: [Rows; 3],
    [theta, grad]: [Buf; 2],
) {
    let columns = it.n_in.div_ceil(64);
    let params = [it.n_in, it.n_out, it.w_at, dy.at, dx.at].map(Into::into);
    plan.dispatch(&DENSE_BACKWARD, &params, &[dy.buf, theta, dx.buf], [columns, n_rows, 1]);
    let sizes = [n_rows, it.n_in, it.n_out, it.w_at].map(Into::into);
    let params = [sizes.as_slice(), &[it.bias(), x.at.into(), dy.at.into()]].concat();
    plan.dispatch(&DENSE_PARAMS, &params, &[x.buf, dy.buf, grad], [columns, it.n_out, 1]);
}

/// b, if there is one.
fn bias_at(call: &Call<'_>, index: usize) -> Option<usize> {
    Some(call.usize(index)).filter(|at| *at as u32 != u32::MAX)
}

fn twin(call: &Call<'_>) {
    let [n_in, n_out, w_at] = [0, 1, 2].map(|i| call.usize(i));
    let b_at = bias_at(call, 3);
    let [x_at, y_at] = [4, 5].map(|i| call.usize(i));
    let n_rows = call.groups(0);
    let (x, theta, mut y) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let (x, y) = (&x[x_at..][..n_rows * n_in], &mut y[y_at..][..n_rows * n_out]);
    for (x, y) in x.chunks_exact(n_in).zip(y.chunks_exact_mut(n_out)) {
        for (j, y) in y.iter_mut().enumerate() {
            *y = dot(x, &theta[w_at + j * n_in..][..n_in]) + b_at.map_or(0.0, |at| theta[at + j]);
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let [n_in, n_out, w_at] = [0, 1, 2].map(|i| call.usize(i));
    let [dy_at, dx_at] = [3, 4].map(|i| call.usize(i));
    let n_rows = call.groups(1);
    let (dy, theta, mut dx) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let (dy, dx) = (&dy[dy_at..][..n_rows * n_out], &mut dx[dx_at..][..n_rows * n_in]);
    for (dy, dx) in dy.chunks_exact(n_out).zip(dx.chunks_exact_mut(n_in)) {
        dx.fill(0.0);
        for (j, dy) in dy.iter().enumerate() {
            add_scaled(dx, *dy, &theta[w_at + j * n_in..][..n_in]);
        }
    }
}

fn twin_params(call: &Call<'_>) {
    let [n_rows, n_in, n_out, w_at] = [0, 1, 2, 3].map(|i| call.usize(i));
    let b_at = bias_at(call, 4);
    let (x, dy, mut grad) = (call.f32(0), call.f32(1), call.f32_mut(2));
    let (x, dy) = (&x[call.usize(5)..], &dy[call.usize(6)..]);
    for j in 0..n_out {
        let of_output = |m: usize| dy[m * n_out + j];
        let dw = &mut grad[w_at + j * n_in..][..n_in];
        dw.fill(0.0);
        (0..n_rows).for_each(|m| add_scaled(dw, of_output(m), &x[m * n_in..][..n_in]));
        if let Some(at) = b_at {
            grad[at + j] = (0..n_rows).map(of_output).sum();
        }
    }
}
