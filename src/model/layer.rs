//! One transformer layer, forward and backward: attention, then the feed-forward layer, each around the residual stream.

use super::pass::{Stream, place};
use super::{Component, Hooks, Model, Pass};
use crate::backend::Tensor;
use crate::kernel::{self, Heads, Rope};
use crate::plan::{Buf, Matrix, Plan};

/// What a layer leaves for its gradient.
pub struct LayerTrace {
    /// The stream before the layer, and between its two sublayers.
    h: [Buf; 2],
    qkv: [Buf; 3],
    /// Attention's output and statistics.
    attn: [Buf; 2],
    gate_up: Buf,
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

    let attn_norm = plan.tensor(&weights.attn_norm);
    let xn = stream.norm(plan, attn_norm, eps);
    let h_in = stream.h;
    let qkv = attention_inputs(plan, model, number, pass, cached, xn);
    let attn = kernel::attention(plan, &heads(model), qkv, pass.span);
    let delta = linear(plan, "o", attn[0], &weights.attn_out);
    stream.push(plan, delta, place(number, Component::AttentionOutput), hooks);

    let ffn_norm = plan.tensor(&weights.ffn_norm);
    let xn = stream.norm(plan, ffn_norm, eps);
    let h_mid = stream.h;
    let gate_up = linear(plan, "gate_up", xn, &weights.gate_up);
    let act = kernel::silu_mul(plan, gate_up);
    let delta = linear(plan, "down", act, &weights.down);
    stream.push(plan, delta, place(number, Component::MlpOutput), hooks);
    stream.settle_at(plan, place(number, Component::BlockOutput), hooks);
    LayerTrace { h: [h_in, h_mid], qkv, attn, gate_up }
}

/// q, k and v of a layer, turned by position.
fn attention_inputs(
    plan: &mut Plan,
    model: &Model,
    number: usize,
    pass: &Pass,
    cached: Option<&[Tensor; 2]>,
    xn: Buf,
) -> [Buf; 3] {
    let weights = &model.weights.layers[number];
    let [n_tokens, _] = plan.shape(xn);
    let qkv = plan.scratch("qkv", &[n_tokens, weights.qkv.rows]);
    if let Some(bias) = &weights.qkv_bias {
        let bias = plan.tensor(bias);
        kernel::broadcast_row(plan, bias, qkv);
    }
    kernel::matmul(plan, xn, &weights.qkv, qkv, weights.qkv_bias.is_some());
    let [k, v] = match cached {
        Some(cached) => cached.each_ref().map(|tensor| plan.tensor(tensor)),
        None => ["k", "v"].map(|name| plan.scratch(name, &[n_tokens, model.dims.kv_width()])),
    };
    let table = plan.tensor(&model.rope_table);
    let q = kernel::rope_qkv(plan, &rope(model), qkv, [table, pass.place], [k, v]);
    [q, k, v]
}

/// Appends the way back through layer `number`: `dh` is the gradient of the stream after it, and becomes that of the
/// stream before it, unless the lowest hook stands in this layer.
pub(super) fn layer_backward(
    plan: &mut Plan,
    model: &Model,
    number: usize,
    inputs: [Buf; 3],
    trace: &LayerTrace,
    dh: Buf,
    hooks: &mut dyn Hooks,
) {
    let lowest = hooks.lowest();
    let block = place(number, Component::BlockOutput);
    if hooks.stands_at(block) {
        hooks.edit_backward(plan, block, dh);
    }
    if lowest == Some(block) {
        return;
    }
    let mlp = place(number, Component::MlpOutput);
    let d = sublayer_gradient(plan, mlp, dh, hooks);
    if lowest == Some(mlp) {
        return;
    }
    mlp_backward(plan, model, number, trace, d, dh);
    let attention = place(number, Component::AttentionOutput);
    let d = sublayer_gradient(plan, attention, dh, hooks);
    if lowest == Some(attention) {
        return;
    }
    attention_backward(plan, model, number, inputs, trace, d, dh);
}

/// The gradient of what a sublayer added: the stream's own, or where a hook stands, a copy of it taken back through the hook.
fn sublayer_gradient(plan: &mut Plan, place: super::Place, dh: Buf, hooks: &mut dyn Hooks) -> Buf {
    if !hooks.stands_at(place) {
        return dh;
    }
    let d = kernel::copy(plan, "ddelta", dh);
    hooks.edit_backward(plan, place, d);
    d
}

/// Adds to `dh` what comes back through the feed-forward layer from `d`.
fn mlp_backward(plan: &mut Plan, model: &Model, number: usize, trace: &LayerTrace, d: Buf, dh: Buf) {
    let weights = &model.weights.layers[number];
    let dact = linear_backward(plan, "dact", d, &weights.down);
    let dgate_up = kernel::silu_mul_backward(plan, trace.gate_up, dact);
    let dxn = linear_backward(plan, "dxn", dgate_up, &weights.gate_up);
    let norm = plan.tensor(&weights.ffn_norm);
    kernel::rms_norm_backward(plan, [trace.h[1], norm], model.dims.norm_eps, dxn, dh, true);
}

/// Adds to `dh` what comes back through attention from `d`.
fn attention_backward(
    plan: &mut Plan,
    model: &Model,
    number: usize,
    [place, span, reach]: [Buf; 3],
    trace: &LayerTrace,
    d: Buf,
    dh: Buf,
) {
    let weights = &model.weights.layers[number];
    let dattn = linear_backward(plan, "dattn", d, &weights.attn_out);
    let dqkv = kernel::attention_backward(plan, &heads(model), trace.qkv, [span, reach], trace.attn, dattn);
    let table = plan.tensor(&model.rope_table);
    let dqkv = kernel::rope_qkv_backward(plan, &rope(model), dqkv, [table, place]);
    let dxn = linear_backward(plan, "dxn", dqkv, &weights.qkv);
    let norm = plan.tensor(&weights.attn_norm);
    kernel::rms_norm_backward(plan, [trace.h[0], norm], model.dims.norm_eps, dxn, dh, true);
}

/// x · Wᵀ in a new buffer.
pub(super) fn linear(plan: &mut Plan, label: &str, x: Buf, matrix: &Matrix) -> Buf {
    let [n_tokens, _] = plan.shape(x);
    let y = plan.scratch(label, &[n_tokens, matrix.rows]);
    kernel::matmul(plan, x, matrix, y, false);
    y
}

/// dy · W in a new buffer.
pub(super) fn linear_backward(plan: &mut Plan, label: &str, dy: Buf, matrix: &Matrix) -> Buf {
    let [n_tokens, _] = plan.shape(dy);
    let dx = plan.scratch(label, &[n_tokens, matrix.cols]);
    kernel::matmul_backward(plan, dy, matrix, dx, false);
    dx
}

fn heads(model: &Model) -> Heads {
    let dims = &model.dims;
    let scale = (dims.head_dim as f32).sqrt().recip();
    Heads { n_head: dims.n_head, n_head_kv: dims.n_head_kv, head_dim: dims.head_dim, scale }
}

fn rope(model: &Model) -> Rope {
    let dims = &model.dims;
    Rope {
        n_head: dims.n_head,
        n_head_kv: dims.n_head_kv,
        head_dim: dims.head_dim,
        n_rot: dims.n_rot,
        halves: model.arch.rope_halves,
    }
}
