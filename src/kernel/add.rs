//! Adds one buffer to another: the residual, where a hook stands between a sublayer and it.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static ADD: Kernel = Kernel {
    name: "add",
    wgsl: &[include_str!("../../shaders/add.wgsl")],
    params: &[("n", U32)],
    args: &[("x", In), ("y", InOut)],
    weight: false,
    twin,
};

/// y += x, both [T, D].
pub fn add(plan: &mut Plan, x: Buf, y: Buf) {
    let [n_tokens, n_embd] = plan.shape(y);
    plan.expect("add: x", x, &[n_tokens, n_embd]);
    let n = n_tokens * n_embd;
    plan.dispatch(&ADD, &[n.into()], &[x, y], [n_embd.div_ceil(256), n_tokens, 1]);
}

fn twin(call: &Call<'_>) {
    super::add_scaled(&mut call.f32_mut(1)[..call.usize(0)], 1.0, &call.f32(0));
}
