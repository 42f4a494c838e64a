//! One transformer layer, forward and backward: attention, then the feed-forward layer, each around the residual stream.

use super::pass::Stream;
use super::{Component, Hooks, Input, Inputs, Model, Pass, Place, WayBack};
use crate::kernel;
use crate::plan::{Buf, Matrix, Plan};
use crate::tensor::Tensor;

/// What a layer leaves for its gradient.
pub struct LayerTrace {
    /// The stream before the layer, and between its two sublayers.
    h: [Buf; 2],
    /// q, k and v before their norm, side by side, and as attention reads them.
    qkv_raw: Buf,
    qkv: [Buf; 3],
    /// Attention's output and statistics.
    attn: [Buf; 2],
    gate_up: Buf,
    /// What the two sublayers give, before the norms after them.
    deltas: [Buf; 2],
    /// The gate after its function, where something stands there.
    gate: Option<Buf>,
}

/// The hooks of one layer.
struct At<'a> {
    layer: usize,
    hooks: &'a mut dyn Hooks,
}

impl At<'_> {
    fn place(&self, component: Component) -> Place {
        Place { layer: self.layer, component }
    }

    fn stands(&self, component: Component) -> bool {
        self.hooks.stands_at(self.place(component))
    }

    fn edit(&mut self, plan: &mut Plan, component: Component, h: Buf, inputs: Inputs) {
        if self.stands(component) {
            self.hooks.edit(plan, self.place(component), h, inputs);
        }
    }

    fn edit_backward(&mut self, plan: &mut Plan, component: Component, dh: Buf) {
        if self.stands(component) {
            self.hooks.edit_backward(plan, self.place(component), dh);
        }
    }

    fn input_backward(&mut self, plan: &mut Plan, component: Component, input: Input, dinput: Buf) {
        if self.stands(component) {
            self.hooks.input_backward(plan, self.place(component), input, dinput);
        }
    }

    /// Whether the lowest hook stands here or above: no gradient is wanted below.
    fn ends_at(&self, component: Component) -> bool {
        self.hooks.lowest().is_none_or(|lowest| lowest >= self.place(component))
    }
}

/// Appends layer `number`. Keys and values go to `cached`, or to buffers of this pass.
pub(super) fn layer(
    plan: &mut Plan,
    model: &Model,
    number: usize,
    pass: &Pass,
    cached: Option<&[Tensor; 2]>,
    stream: &mut Stream,
    hooks: &mut dyn Hooks,
) -> LayerTrace {
    let weights = &model.weights.layers[number];
    let eps = model.dims.norm_eps;
    let mut at = At { layer: number, hooks };

    if at.stands(Component::BlockInput) {
        let h = stream.settle(plan);
        at.edit(plan, Component::BlockInput, h, Inputs::default());
    }
    let xn =
        sublayer_input(plan, stream, weights.attn_norm.as_ref(), eps, Component::AttentionInput, &mut at);
    let h_in = stream.h;
    let (qkv_raw, qkv) = attention_inputs(plan, model, pass, cached, xn, &mut at);
    let attn = kernel::attention(plan, &model.heads(number), qkv, pass.span);
    let value = match at.stands(Component::AttentionValueOutput) {
        true => kernel::copy(plan, "attn", attn[0]), // attention's gradient wants its own output
        false => attn[0],
    };
    at.edit(plan, Component::AttentionValueOutput, value, Inputs::default());
    let bias = weights.attn_out_bias.as_ref().map(|bias| plan.tensor(bias));
    let delta = linear(plan, "o", value, &weights.attn_out, bias);
    let inputs = Inputs { sublayer: Some(xn), matrix: Some(value), bias };
    at.edit(plan, Component::AttentionOutput, delta, inputs);
    stream.pending = Some(normed(plan, delta, weights.attn_post_norm.as_ref(), eps));
    let attn_delta = delta;

    let xn = sublayer_input(plan, stream, weights.ffn_norm.as_ref(), eps, Component::MlpInput, &mut at);
    let h_mid = stream.h;
    let bias = weights.gate_up_bias.as_ref().map(|bias| plan.tensor(bias));
    let gate_up = linear(plan, "gate_up", xn, &weights.gate_up, bias);
    let inputs = Inputs { bias, ..Inputs::of_matrix(xn) };
    at.edit(plan, Component::GateOutput, gate_up, inputs);
    at.edit(plan, Component::UpOutput, gate_up, inputs);
    let gate = at.stands(Component::MlpActivation).then(|| kernel::glu_gate(plan, model.arch.act, gate_up));
    let act = match gate {
        Some(gate) => {
            at.edit(plan, Component::MlpActivation, gate, Inputs::default());
            kernel::mul_up(plan, "act", gate, gate_up)
        }
        None => kernel::glu(plan, model.arch.act, gate_up),
    };
    let bias = weights.down_bias.as_ref().map(|bias| plan.tensor(bias));
    let delta = linear(plan, "down", act, &weights.down, bias);
    let inputs = Inputs { sublayer: Some(xn), matrix: Some(act), bias };
    at.edit(plan, Component::MlpOutput, delta, inputs);
    stream.pending = Some(normed(plan, delta, weights.ffn_post_norm.as_ref(), eps));
    if at.stands(Component::BlockOutput) {
        let h = stream.settle(plan);
        at.edit(plan, Component::BlockOutput, h, Inputs::default());
    }
    LayerTrace { h: [h_in, h_mid], qkv_raw, qkv, attn, gate_up, gate, deltas: [attn_delta, delta] }
}

