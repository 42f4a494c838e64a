//! Attention in flash style, forward and backward: no row of scores is ever stored.

use super::{CAP, REDUCE, add_scaled, cap_slope, capped, dot, highest_and_mass};
use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, InOut, Out};
use crate::plan::{Buf, Field, Kernel, Plan, Word};
use std::ops::Range;

const PARAMS: &[(&str, Field)] =
    &[("n_head", U32), ("n_head_kv", U32), ("head_dim", U32), ("window", U32), ("scale", F32), ("cap", F32)];

pub(super) static ATTENTION: Kernel =
    forward("attention", PARAMS, &[REDUCE, CAP, include_str!("../../shaders/attention.wgsl")]);

pub(super) static ATTENTION_BACKWARD_Q: Kernel = backward_q(
    "attention_backward_q",
    PARAMS,
    &[REDUCE, CAP, include_str!("../../shaders/attention_backward_q.wgsl")],
);

pub(super) static ATTENTION_BACKWARD_KV: Kernel = backward_kv(
    "attention_backward_kv",
    PARAMS,
    &[CAP, include_str!("../../shaders/attention_backward_kv.wgsl")],
);

type Params = &'static [(&'static str, Field)];
type Wgsl = &'static [&'static str];

const fn forward(name: &'static str, params: Params, wgsl: Wgsl) -> Kernel {
    let args = &[("q", In), ("k", In), ("v", In), ("span", In), ("out", Out), ("stats", Out)];
    Kernel { name, wgsl, params, args, weight: false, twin }
}

const fn backward_q(name: &'static str, params: Params, wgsl: Wgsl) -> Kernel {
    let args = &[
        ("q", In),
        ("k", In),
        ("v", In),
        ("span", In),
        ("out", In),
        ("dout", In),
        ("stats", InOut),
        ("dq", Out),
    ];
    Kernel { name, wgsl, params, args, weight: false, twin: twin_backward_q }
}

const fn backward_kv(name: &'static str, params: Params, wgsl: Wgsl) -> Kernel {
    let args = &[
        ("q", In),
        ("k", In),
        ("v", In),
        ("reach", In),
        ("dout", In),
        ("stats", In),
        ("dk", Out),
        ("dv", Out),
    ];
    Kernel { name, wgsl, params, args, weight: false, twin: twin_backward_kv }
}

/// The largest head that the kernels hold in workgroup memory.
pub(crate) const MAX_HEAD_DIM: usize = 256;

/// How attention is cut into heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Heads of queries (H).
    pub n_head: usize,
    /// Heads of keys and values (G), each shared by H / G heads of queries.
    pub n_head_kv: usize,
    /// Values in a head (K), at most 256, a multiple of 4.
    pub head_dim: usize,
    /// How many of the keys that a query sees count, the last ones; all if there is no window. A key is then seen by so many
    /// queries, the first of which must be its own token's.
    pub window: Option<usize>,
    /// What q·k is multiplied by.
    pub scale: f32,
    /// What scores stay below, if not 0: cap · tanh(s / cap).
    pub cap: f32,
}

impl Heads {
    fn params(&self) -> Vec<Word> {
        let window = self.window.unwrap_or(u32::MAX as usize);
        let shape = [self.n_head, self.n_head_kv, self.head_dim, window].map(Word::from);
        shape.into_iter().chain([self.scale.into(), self.cap.into()]).collect()
    }

    fn of(call: &Call<'_>) -> Heads {
        let [n_head, n_head_kv, head_dim, window] = [0, 1, 2, 3].map(|i| call.usize(i));
        Heads { n_head, n_head_kv, head_dim, window: Some(window), scale: call.real(4), cap: call.real(5) }
    }

    /// The keys of a span that count.
    fn keys(&self, span: &[u32]) -> Range<usize> {
        let end = span[1] as usize;
        let first = end.saturating_sub(self.window.unwrap_or(end));
        first.max(span[0] as usize)..end
    }

    /// The queries for which a key counts.
    fn queries(&self, reach: &[u32]) -> Range<usize> {
        let (first, end) = (reach[0] as usize, reach[1] as usize);
        first..end.min(first.saturating_add(self.window.unwrap_or(end)))
    }
}

/// Attention of q [T, H·K] over the runs `span` [T, 2] of k and v [S, G·K]; returns the output and its statistics.
pub fn attention(plan: &mut Plan, heads: &Heads, [q, k, v]: [Buf; 3], span: Buf) -> [Buf; 2] {
    let [n_tokens, width] = plan.shape(q);
    let [n_rows, width_kv] = plan.shape(k);
    assert_eq!(width, heads.n_head * heads.head_dim, "attention: q");
    assert_eq!(width_kv, heads.n_head_kv * heads.head_dim, "attention: k");
    assert!(
        heads.head_dim <= MAX_HEAD_DIM && heads.head_dim.is_multiple_of(4),
        "attention: head of {}",
        heads.head_dim
    );
    plan.expect("attention: v", v, &[n_rows, width_kv]);
    plan.expect("attention: span", span, &[n_tokens, 2]);
    let out = plan.scratch("attn", &[n_tokens, width]);
    let stats = plan.scratch("stats", &[n_tokens, heads.n_head, 2]);
    let grid = [heads.n_head, n_tokens, 1];
    plan.dispatch(&ATTENTION, &heads.params(), &[q, k, v, span, out, stats], grid);
    [out, stats]
}

