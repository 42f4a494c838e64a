//! Attention in flash style, forward and backward: no row of scores is ever stored.

use super::declare::kernel;
use super::{CAP, Pool, REDUCE, Sums, cap_slope, capped, dot, highest_and_mass};
use crate::plan::{Buf, Plan, record};
use std::ops::Range;
use webreft_simd::attention as simd;

kernel! {
    /// Attention of each query over a run of keys: running maximum and mass.
    ATTENTION: attention {
        wgsl: [REDUCE, CAP, wgsl!("attention.wgsl")],
        params Heads
        args { q: In<f32>, k: In<f32>, v: In<f32>, span: In<u32>, out: Out<f32>, stats: Out<f32> }
        twin: twin,
        fast: fast,
        by_row: [q, span, out, stats],
    }
}

kernel! {
    /// The gradient of attention by its queries.
    ATTENTION_BACKWARD_Q: attention_backward_q {
        wgsl: [REDUCE, CAP, wgsl!("attention_backward_q.wgsl")],
        params Heads
        args {
            q: In<f32>,
            k: In<f32>,
            v: In<f32>,
            span: In<u32>,
            out: In<f32>,
            dout: In<f32>,
            stats: InOut<f32>,
            dq: Out<f32>,
        }
        twin: twin_backward_q,
        fast: fast_backward_q,
        by_row: [q, span, out, dout, stats, dq],
    }
}

kernel! {
    /// The gradient of attention by its keys and values.
    ATTENTION_BACKWARD_KV: attention_backward_kv {
        wgsl: [CAP, wgsl!("attention_backward_kv.wgsl")],
        params Heads
        args {
            q: In<f32>,
            k: In<f32>,
            v: In<f32>,
            reach: In<u32>,
            dout: In<f32>,
            stats: In<f32>,
            dk: Out<f32>,
            dv: Out<f32>,
        }
        twin: twin_backward_kv,
        fast: fast_backward_kv,
        by_row: [k, v, reach, dk, dv],
    }
}

/// The largest head that the kernels hold in workgroup memory.
pub(crate) const MAX_HEAD_DIM: usize = 256;

record! {
    /// How attention is cut into heads.
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
}

impl Heads {
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
    plan.dispatch(&ATTENTION, *heads, attention::Bufs { q, k, v, span, out, stats }, grid);
    [out, stats]
}

/// The gradient of q, and those of the rows `own` [R, G·K] of k and v, whose `reach` [R, 2] are the runs of queries that see them.
pub fn attention_backward(
    plan: &mut Plan,
    heads: &Heads,
    [q, k, v]: [Buf; 3],
    own: [Buf; 2],
    [span, reach]: [Buf; 2],
    [out, stats]: [Buf; 2],
    dout: Buf,
) -> [Buf; 3] {
    let [n_tokens, width] = plan.shape(q);
    let [n_rows, width_kv] = plan.shape(own[0]);
    plan.expect("attention_backward: dout", dout, &[n_tokens, width]);
    plan.expect("attention_backward: reach", reach, &[n_rows, 2]);
    let dq = plan.scratch("dq", &[n_tokens, width]);
    let dk = plan.scratch("dk", &[n_rows, width_kv]);
    let dv = plan.scratch("dv", &[n_rows, width_kv]);
    let bufs = attention_backward_q::Bufs { q, k, v, span, out, dout, stats, dq };
    plan.dispatch(&ATTENTION_BACKWARD_Q, *heads, bufs, [heads.n_head, n_tokens, 1]);
    let [k, v] = own;
    let bufs = attention_backward_kv::Bufs { q, k, v, reach, dout, stats, dk, dv };
    plan.dispatch(&ATTENTION_BACKWARD_KV, *heads, bufs, [heads.n_head_kv, n_rows, 1]);
    [dq, dk, dv]
}

/// Head `head` of row `row`.
fn head_at(values: &[f32], n_head: usize, head_dim: usize, row: usize, head: usize) -> &[f32] {
    &values[(row * n_head + head) * head_dim..][..head_dim]
}

