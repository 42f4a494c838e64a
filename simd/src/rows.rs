//! What is done to each row by itself: norms, gates, softmax, rotary positions, rows of an embedding.

use crate::decode::decode;
use crate::math::{dot, exponentials, highest, map, sigmoid, zip_map};
use crate::{Pool, Weights};
use fearless_simd::{Simd, dispatch, prelude::*};

/// Values that are one task: a thread takes longer to wake than to compute fewer.
const TASK: usize = 1 << 15;

/// Rows of so many values that are one task.
fn rows_of_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// 1 / √(mean of squares + eps)
#[inline(always)]
fn rstd<S: Simd>(simd: S, x: &[f32], eps: f32) -> f32 {
    (dot(simd, x, x) / x.len() as f32 + eps).sqrt().recip()
}

/// y = w ∘ x over the root of its mean square, for rows of w's length.
pub fn rms_norm(pool: &Pool, x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let (width, rows) = (w.len(), rows_of_task(w.len()));
    pool.each(y, rows * width, |task, y| {
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            for (x, y) in x[task * rows * width..].chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                normalize(simd, x, w, eps, y);
            }
        }));
    });
}

#[inline(always)]
fn normalize<S: Simd>(simd: S, x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let s = rstd(simd, x, eps);
    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
        *y = w * x * s;
    }
}

/// h = x + d, and y as [`rms_norm`] of h.
pub fn add_rms_norm(pool: &Pool, [x, d]: [&[f32]; 2], w: &[f32], eps: f32, [h, y]: [&mut [f32]; 2]) {
    let (width, rows) = (w.len(), rows_of_task(w.len()));
    pool.each2((h, rows * width), (y, rows * width), |task, h, y| {
        let at = task * rows * width;
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            for ((h, x), d) in h.iter_mut().zip(&x[at..]).zip(&d[at..]) {
                *h = x + d;
            }
            for (h, y) in h.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                normalize(simd, h, w, eps, y);
            }
        }));
    });
}

/// The gradient of [`rms_norm`] by x, written over dx or added to it.
pub fn rms_norm_backward(pool: &Pool, [x, w, dy]: [&[f32]; 3], eps: f32, dx: &mut [f32], add: bool) {
    let (width, rows) = (w.len(), rows_of_task(w.len()));
    pool.each(dx, rows * width, |task, dx| {
        let at = task * rows * width;
        let mut wdy = pool.borrow(width);
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            let rows = x[at..].chunks_exact(width).zip(dy[at..].chunks_exact(width));
            for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
                for ((wdy, w), dy) in wdy.iter_mut().zip(w).zip(dy) {
                    *wdy = w * dy;
                }
                let s = rstd(simd, x, eps);
                let pull = dot(simd, x, &wdy) / width as f32 * s * s;
                for ((dx, x), wdy) in dx.iter_mut().zip(x).zip(&*wdy) {
                    let d = s * (wdy - x * pull);
                    *dx = if add { *dx + d } else { d };
                }
            }
        }));
    });
}

/// The function on a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// x / (1 + e⁻ˣ)
    Silu,
    /// x / (1 + e to −2·√(2/π)·(x + 0.044715x³))
    GeluTanh,
}

/// 2·√(2/π)
const GELU: f32 = 1.595_769;
const GELU_CUBE: f32 = 0.044_715;

/// σ of the gate's argument, and that argument's derivative.
#[inline(always)]
fn sigma<S: Simd>(simd: S, gate: Gate, x: S::f32s) -> [S::f32s; 2] {
    match gate {
        Gate::Silu => [sigmoid(simd, x), S::f32s::splat(simd, 1.0)],
        Gate::GeluTanh => {
            let square = x * x;
            let slope = (square * (3.0 * GELU_CUBE) + 1.0) * GELU;
            [sigmoid(simd, x * (square * GELU_CUBE + 1.0) * GELU), slope]
        }
    }
}

/// y [T, F] = act(gate) ∘ up of gate and up side by side [T, 2F].
pub fn glu(pool: &Pool, gate: Gate, gate_up: &[f32], y: &mut [f32], n_ff: usize) {
    let rows = rows_of_task(n_ff);
    pool.each(y, rows * n_ff, |task, y| {
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            let gate_up = gate_up[task * rows * 2 * n_ff..].chunks_exact(2 * n_ff);
            for (gate_up, y) in gate_up.zip(y.chunks_exact_mut(n_ff)) {
                let (g, up) = gate_up.split_at(n_ff);
                zip3(simd, [g, up], y, #[inline(always)] |g, up| up * g * sigma(simd, gate, g)[0]);
            }
        }));
    });
}

