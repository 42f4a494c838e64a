//! The residual connection, where no norm takes it in: a hook stands between, or there is none.

use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// y = a + b.
    ADD: add {
        wgsl: [wgsl!("add.wgsl")],
        params { n_embd: usize }
        args { a: In<f32>, b: In<f32>, y: Out<f32> }
        twin: twin,
    }
}

kernel! {
    /// y += x.
    ADD_ONTO: add_onto {
        wgsl: [wgsl!("add_onto.wgsl")],
        params { n_embd: usize }
        args { x: In<f32>, y: InOut<f32> }
        twin: twin_onto,
    }
}

/// a + b, all [T, D].
pub fn add(plan: &mut Plan, label: &str, a: Buf, b: Buf) -> Buf {
    let [n_tokens, n_embd] = plan.shape(a);
    plan.expect("add: b", b, &[n_tokens, n_embd]);
    let y = plan.scratch(label, &[n_tokens, n_embd]);
    plan.dispatch(&ADD, add::Params { n_embd }, add::Bufs { a, b, y }, [n_embd.div_ceil(256), n_tokens, 1]);
    y
}

/// Adds x to y, both [T, D].
pub fn add_onto(plan: &mut Plan, x: Buf, y: Buf) {
    let [n_tokens, n_embd] = plan.shape(x);
    plan.expect("add_onto: y", y, &[n_tokens, n_embd]);
    plan.dispatch(
        &ADD_ONTO,
        add_onto::Params { n_embd },
        add_onto::Bufs { x, y },
        [n_embd.div_ceil(256), n_tokens, 1],
    );
}

fn twin_onto(_: &add_onto::Params, a: add_onto::Args<'_>) {
    let add_onto::Args { x, y } = a;
    for (y, x) in y.iter_mut().zip(x.iter()) {
        *y += x;
    }
}

fn twin(_: &add::Params, a: add::Args<'_>) {
    let add::Args { a, b, y } = a;
    for ((y, a), b) in y.iter_mut().zip(a.iter()).zip(b.iter()) {
        *y = a + b;
    }
}