/// What a sublayer reads: the norm of the stream, or where there is none, the stream itself, and a copy of it where it is edited.
fn sublayer_input(
    plan: &mut Plan,
    stream: &mut Stream,
    norm: Option<&Tensor>,
    eps: f32,
    component: Component,
    at: &mut At<'_>,
) -> Buf {
    let x = match norm {
        Some(norm) => stream.norm(plan, norm, eps),
        None => stream.settle(plan),
    };
    let x = if norm.is_none() && at.stands(component) { kernel::copy(plan, "x", x) } else { x };
    at.edit(plan, component, x, Inputs::default());
    x
}

/// The norm of what a sublayer gives, where there is one.
fn normed(plan: &mut Plan, delta: Buf, norm: Option<&Tensor>, eps: f32) -> Buf {
    match norm {
        Some(norm) => {
            let norm = plan.tensor(norm);
            kernel::rms_norm(plan, delta, norm, eps)
        }
        None => delta,
    }
}

/// q, k and v of a layer side by side, and each normed and turned by position.
fn attention_inputs(
    plan: &mut Plan,
    model: &Model,
    pass: &Pass,
    cached: Option<&[Tensor; 2]>,
    xn: Buf,
    at: &mut At<'_>,
) -> (Buf, [Buf; 3]) {
    let weights = &model.weights.layers[at.layer];
    let [n_tokens, _] = plan.shape(xn);
    let bias = weights.qkv_bias.as_ref().map(|bias| plan.tensor(bias));
    let qkv = linear(plan, "qkv", xn, &weights.qkv, bias);
    for component in QKV {
        at.edit(plan, component, qkv, Inputs { bias, ..Inputs::of_matrix(xn) });
    }
    let [k, v] = match cached {
        Some(cached) => cached.each_ref().map(|tensor| plan.tensor(tensor)),
        None => ["k", "v"].map(|name| plan.scratch(name, &[n_tokens, model.dims.kv_width()])),
    };
    let normed = match (model.qk_norm(), &weights.qk_norm) {
        (Some(norm), Some(w)) => {
            let w = plan.tensor(w);
            kernel::qk_norm(plan, &norm, qkv, w)
        }
        _ => qkv,
    };
    let (rope, table) = model.rope(at.layer);
    let table = plan.tensor(table);
    let q = kernel::rope_qkv(plan, &rope, normed, [table, pass.place], [k, v]);
    (qkv, [q, k, v])
}

const QKV: [Component; 3] = [Component::QueryOutput, Component::KeyOutput, Component::ValueOutput];