fn twin(heads: &Heads, a: attention::Args<'_>) {
    let Heads { n_head, n_head_kv, head_dim, scale, cap, .. } = *heads;
    let attention::Args { q, k, v, span, out, stats } = a;
    for (t, keys) in span.chunks_exact(2).enumerate() {
        for head in 0..n_head {
            let head_kv = head / (n_head / n_head_kv);
            let query = head_at(q, n_head, head_dim, t, head);
            let keys = heads.keys(keys);
            let score = |key| capped(scale * dot(query, head_at(k, n_head_kv, head_dim, key, head_kv)), cap);
            let scores: Vec<f32> = keys.clone().map(score).collect();
            let [highest, mass] = highest_and_mass(&scores);
            let mut sums = Sums::zeros(head_dim);
            for (key, s) in keys.zip(&scores) {
                let p = (s - highest).exp() / mass;
                sums.add_scaled(p, head_at(v, n_head_kv, head_dim, key, head_kv));
            }
            sums.store(&mut out[(t * n_head + head) * head_dim..][..head_dim]);
            stats[2 * (t * n_head + head)] = highest + mass.ln();
        }
    }
}

fn twin_backward_q(heads: &Heads, a: attention_backward_q::Args<'_>) {
    let Heads { n_head, n_head_kv, head_dim, scale, cap, .. } = *heads;
    let attention_backward_q::Args { q, k, v, span, out, dout, stats, dq } = a;
    for (t, keys) in span.chunks_exact(2).enumerate() {
        for head in 0..n_head {
            let head_kv = head / (n_head / n_head_kv);
            let query = head_at(q, n_head, head_dim, t, head);
            let dout = head_at(dout, n_head, head_dim, t, head);
            let delta = dot(head_at(out, n_head, head_dim, t, head), dout);
            let at = 2 * (t * n_head + head);
            stats[at + 1] = delta;
            let mut sums = Sums::zeros(head_dim);
            for key in heads.keys(keys) {
                let k = head_at(k, n_head_kv, head_dim, key, head_kv);
                let s = capped(scale * dot(query, k), cap);
                let dp = dot(dout, head_at(v, n_head_kv, head_dim, key, head_kv));
                let ds = (s - stats[at]).exp() * (dp - delta) * cap_slope(s, cap);
                sums.add_scaled(scale * ds, k);
            }
            sums.store(&mut dq[(t * n_head + head) * head_dim..][..head_dim]);
        }
    }
}

fn twin_backward_kv(heads: &Heads, a: attention_backward_kv::Args<'_>) {
    let Heads { n_head, n_head_kv, head_dim, scale, cap, .. } = *heads;
    let attention_backward_kv::Args { q, k, v, reach, dout, stats, dk, dv } = a;
    let group = n_head / n_head_kv;
    for (key, queries) in reach.chunks_exact(2).enumerate() {
        for head_kv in 0..n_head_kv {
            let to = (key * n_head_kv + head_kv) * head_dim;
            let [mut sums_k, mut sums_v] = [(); 2].map(|()| Sums::zeros(head_dim));
            let (k, v) = (&k[to..to + head_dim], &v[to..to + head_dim]);
            for head in head_kv * group..(head_kv + 1) * group {
                for t in heads.queries(queries) {
                    let query = head_at(q, n_head, head_dim, t, head);
                    let dout = head_at(dout, n_head, head_dim, t, head);
                    let at = 2 * (t * n_head + head);
                    let s = capped(scale * dot(query, k), cap);
                    let p = (s - stats[at]).exp();
                    sums_v.add_scaled(p, dout);
                    let dp = dot(dout, v) - stats[at + 1];
                    sums_k.add_scaled(scale * p * dp * cap_slope(s, cap), query);
                }
            }
            sums_k.store(&mut dk[to..to + head_dim]);
            sums_v.store(&mut dv[to..to + head_dim]);
        }
    }
}

impl Heads {
    fn fast(&self) -> simd::Heads {
        let Heads { n_head, n_head_kv, head_dim, window, scale, cap } = *self;
        simd::Heads { n_head, n_head_kv, head_dim, window: window.unwrap_or(usize::MAX), scale, cap }
    }
}

fn fast(heads: &Heads, a: attention::Args<'_>, pool: &Pool) {
    simd::attention(pool, &heads.fast(), [a.q, a.k, a.v], a.span, [a.out, a.stats]);
}

fn fast_backward_q(heads: &Heads, a: attention_backward_q::Args<'_>, pool: &Pool) {
    let inputs = [a.q, a.k, a.v, a.out, a.dout];
    simd::attention_backward_q(pool, &heads.fast(), inputs, a.span, [a.stats, a.dq]);
}

fn fast_backward_kv(heads: &Heads, a: attention_backward_kv::Args<'_>, pool: &Pool) {
    let inputs = [a.q, a.k, a.v, a.dout, a.stats];
    simd::attention_backward_kv(pool, &heads.fast(), inputs, a.reach, [a.dk, a.dv]);
}
