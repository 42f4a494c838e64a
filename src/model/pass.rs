//! A pass of tokens through all layers, and the gradient's way back.

use super::layer::{LayerTrace, layer, layer_backward};
use super::{Cache, Hooks, Model};
use crate::kernel;
use crate::plan::{Buf, Plan};
use crate::tensor::Tensor;

/// The inputs of a pass of T tokens: some sequences, one after the other, without padding.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Ids `[T]`.
    pub tokens: Buf,
    /// Position, and row of keys and values [T, 2].
    pub place: Buf,
    /// The rows of keys that each token sees [T, 2].
    pub span: Buf,
}

impl Pass {
    /// Buffers for the inputs of a pass of `n_tokens`.
    pub fn new(plan: &mut Plan, n_tokens: usize) -> Pass {
        Pass {
            tokens: plan.kept("tokens", &[n_tokens]),
            place: plan.kept("place", &[n_tokens, 2]),
            span: plan.kept("span", &[n_tokens, 2]),
        }
    }
}

/// The inputs of the way back through a pass.
#[derive(Clone, Copy)]
pub struct WayBack {
    /// Position, and row within the pass [T, 2].
    pub place: Buf,
    /// As the pass's.
    pub span: Buf,
    /// The tokens of the pass that see each of its tokens: first, end [T, 2].
    pub reach: Buf,
    /// The rows of the cache that hold the pass's own keys and values `[T]`, where it has a cache.
    pub cache_rows: Option<Buf>,
}

/// Appends all layers; returns the hidden states after the last one, [T, D]. Keys and values go to the cache, if there is
/// one, and are only those of this pass otherwise.
pub fn forward(
    plan: &mut Plan,
    model: &Model,
    pass: &Pass,
    cache: Option<&Cache>,
    hooks: &mut dyn Hooks,
) -> Buf {
    forward_kept(plan, model, pass, cache, hooks).0
}

/// As [`forward`]; also returns what [`backward`] wants.
pub fn forward_kept(
    plan: &mut Plan,
    model: &Model,
    pass: &Pass,
    cache: Option<&Cache>,
    hooks: &mut dyn Hooks,
) -> (Buf, Vec<Option<LayerTrace>>) {
    let h = embed(plan, model, pass.tokens);
    forward_from(plan, model, pass, cache, hooks, (h, 0))
}

/// Appends the embeddings [T, D] of `tokens [T]`.
pub fn embed(plan: &mut Plan, model: &Model, tokens: Buf) -> Buf {
    plan.at("embed");
    kernel::embed(plan, tokens, &model.weights.embed, model.consts.embed_scale)
}

/// As [`forward_kept`], from the hidden states [T, D] before layer `first` on.
pub fn forward_from(
    plan: &mut Plan,
    model: &Model,
    pass: &Pass,
    cache: Option<&Cache>,
    hooks: &mut dyn Hooks,
    (h, first): (Buf, usize),
) -> (Buf, Vec<Option<LayerTrace>>) {
    let mut stream = Stream { h, pending: None };
    let mut traces: Vec<Option<LayerTrace>> = (0..first).map(|_| None).collect();
    for number in first..model.dims.n_layer {
        plan.at(format!("layer {number}"));
        let cached = cache.map(|cache| cache.layer(number));
        traces.push(Some(layer(plan, model, number, pass, cached, &mut stream, hooks)));
    }
    plan.at("end");
    (stream.settle(plan), traces)
}

/// Appends the way back of `dh`, the gradient of what [`forward_kept`] returned, down to the lowest hook and no further.
pub fn backward(
    plan: &mut Plan,
    model: &Model,
    way: &WayBack,
    traces: &[Option<LayerTrace>],
    dh: Buf,
    hooks: &mut dyn Hooks,
) {
    let Some(lowest) = hooks.lowest() else { return };
    for (number, trace) in traces.iter().enumerate().skip(lowest.layer).rev() {
        plan.at(format!("layer {number}"));
        layer_backward(plan, model, number, way, trace.as_ref(), dh, hooks);
    }
}

/// The residual stream between sublayers: what is settled, and what the last sublayer adds to it, which the next norm
/// takes in on its way.
pub(super) struct Stream {
    pub(super) h: Buf,
    pub(super) pending: Option<Buf>,
}

impl Stream {
    /// Adds what is pending.
    pub(super) fn settle(&mut self, plan: &mut Plan) -> Buf {
        if let Some(delta) = self.pending.take() {
            self.h = kernel::add(plan, "h", self.h, delta);
        }
        self.h
    }

    /// Adds what is pending and returns the norm of the stream, scaled by `w`.
    pub(super) fn norm(&mut self, plan: &mut Plan, w: &Tensor, eps: f32) -> Buf {
        let w = plan.tensor(w);
        match self.pending.take() {
            Some(delta) => {
                let [h, normed] = kernel::add_rms_norm(plan, [self.h, delta], w, eps);
                self.h = h;
                normed
            }
            None => kernel::rms_norm(plan, self.h, w, eps),
        }
    }
}
