//! A small trained matrix: of the head of a classifier, a regression or a reward model, and of encoders.

use super::declare::kernel;
use super::{REDUCE, Sums, dot, sum};
use crate::plan::{Buf, Plan};

kernel! {
    /// y = x·Wᵀ + b, with trained W and b.
    DENSE: dense {
        wgsl: [REDUCE, wgsl!("dense.wgsl")],
        params {
            n_rows: usize,
            n_in: usize,
            n_out: usize,
            w_at: usize,
            b_at: Option<usize>,
            x_at: usize,
            y_at: usize,
        }
        args { x: In<f32>, theta: In<f32>, y: InOut<f32> }
        twin: twin,
    }
}

kernel! {
    /// dx = dy·W, the gradient of `dense` by its input.
    DENSE_BACKWARD: dense_backward {
        wgsl: [wgsl!("dense_backward.wgsl")],
        params { n_rows: usize, n_in: usize, n_out: usize, w_at: usize, dy_at: usize, dx_at: usize }
        args { dy: In<f32>, theta: In<f32>, dx: InOut<f32> }
        twin: twin_backward,
    }
}

kernel! {
    /// dW = dyᵀ·x and db = Σ dy, the gradients of `dense` by its parameters.
    DENSE_PARAMS: dense_params {
        wgsl: [wgsl!("dense_params.wgsl")],
        params {
            n_rows: usize,
            n_in: usize,
            n_out: usize,
            w_at: usize,
            b_at: Option<usize>,
            x_at: usize,
            dy_at: usize,
        }
        args { x: In<f32>, dy: In<f32>, grad: InOut<f32> }
        twin: twin_params,
    }
}

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
    plan.dispatch(
        &DENSE,
        dense::Params {
            n_rows,
            n_in: it.n_in,
            n_out: it.n_out,
            w_at: it.w_at,
            b_at: it.b_at,
            x_at: x.at,
            y_at: y.at,
        },
        dense::Bufs { x: x.buf, theta, y: y.buf },
        [it.n_out, n_rows, 1],
    );
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
    plan.dispatch(
        &DENSE_BACKWARD,
        dense_backward::Params {
            n_rows,
            n_in: it.n_in,
            n_out: it.n_out,
            w_at: it.w_at,
            dy_at: dy.at,
            dx_at: dx.at,
        },
        dense_backward::Bufs { dy: dy.buf, theta, dx: dx.buf },
        [columns, n_rows, 1],
    );
    let params = dense_params::Params {
        n_rows,
        n_in: it.n_in,
        n_out: it.n_out,
        w_at: it.w_at,
        b_at: it.b_at,
        x_at: x.at,
        dy_at: dy.at,
    };
    let bufs = dense_params::Bufs { x: x.buf, dy: dy.buf, grad };
    plan.dispatch(&DENSE_PARAMS, params, bufs, [columns, it.n_out, 1]);
}

fn twin(p: &dense::Params, a: dense::Args<'_>) {
    let dense::Params { n_rows, n_in, n_out, w_at, b_at, x_at, y_at } = *p;
    let dense::Args { x, theta, y } = a;
    let (x, y) = (&x[x_at..][..n_rows * n_in], &mut y[y_at..][..n_rows * n_out]);
    for (x, y) in x.chunks_exact(n_in).zip(y.chunks_exact_mut(n_out)) {
        for (j, y) in y.iter_mut().enumerate() {
            *y = dot(x, &theta[w_at + j * n_in..][..n_in]) + b_at.map_or(0.0, |at| theta[at + j]);
        }
    }
}

fn twin_backward(p: &dense_backward::Params, a: dense_backward::Args<'_>) {
    let dense_backward::Params { n_rows, n_in, n_out, w_at, dy_at, dx_at } = *p;
    let dense_backward::Args { dy, theta, dx } = a;
    let (dy, dx) = (&dy[dy_at..][..n_rows * n_out], &mut dx[dx_at..][..n_rows * n_in]);
    for (dy, dx) in dy.chunks_exact(n_out).zip(dx.chunks_exact_mut(n_in)) {
        let mut sums = Sums::zeros(n_in);
        for (j, dy) in dy.iter().enumerate() {
            sums.add_scaled(*dy, &theta[w_at + j * n_in..][..n_in]);
        }
        sums.store(dx);
    }
}

fn twin_params(p: &dense_params::Params, a: dense_params::Args<'_>) {
    let dense_params::Params { n_rows, n_in, n_out, w_at, b_at, x_at, dy_at } = *p;
    let dense_params::Args { x, dy, grad } = a;
    let (x, dy) = (&x[x_at..], &dy[dy_at..]);
    for j in 0..n_out {
        let of_output = |m: usize| dy[m * n_out + j];
        let mut sums = Sums::zeros(n_in);
        (0..n_rows).for_each(|m| sums.add_scaled(of_output(m), &x[m * n_in..][..n_in]));
        sums.store(&mut grad[w_at + j * n_in..][..n_in]);
        if let Some(at) = b_at {
            grad[at + j] = sum((0..n_rows).map(of_output));
        }
    }
}
