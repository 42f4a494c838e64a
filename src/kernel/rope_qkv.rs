//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864), together with the split into q, k and v and the
//! writing of the cache; and its gradient, which turns back and joins.

use super::Pool;
use super::declare::kernel;
use crate::plan::{Buf, Plan, record};
use webreft_simd::rows;

const ROPE: &str = wgsl!("lib/rope.wgsl");

kernel! {
    /// Splits q, k and v, rotates q and k, and fills the cache.
    ROPE_QKV: rope_qkv {
        wgsl: [ROPE, wgsl!("rope_qkv.wgsl")],
        params Rope
        args { qkv: In<f32>, table: In<f32>, place: In<u32>, q: Out<f32>, k: InOut<f32>, v: InOut<f32> }
        twin: twin,
        fast: fast,
    }
}

kernel! {
    /// The gradient of `rope_qkv`.
    ROPE_QKV_BACKWARD: rope_qkv_backward {
        wgsl: [ROPE, wgsl!("rope_qkv_backward.wgsl")],
        params Rope
        args { dq: In<f32>, dk: In<f32>, dv: In<f32>, table: In<f32>, place: In<u32>, dqkv: Out<f32> }
        twin: twin_backward,
        fast: fast_backward,
    }
}

record! {
    /// How a head's values are turned.
    pub struct Rope {
        /// Heads of queries.
        pub n_head: usize,
        /// Heads of keys and values.
        pub n_head_kv: usize,
        /// Values in a head.
        pub head_dim: usize,
        /// How many of them are turned.
        pub n_rot: usize,
    }
}

impl Rope {
    /// The two values of pair `pair` within a head.
    fn pair(&self, pair: usize) -> [usize; 2] {
        match pair < self.n_rot / 2 {
            true => [pair, pair + self.n_rot / 2],
            false => [2 * pair, 2 * pair + 1],
        }
    }

    /// cos and sin of a pair's angle; pairs past n_rot are not turned.
    fn angle(&self, table: &[f32], position: u32, pair: usize) -> [f32; 2] {
        let at = position as usize * self.n_rot + 2 * pair;
        if pair < self.n_rot / 2 { [table[at], table[at + 1]] } else { [1.0, 0.0] }
    }

    /// Turns every head of `from` by a position, forth (1) or back (−1).
    fn turn(&self, table: &[f32], position: u32, way: f32, from: &[f32], to: &mut [f32]) {
        for (from, to) in from.chunks_exact(self.head_dim).zip(to.chunks_exact_mut(self.head_dim)) {
            for pair in 0..self.head_dim / 2 {
                let [a, b] = self.pair(pair);
                let [cos, sin] = self.angle(table, position, pair);
                let sin = way * sin;
                to[a] = from[a] * cos - from[b] * sin;
                to[b] = from[a] * sin + from[b] * cos;
            }
        }
    }
}

/// Splits qkv [T, (H + 2G)·K]; returns q, and writes k and v [S, G·K] at the rows that `place` [T, 2] names.
pub fn rope_qkv(plan: &mut Plan, rope: &Rope, qkv: Buf, [table, place]: [Buf; 2], [k, v]: [Buf; 2]) -> Buf {
    let [n_tokens, _] = plan.shape(qkv);
    let [n_rows, width_kv] = plan.shape(k);
    plan.expect("rope_qkv: qkv", qkv, &[n_tokens, (rope.n_head + 2 * rope.n_head_kv) * rope.head_dim]);
    plan.expect("rope_qkv: place", place, &[n_tokens, 2]);
    plan.expect("rope_qkv: v", v, &[n_rows, width_kv]);
    let q = plan.scratch("q", &[n_tokens, rope.n_head * rope.head_dim]);
    plan.dispatch(&ROPE_QKV, *rope, rope_qkv::Bufs { qkv, table, place, q, k, v }, [1, n_tokens, 1]);
    q
}

/// Gradient of [`rope_qkv`] by qkv.
pub fn rope_qkv_backward(
    plan: &mut Plan,
    rope: &Rope,
    [dq, dk, dv]: [Buf; 3],
    [table, place]: [Buf; 2],
) -> Buf {
    let [n_tokens, _] = plan.shape(dq);
    let dqkv = plan.scratch("dqkv", &[n_tokens, (rope.n_head + 2 * rope.n_head_kv) * rope.head_dim]);
    plan.dispatch(
        &ROPE_QKV_BACKWARD,
        *rope,
        rope_qkv_backward::Bufs { dq, dk, dv, table, place, dqkv },
        [1, n_tokens, 1],
    );
    dqkv
}

fn twin(rope: &Rope, a: rope_qkv::Args<'_>) {
    let rope_qkv::Args { qkv, table, place, q, k, v } = a;
    let (n_q, n_kv) = (rope.n_head * rope.head_dim, rope.n_head_kv * rope.head_dim);
    for (t, place) in place.chunks_exact(2).enumerate() {
        let row = &qkv[t * (n_q + 2 * n_kv)..][..n_q + 2 * n_kv];
        let cache = place[1] as usize * n_kv..(place[1] as usize + 1) * n_kv;
        let turn = |from: &[f32], to: &mut [f32]| rope.turn(table, place[0], 1.0, from, to);
        turn(&row[..n_q], &mut q[t * n_q..][..n_q]);
        turn(&row[n_q..n_q + n_kv], &mut k[cache.clone()]);
        v[cache].copy_from_slice(&row[n_q + n_kv..]);
    }
}

fn twin_backward(rope: &Rope, a: rope_qkv_backward::Args<'_>) {
    let rope_qkv_backward::Args { dq, dk, dv, table, place, dqkv } = a;
    let (n_q, n_kv) = (rope.n_head * rope.head_dim, rope.n_head_kv * rope.head_dim);
    for (t, place) in place.chunks_exact(2).enumerate() {
        let row = &mut dqkv[t * (n_q + 2 * n_kv)..][..n_q + 2 * n_kv];
        let cache = place[1] as usize * n_kv..(place[1] as usize + 1) * n_kv;
        let turn_back = |from: &[f32], to: &mut [f32]| rope.turn(table, place[0], -1.0, from, to);
        turn_back(&dq[t * n_q..][..n_q], &mut row[..n_q]);
        turn_back(&dk[cache.clone()], &mut row[n_q..n_q + n_kv]);
        row[n_q + n_kv..].copy_from_slice(&dv[cache]);
    }
}

impl Rope {
    fn fast(&self) -> rows::Rope {
        let Rope { n_head, n_head_kv, head_dim, n_rot } = *self;
        rows::Rope { n_head, n_head_kv, head_dim, n_rot }
    }
}

fn fast(rope: &Rope, a: rope_qkv::Args<'_>, pool: &Pool) {
    rows::rope_qkv(pool, &rope.fast(), [a.qkv, a.table], a.place, a.q, [a.k, a.v]);
}

fn fast_backward(rope: &Rope, a: rope_qkv_backward::Args<'_>, pool: &Pool) {
    rows::rope_qkv_backward(pool, &rope.fast(), [a.dq, a.dk, a.dv, a.table], a.place, a.dqkv);
}
