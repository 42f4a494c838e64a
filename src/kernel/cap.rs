//! Logits under a cap (Gemma 2, arXiv:2408.00118). Their gradient goes back through it in [`super::cross_entropy`].

use super::{CAP as CAPPED, capped};
use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::InOut;
use crate::plan::{Buf, Kernel, Plan};

pub(super) static CAP: Kernel = Kernel {
    name: "cap",
    wgsl: &[CAPPED, include_str!("../../shaders/cap.wgsl")],
    params: &[("n_vocab", U32), ("cap", F32)],
    args: &[("logits", InOut)],
    weight: false,
    twin,
};

/// Puts logits [M, V] under a cap, in place.
pub fn cap(plan: &mut Plan, logits: Buf, cap: f32) {
    let [n_rows, n_vocab] = plan.shape(logits);
    plan.dispatch(&CAP, &[n_vocab.into(), cap.into()], &[logits], [n_vocab.div_ceil(64), n_rows, 1]);
}

fn twin(call: &Call<'_>) {
    let cap = call.real(1);
    call.f32_mut(0).iter_mut().for_each(|logit| *logit = capped(*logit, cap));
}