/// The gradient of [`glu`] by gate and up [T, 2F], from dy [T, F].
pub fn glu_backward(pool: &Pool, gate: Gate, [gate_up, dy]: [&[f32]; 2], d: &mut [f32], n_ff: usize) {
    let rows = rows_of_task(2 * n_ff);
    pool.each(d, rows * 2 * n_ff, |task, d| {
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            let gate_up = gate_up[task * rows * 2 * n_ff..].chunks_exact(2 * n_ff);
            let dy = dy[task * rows * n_ff..].chunks_exact(n_ff);
            for ((gate_up, dy), d) in gate_up.zip(dy).zip(d.chunks_exact_mut(2 * n_ff)) {
                let ((g, up), (dg, dup)) = (gate_up.split_at(n_ff), d.split_at_mut(n_ff));
                zip3(simd, [g, up], dg, #[inline(always)] |g, up| {
                    let [s, slope] = sigma(simd, gate, g);
                    up * s * (g * slope * (-s + 1.0) + 1.0)
                });
                dg.iter_mut().zip(dy).for_each(|(dg, dy)| *dg *= dy);
                zip3(simd, [g, dy], dup, #[inline(always)] |g, dy| dy * g * sigma(simd, gate, g)[0]);
            }
        }));
    });
}

/// y = f(a, b)
#[inline(always)]
fn zip3<S: Simd>(simd: S, [a, b]: [&[f32]; 2], y: &mut [f32], f: impl Fn(S::f32s, S::f32s) -> S::f32s) {
    let width = S::f32s::LEN;
    let (a1, b1, mut y1) = (a.chunks_exact(width), b.chunks_exact(width), y.chunks_exact_mut(width));
    let rest = a1.remainder().iter().zip(b1.remainder());
    for ((a, b), y) in a1.zip(b1).zip(&mut y1) {
        f(S::f32s::from_slice(simd, a), S::f32s::from_slice(simd, b)).store_slice(y);
    }
    for ((a, b), y) in rest.zip(y1.into_remainder()) {
        *y = f(S::f32s::splat(simd, *a), S::f32s::splat(simd, *b))[0];
    }
}

/// The greatest of a row of logits, and Σ eˡ over it as a multiple of e to the greatest.
#[inline(always)]
fn highest_and_mass<S: Simd>(simd: S, logits: &[f32], copy: &mut [f32]) -> [f32; 2] {
    let highest = highest(simd, logits);
    copy.copy_from_slice(logits);
    [highest, exponentials(simd, copy, highest)]
}

/// A row's loss at its label, and whether no other is likelier.
fn loss(at_label: f32, [highest, mass]: [f32; 2]) -> [f32; 2] {
    [highest - at_label + mass.ln(), f32::from(at_label >= highest)]
}

/// The loss of each row of logits [m, V] at its label, into `losses` [m, 2].
pub fn token_loss(pool: &Pool, logits: &[f32], labels: &[u32], losses: &mut [f32]) {
    let n_vocab = logits.len() / labels.len().max(1);
    pool.each(losses, 2, |row, to| {
        let logits = &logits[row * n_vocab..][..n_vocab];
        let mut copy = pool.borrow(n_vocab);
        let sums = dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || highest_and_mass(simd, logits, &mut copy)));
        to.copy_from_slice(&loss(logits[labels[row] as usize], sums));
    });
}

/// As [`token_loss`], and logits become the gradient: `weight` times their softmax less one at the label, times the slope of a cap that
/// they went through (0 if none).
pub fn cross_entropy(
    pool: &Pool,
    logits: &mut [f32],
    (labels, weights): (&[u32], &[f32]),
    cap: f32,
    losses: &mut [f32],
) {
    let n_vocab = logits.len() / labels.len().max(1);
    pool.each2((logits, n_vocab), (losses, 2), |row, logits, to| {
        let (label, weight) = (labels[row] as usize, weights[row]);
        let at_label = logits[label];
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            let mut copy = pool.borrow(n_vocab);
            let [highest, mass] = highest_and_mass(simd, logits, &mut copy);
            to.copy_from_slice(&loss(at_label, [highest, mass]));
            let share = weight / mass;
            map(simd, &mut copy, #[inline(always)] |e| e * share);
            copy[label] -= weight;
            if cap == 0.0 {
                logits.copy_from_slice(&copy);
            } else {
                zip_map(simd, logits, &copy, #[inline(always)] |l, d| d * (-(l / cap) * (l / cap) + 1.0));
            }
        }));
    });
}