/// Appends the way back through layer `number`: `dh` is the gradient of the stream after it, and becomes that of the
/// stream before it, unless the lowest hook stands in this layer. A layer whose output alone is edited needs no trace.
pub(super) fn layer_backward(
    plan: &mut Plan,
    model: &Model,
    number: usize,
    way: &WayBack,
    trace: Option<&LayerTrace>,
    dh: Buf,
    hooks: &mut dyn Hooks,
) {
    let mut at = At { layer: number, hooks };
    at.edit_backward(plan, Component::BlockOutput, dh);
    if at.ends_at(Component::BlockOutput) {
        return;
    }
    let trace = trace.expect("the layer stands in the forward pass");
    let weights = &model.weights.layers[number];
    let eps = model.dims.norm_eps;
    let after = (trace.deltas[1], weights.ffn_post_norm.as_ref());
    let d = sublayer_gradient(plan, Component::MlpOutput, after, eps, dh, &mut at);
    if at.ends_at(Component::MlpOutput) {
        return;
    }
    mlp_backward(plan, model, trace, d, dh, &mut at);
    if at.ends_at(Component::MlpInput) {
        return;
    }
    let after = (trace.deltas[0], weights.attn_post_norm.as_ref());
    let d = sublayer_gradient(plan, Component::AttentionOutput, after, eps, dh, &mut at);
    if at.ends_at(Component::AttentionOutput) {
        return;
    }
    attention_backward(plan, model, way, trace, d, dh, &mut at);
    if at.ends_at(Component::AttentionInput) {
        return;
    }
    at.edit_backward(plan, Component::BlockInput, dh);
}

/// The gradient of what a sublayer gave: the stream's own, taken back through the norm after it, if there is one, and where a hook
/// stands, a copy of it taken back through the hook.
fn sublayer_gradient(
    plan: &mut Plan,
    component: Component,
    (delta, norm): (Buf, Option<&Tensor>),
    eps: f32,
    dh: Buf,
    at: &mut At<'_>,
) -> Buf {
    let d = match norm {
        Some(norm) => {
            let shape: [usize; 2] = plan.shape(dh);
            let (norm, d) = (plan.tensor(norm), plan.scratch("ddelta", &shape));
            kernel::rms_norm_backward(plan, [delta, norm], eps, dh, d, false);
            d
        }
        None if at.stands(component) => kernel::copy(plan, "ddelta", dh),
        None => dh,
    };
    at.edit_backward(plan, component, d);
    d
}

/// Adds to `dh` the gradient `dx` of what a sublayer read, taken back through the norm of the stream `h`, if there is one.
fn sublayer_input_gradient(plan: &mut Plan, h: Buf, norm: Option<&Tensor>, eps: f32, dx: Buf, dh: Buf) {
    match norm {
        Some(norm) => {
            let norm = plan.tensor(norm);
            kernel::rms_norm_backward(plan, [h, norm], eps, dx, dh, true);
        }
        None => kernel::add_onto(plan, dx, dh),
    }
}

/// Adds to `dh` what comes back through the feed-forward layer from `d`.
fn mlp_backward(plan: &mut Plan, model: &Model, trace: &LayerTrace, d: Buf, dh: Buf, at: &mut At<'_>) {
    let weights = &model.weights.layers[at.layer];
    let dact = linear_backward(plan, "dact", d, &weights.down);
    at.input_backward(plan, Component::MlpOutput, Input::Matrix, dact);
    let dgate_up = match trace.gate {
        Some(gate) => {
            let dgate = kernel::mul_up(plan, "dgate", dact, trace.gate_up);
            at.edit_backward(plan, Component::MlpActivation, dgate);
            if at.ends_at(Component::MlpActivation) {
                return;
            }
            kernel::glu_gate_backward(plan, model.arch.act, [trace.gate_up, gate], [dact, dgate])
        }
        None => kernel::glu_backward(plan, model.arch.act, trace.gate_up, dact),
    };
    at.edit_backward(plan, Component::UpOutput, dgate_up);
    at.edit_backward(plan, Component::GateOutput, dgate_up);
    if at.ends_at(Component::GateOutput) {
        return;
    }
    let dxn = linear_backward(plan, "dxn", dgate_up, &weights.gate_up);
    at.input_backward(plan, Component::UpOutput, Input::Matrix, dxn);
    at.input_backward(plan, Component::GateOutput, Input::Matrix, dxn);
    at.input_backward(plan, Component::MlpOutput, Input::Sublayer, dxn);
    at.edit_backward(plan, Component::MlpInput, dxn);
    if at.ends_at(Component::MlpInput) {
        return;
    }
    let (norm, eps) = (weights.ffn_norm.as_ref(), model.dims.norm_eps);
    sublayer_input_gradient(plan, trace.h[1], norm, eps, dxn, dh);
}