/// The gradients of q, k and v; `reach` [S, 2] are the runs of queries that see each key.
pub fn attention_backward(
    plan: &mut Plan,
    heads: &Heads,
    [q, k, v]: [Buf; 3],
    [span, reach]: [Buf; 2],
    [out, stats]: [Buf; 2],
    dout: Buf,
) -> [Buf; 3] {
    let [n_tokens, width] = plan.shape(q);
    let [n_rows, width_kv] = plan.shape(k);
    plan.expect("attention_backward: dout", dout, &[n_tokens, width]);
    plan.expect("attention_backward: reach", reach, &[n_rows, 2]);
    let dq = plan.scratch("dq", &[n_tokens, width]);
    let dk = plan.scratch("dk", &[n_rows, width_kv]);
    let dv = plan.scratch("dv", &[n_rows, width_kv]);
    let args = [q, k, v, span, out, dout, stats, dq];
    plan.dispatch(&ATTENTION_BACKWARD_Q, &heads.params(), &args, [heads.n_head, n_tokens, 1]);
    let args = [q, k, v, reach, dout, stats, dk, dv];
    plan.dispatch(&ATTENTION_BACKWARD_KV, &heads.params(), &args, [heads.n_head_kv, n_rows, 1]);
    [dq, dk, dv]
}

/// Head `head` of row `row`.
fn head_at(values: &[f32], n_head: usize, head_dim: usize, row: usize, head: usize) -> &[f32] {
    &values[(row * n_head + head) * head_dim..][..head_dim]
}

fn twin(call: &Call<'_>) {
    let heads = Heads::of(call);
    let Heads { n_head, n_head_kv, head_dim, scale, cap, .. } = heads;
    let (q, k, v, span) = (call.f32(0), call.f32(1), call.f32(2), call.u32(3));
    let (mut out, mut stats) = (call.f32_mut(4), call.f32_mut(5));
    for (t, keys) in span.chunks_exact(2).enumerate() {
        for head in 0..n_head {
            let head_kv = head / (n_head / n_head_kv);
            let query = head_at(&q, n_head, head_dim, t, head);
            let keys = heads.keys(keys);
            let score = |key| capped(scale * dot(query, head_at(&k, n_head_kv, head_dim, key, head_kv)), cap);
            let scores: Vec<f32> = keys.clone().map(score).collect();
            let [highest, mass] = highest_and_mass(&scores);
            let out = &mut out[(t * n_head + head) * head_dim..][..head_dim];
            out.fill(0.0);
            for (key, s) in keys.zip(&scores) {
                let p = (s - highest).exp() / mass;
                add_scaled(out, p, head_at(&v, n_head_kv, head_dim, key, head_kv));
            }
            stats[2 * (t * n_head + head)] = highest + mass.ln();
        }
    }
}

fn twin_backward_q(call: &Call<'_>) {
    let heads = Heads::of(call);
    let Heads { n_head, n_head_kv, head_dim, scale, cap, .. } = heads;
    let (q, k, v, span, out, dout) =
        (call.f32(0), call.f32(1), call.f32(2), call.u32(3), call.f32(4), call.f32(5));
    let (mut stats, mut dq) = (call.f32_mut(6), call.f32_mut(7));
    for (t, keys) in span.chunks_exact(2).enumerate() {
        for head in 0..n_head {
            let head_kv = head / (n_head / n_head_kv);
            let query = head_at(&q, n_head, head_dim, t, head);
            let dout = head_at(&dout, n_head, head_dim, t, head);
            let delta = dot(head_at(&out, n_head, head_dim, t, head), dout);
            let at = 2 * (t * n_head + head);
            stats[at + 1] = delta;
            let dq = &mut dq[(t * n_head + head) * head_dim..][..head_dim];
            dq.fill(0.0);
            for key in heads.keys(keys) {
                let k = head_at(&k, n_head_kv, head_dim, key, head_kv);
                let s = capped(scale * dot(query, k), cap);
                let dp = dot(dout, head_at(&v, n_head_kv, head_dim, key, head_kv));
                let ds = (s - stats[at]).exp() * (dp - delta) * cap_slope(s, cap);
                add_scaled(dq, scale * ds, k);
            }
        }
    }
}

fn twin_backward_kv(call: &Call<'_>) {
    let heads = Heads::of(call);
    let Heads { n_head, n_head_kv, head_dim, scale, cap, .. } = heads;
    let (q, k, v, reach, dout, stats) =
        (call.f32(0), call.f32(1), call.f32(2), call.u32(3), call.f32(4), call.f32(5));
    let (mut dk, mut dv) = (call.f32_mut(6), call.f32_mut(7));
    let group = n_head / n_head_kv;
    for (key, queries) in reach.chunks_exact(2).enumerate() {
        for head_kv in 0..n_head_kv {
            let to = (key * n_head_kv + head_kv) * head_dim;
            let (dk, dv) = (&mut dk[to..to + head_dim], &mut dv[to..to + head_dim]);
            dk.fill(0.0);
            dv.fill(0.0);
            let (k, v) = (&k[to..to + head_dim], &v[to..to + head_dim]);
            for head in head_kv * group..(head_kv + 1) * group {
                for t in heads.queries(queries) {
                    let query = head_at(&q, n_head, head_dim, t, head);
                    let dout = head_at(&dout, n_head, head_dim, t, head);
                    let at = 2 * (t * n_head + head);
                    let s = capped(scale * dot(query, k), cap);
                    let p = (s - stats[at]).exp();
                    add_scaled(dv, p, dout);
                    add_scaled(dk, scale * p * (dot(dout, v) - stats[at + 1]) * cap_slope(s, cap), query);
                }
            }
        }
    }
}