/// Rows of a matrix [V, D] by token id, times `scale`, into h [T, D]. Tokens outside of `first_row ..` are left alone.
pub fn embed(pool: &Pool, tokens: &[u32], w: &Weights<'_>, first_row: usize, scale: f32, h: &mut [f32]) {
    pool.each(h, w.cols, |token, h| {
        let row = (tokens[token] as usize).wrapping_sub(first_row);
        if row < w.rows {
            dispatch!(pool.level(), simd => decode(simd, w, row, 0, h));
            h.iter_mut().for_each(|x| *x *= scale);
        }
    });
}

/// How heads are rotated by position.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// Heads of queries.
    pub n_head: usize,
    /// Heads of keys and values.
    pub n_head_kv: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// How many of them are rotated, the first ones: value i of their first half with value i of their second.
    pub n_rot: usize,
}

impl Rope {
    fn widths(&self) -> [usize; 2] {
        [self.n_head * self.head_dim, self.n_head_kv * self.head_dim]
    }

    /// Rotates every head of `from` by the angles of a position, forth (1) or back (−1).
    #[inline(always)]
    fn rotate(&self, angles: &[f32], way: f32, from: &[f32], to: &mut [f32]) {
        let half = self.n_rot / 2;
        let angles = &angles.as_chunks::<2>().0[..half];
        for (from, to) in from.chunks_exact(self.head_dim).zip(to.chunks_exact_mut(self.head_dim)) {
            let (from_a, from_b) = from.split_at(half);
            let (to_a, to_b) = to.split_at_mut(half);
            let from = from_a.iter().zip(from_b);
            for ((([cos, sin], (a, b)), to_a), to_b) in angles.iter().zip(from).zip(to_a).zip(&mut *to_b) {
                let sin = way * sin;
                *to_a = a * cos - b * sin;
                *to_b = a * sin + b * cos;
            }
            to_b[half..].copy_from_slice(&from_b[half..]);
        }
    }
}

/// Splits qkv [T, (H + 2G)·K] into q [T, H·K], rotated, and k and v at the rows that `place` [T, 2] names, k rotated. `place` names the
/// position, whose angles are a row of `table`, and the row.
pub fn rope_qkv(
    pool: &Pool,
    rope: &Rope,
    [qkv, table]: [&[f32]; 2],
    place: &[u32],
    q: &mut [f32],
    [k, v]: [&mut [f32]; 2],
) {
    let [n_q, n_kv] = rope.widths();
    let width = n_q + 2 * n_kv;
    let places = place.as_chunks::<2>().0;
    let angles = |position: u32| &table[position as usize * rope.n_rot..][..rope.n_rot];
    let rows = rows_of_task(width);
    pool.each(q, rows * n_q, |task, q| {
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            for (t, q) in (task * rows..).zip(q.chunks_exact_mut(n_q)) {
                rope.rotate(angles(places[t][0]), 1.0, &qkv[t * width..][..n_q], q);
            }
        }));
    });
    dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
        for (qkv, [position, row]) in qkv.chunks_exact(width).zip(places) {
            let to = *row as usize * n_kv;
            rope.rotate(angles(*position), 1.0, &qkv[n_q..n_q + n_kv], &mut k[to..to + n_kv]);
            v[to..to + n_kv].copy_from_slice(&qkv[n_q + n_kv..]);
        }
    }));
}

/// Gradient of [`rope_qkv`] by qkv.
pub fn rope_qkv_backward(
    pool: &Pool,
    rope: &Rope,
    [dq, dk, dv, table]: [&[f32]; 4],
    place: &[u32],
    dqkv: &mut [f32],
) {
    let [n_q, n_kv] = rope.widths();
    let width = n_q + 2 * n_kv;
    let places = place.as_chunks::<2>().0;
    let rows = rows_of_task(width);
    pool.each(dqkv, rows * width, |task, dqkv| {
        dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
            for (t, dqkv) in (task * rows..).zip(dqkv.chunks_exact_mut(width)) {
                let [position, row] = places[t].map(|x| x as usize);
                let angles = &table[position * rope.n_rot..][..rope.n_rot];
                let from = row * n_kv..(row + 1) * n_kv;
                rope.rotate(angles, -1.0, &dq[t * n_q..][..n_q], &mut dqkv[..n_q]);
                rope.rotate(angles, -1.0, &dk[from.clone()], &mut dqkv[n_q..n_q + n_kv]);
                dqkv[n_q + n_kv..].copy_from_slice(&dv[from]);
            }
        }));
    });
}