/// Adds to `dh` what comes back through attention from `d`.
fn attention_backward(
    plan: &mut Plan,
    model: &Model,
    way: &WayBack,
    trace: &LayerTrace,
    d: Buf,
    dh: Buf,
    at: &mut At<'_>,
) {
    let weights = &model.weights.layers[at.layer];
    let dattn = linear_backward(plan, "dattn", d, &weights.attn_out);
    at.input_backward(plan, Component::AttentionOutput, Input::Matrix, dattn);
    at.edit_backward(plan, Component::AttentionValueOutput, dattn);
    if at.ends_at(Component::AttentionValueOutput) {
        return;
    }
    let heads = model.heads(at.layer);
    let [_, k, v] = trace.qkv;
    let own = match way.cache_rows {
        Some(rows) => [k, v].map(|cached| kernel::gather_rows(plan, "own", rows, cached)),
        None => [k, v],
    };
    let runs = [way.span, way.reach];
    let dqkv = kernel::attention_backward(plan, &heads, trace.qkv, own, runs, trace.attn, dattn);
    let (rope, table) = model.rope(at.layer);
    let table = plan.tensor(table);
    let dqkv = kernel::rope_qkv_backward(plan, &rope, dqkv, [table, way.place]);
    if let (Some(norm), Some(w)) = (model.qk_norm(), &weights.qk_norm) {
        let w = plan.tensor(w);
        kernel::qk_norm_backward(plan, &norm, [trace.qkv_raw, w], dqkv);
    }
    for component in QKV {
        at.edit_backward(plan, component, dqkv);
    }
    if at.ends_at(Component::QueryOutput) {
        return;
    }
    let dxn = linear_backward(plan, "dxn", dqkv, &weights.qkv);
    for component in QKV {
        at.input_backward(plan, component, Input::Matrix, dxn);
    }
    at.input_backward(plan, Component::AttentionOutput, Input::Sublayer, dxn);
    at.edit_backward(plan, Component::AttentionInput, dxn);
    if at.ends_at(Component::AttentionInput) {
        return;
    }
    let (norm, eps) = (weights.attn_norm.as_ref(), model.dims.norm_eps);
    sublayer_input_gradient(plan, trace.h[0], norm, eps, dxn, dh);
}

/// x · Wᵀ + bias, where there is one, in a new buffer.
pub(super) fn linear(plan: &mut Plan, label: &str, x: Buf, matrix: &Matrix, bias: Option<Buf>) -> Buf {
    let [n_tokens, _] = plan.shape(x);
    let y = plan.scratch(label, &[n_tokens, matrix.rows]);
    if let Some(bias) = bias {
        kernel::broadcast_row(plan, bias, y);
    }
    kernel::matmul(plan, x, matrix, y, bias.is_some());
    y
}

/// dy · W in a new buffer.
pub(super) fn linear_backward(plan: &mut Plan, label: &str, dy: Buf, matrix: &Matrix) -> Buf {
    let [n_tokens, _] = plan.shape(dy);
    let dx = plan.scratch(label, &[n_tokens, matrix.cols]);
    kernel::matmul_backward(plan, dy, matrix, dx, false);
    dx
}
