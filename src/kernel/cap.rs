//! Logits under a cap (Gemma 2, arXiv:2408.00118). Their gradient goes back through it in [`super::cross_entropy`].

use super::declare::kernel;
use super::{CAP as CAPPED, capped};
use crate::plan::{Buf, Plan};

kernel! {
    /// l = cap · tanh(l / cap), in place.
    CAP: cap {
        wgsl: [CAPPED, wgsl!("cap.wgsl")],
        params { n_vocab: usize, cap: f32 }
        args { logits: InOut<f32> }
        twin: twin,
    }
}

/// Puts logits [M, V] under a cap, in place.
pub fn cap(plan: &mut Plan, logits: Buf, cap: f32) {
    let [n_rows, n_vocab] = plan.shape(logits);
    plan.dispatch(
        &CAP,
        cap::Params { n_vocab, cap },
        cap::Bufs { logits },
        [n_vocab.div_ceil(64), n_rows, 1],
    );
}

fn twin(p: &cap::Params, a: cap::Args<'_>) {
    a.logits.iter_mut().for_each(|logit| *logit = capped(*logit, p.cap));
}
