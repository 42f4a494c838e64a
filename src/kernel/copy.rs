//! A copy of rows, where two gradients part ways, or where a product wants rows of their own.

use super::declare::kernel;
use super::dense::Rows;
use crate::plan::{Buf, Plan};

kernel! {
    /// y = x.
    COPY: copy {
        wgsl: [wgsl!("copy.wgsl")],
        params { n_embd: usize }
        args { x: In<f32>, y: Out<f32> }
        twin: twin,
    }
}

kernel! {
    /// Copies rows out of a flat buffer.
    COPY_FROM: copy_from {
        wgsl: [wgsl!("copy_from.wgsl")],
        params { n_embd: usize, x_at: usize }
        args { x: In<f32>, y: Out<f32> }
        twin: twin_from,
    }
}

/// A copy of x [T, D].
pub fn copy(plan: &mut Plan, label: &str, x: Buf) -> Buf {
    let [n_tokens, n_embd] = plan.shape(x);
    let y = plan.scratch(label, &[n_tokens, n_embd]);
    plan.dispatch(&COPY, copy::Params { n_embd }, copy::Bufs { x, y }, [n_embd.div_ceil(256), n_tokens, 1]);
    y
}

/// A copy [T, D] of rows that begin at an element of x.
pub fn copy_from(plan: &mut Plan, label: &str, x: Rows, [n_rows, n_embd]: [usize; 2]) -> Buf {
    let y = plan.scratch(label, &[n_rows, n_embd]);
    plan.dispatch(
        &COPY_FROM,
        copy_from::Params { n_embd, x_at: x.at },
        copy_from::Bufs { x: x.buf, y },
        [n_embd.div_ceil(64), n_rows, 1],
    );
    y
}

fn twin_from(p: &copy_from::Params, a: copy_from::Args<'_>) {
    let copy_from::Params { x_at, .. } = *p;
    let copy_from::Args { x, y } = a;
    let n = y.len();
    y[..n].copy_from_slice(&x[x_at..][..n]);
}

fn twin(_: &copy::Params, a: copy::Args<'_>) {
    let copy::Args { x, y } = a;
    let n = x.len().min(y.len());
    y[..n].copy_from_slice(&x[..n]);
}
