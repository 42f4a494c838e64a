//! Attention over the keys that each query sees, forward and backward: no row of scores outlives its query.
//!
//! ```text
//! s = cap(scale · q·k)    p = e to s − stats    out = Σ p·v    stats = log Σ eˢ
//! ```
//!
//! A task is a few tokens with all their heads. Keys go by in blocks that stay in the nearest cache while all the task's queries that
//! share them have their turn.

use crate::Pool;
use crate::math::{dot, exp, exponentials, highest, map, tanh, zip_map};
use fearless_simd::{Simd, dispatch, prelude::*};
use std::ops::Range;

/// Tokens of a task.
const TOKENS: usize = 8;

/// Rows of keys or queries that go by at once.
const BLOCK: usize = 64;

/// How attention is cut into heads.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Heads of queries.
    pub n_head: usize,
    /// Heads of keys and values, each shared by `n_head / n_head_kv` heads of queries.
    pub n_head_kv: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// How many of the keys that a query sees count, the last ones.
    pub window: usize,
    /// What q·k is multiplied by.
    pub scale: f32,
    /// What scores stay below, if not 0.
    pub cap: f32,
}

/// Rows of all heads [rows, heads · head_dim], of which one head is looked at.
#[derive(Clone, Copy)]
struct Head<'a> {
    rows: &'a [f32],
    width: usize,
    first: usize,
    dim: usize,
}

impl Head<'_> {
    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.width + self.first..][..self.dim]
    }
}

impl Heads {
    fn group(&self) -> usize {
        self.n_head / self.n_head_kv
    }

    fn of_queries<'a>(&self, rows: &'a [f32], head: usize) -> Head<'a> {
        Head { rows, width: self.n_head * self.head_dim, first: head * self.head_dim, dim: self.head_dim }
    }

    fn of_keys<'a>(&self, rows: &'a [f32], head: usize) -> Head<'a> {
        Head { rows, width: self.n_head_kv * self.head_dim, first: head * self.head_dim, dim: self.head_dim }
    }

    /// The keys of a span that count.
    fn keys(&self, span: &[u32]) -> Range<usize> {
        let end = span[1] as usize;
        (span[0] as usize).max(end.saturating_sub(self.window))..end
    }

    /// The queries for which a key counts.
    fn queries(&self, reach: &[u32]) -> Range<usize> {
        let (first, end) = (reach[0] as usize, reach[1] as usize);
        first..end.min(first.saturating_add(self.window))
    }

    /// Scores of dot products, in place.
    #[inline(always)]
    fn score<S: Simd>(&self, simd: S, dots: &mut [f32]) {
        let (scale, cap) = (self.scale, self.cap);
        if cap == 0.0 {
            map(
                simd,
                dots,
                #[inline(always)]
                |s| s * scale,
            );
        } else {
            map(
                simd,
                dots,
                #[inline(always)]
                |s| tanh(simd, s * scale / cap) * cap,
            );
        }
    }

    /// The derivative of the cap where it gave `s`.
    #[inline(always)]
    fn cap_slope<S: Simd>(&self, simd: S, s: S::f32s) -> S::f32s {
        let one = S::f32s::splat(simd, 1.0);
        if self.cap == 0.0 { one } else { one - (s / self.cap) * (s / self.cap) }
    }
}

/// Attention of q [T, H·K] over the keys `span` [T, 2] of k and v [S, G·K], into `out` [T, H·K] and the first of each `stats` [T, H, 2].
pub fn attention(
    pool: &Pool,
    heads: &Heads,
    [q, k, v]: [&[f32]; 3],
    spans: &[u32],
    [out, stats]: [&mut [f32]; 2],
) {
    let width = heads.n_head * heads.head_dim;
    let tokens = tokens_of_task(pool, spans.len() / 2);
    pool.each2((out, tokens * width), (stats, tokens * 2 * heads.n_head), |task, out, stats| {
        let first = task * tokens;
        let spans = &spans[2 * first..][..2 * out.len() / width];
        for head_kv in 0..heads.n_head_kv {
            let [k, v] = [k, v].map(|rows| heads.of_keys(rows, head_kv));
            forward(pool, heads, (q, k, v), (first, head_kv), spans, [&mut *out, &mut *stats]);
        }
    });
}

/// Tokens of a task, so that every thread has some.
fn tokens_of_task(pool: &Pool, n_tokens: usize) -> usize {
    TOKENS.min(n_tokens.div_ceil(pool.threads())).max(1)
}

/// One range of rows for each query of a task, and room for a number for each of its rows.
struct Table<'a> {
    ranges: Vec<Range<usize>>,
    all: Range<usize>,
    values: crate::pool::Borrowed<'a>,
}

impl<'a> Table<'a> {
    fn new(pool: &'a Pool, ranges: Vec<Range<usize>>, of_each: usize) -> Table<'a> {
        let seen = || ranges.iter().filter(|range| !range.is_empty());
        let first = seen().map(|range| range.start).min().unwrap_or(0);
        let end = seen().map(|range| range.end).max().unwrap_or(first);
        let values = pool.borrow(ranges.len() * of_each * (end - first));
        Table { ranges, all: first..end, values }
    }

    /// The place of the values of query `number`, whose own range is `range`.
    fn at(&self, number: usize, range: &Range<usize>) -> Range<usize> {
        let start = number * self.all.len() + range.start - self.all.start.min(range.start);
        start..start + range.len()
    }
}

#[inline(always)]
fn blocks(all: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = all.end;
    all.clone().step_by(BLOCK).map(move |start| start..end.min(start + BLOCK))
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

fn forward(
    pool: &Pool,
    heads: &Heads,
    (q, k, v): (&[f32], Head<'_>, Head<'_>),
    (first, head_kv): (usize, usize),
    spans: &[u32],
    [out, stats]: [&mut [f32]; 2],
) {
    let group = heads.group();
    let width = heads.n_head * heads.head_dim;
    let ranges: Vec<_> = spans.chunks_exact(2).map(|span| heads.keys(span)).collect();
    let mut table = Table::new(pool, ranges, group);
    let queries = || {
        (0..spans.len() / 2 * group).map(|number| (number, number / group, head_kv * group + number % group))
    };
    dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
        for block in blocks(&table.all) {
            for (number, token, head) in queries() {
                let keys = overlap(&block, &table.ranges[token]);
                let to = table.at(number, &keys);
                dots(simd, heads.of_queries(q, head).row(first + token), k, keys, &mut table.values[to]);
            }
        }
        for (number, token, head) in queries() {
            let to = table.at(number, &table.ranges[token]);
            let scores = &mut table.values[to];
            heads.score(simd, scores);
            let highest = highest(simd, scores);
            let mass = exponentials(simd, scores, highest);
            map(simd, scores, #[inline(always)] |p| p / mass);
            stats[2 * (token * heads.n_head + head)] = highest + mass.ln();
            out[token * width + head * heads.head_dim..][..heads.head_dim].fill(0.0);
        }
        for block in blocks(&table.all) {
            for (number, token, head) in queries() {
                let keys = overlap(&block, &table.ranges[token]);
                let out = &mut out[token * width + head * heads.head_dim..][..heads.head_dim];
                add_weighted(simd, &table.values[table.at(number, &keys)], v, keys, out);
            }
        }
    }));
}

/// Gradient of [`attention`] by q, into `dq` [T, H·K]; the second of each `stats` becomes dout·out.
pub fn attention_backward_q(
    pool: &Pool,
    heads: &Heads,
    [q, k, v, out, dout]: [&[f32]; 5],
    spans: &[u32],
    [stats, dq]: [&mut [f32]; 2],
) {
    let width = heads.n_head * heads.head_dim;
    let tokens = tokens_of_task(pool, spans.len() / 2);
    pool.each2((dq, tokens * width), (stats, tokens * 2 * heads.n_head), |task, dq, stats| {
        let first = task * tokens;
        let spans = &spans[2 * first..][..2 * dq.len() / width];
        dq.fill(0.0);
        for head_kv in 0..heads.n_head_kv {
            let [k, v] = [k, v].map(|rows| heads.of_keys(rows, head_kv));
            backward_q(pool, heads, ([q, out, dout], k, v), (first, head_kv), spans, [&mut *stats, &mut *dq]);
        }
    });
}

fn backward_q(
    pool: &Pool,
    heads: &Heads,
    ([q, out, dout], k, v): ([&[f32]; 3], Head<'_>, Head<'_>),
    (first, head_kv): (usize, usize),
    spans: &[u32],
    [stats, dq]: [&mut [f32]; 2],
) {
    let (group, width) = (heads.group(), heads.n_head * heads.head_dim);
    let mut memory = pool.borrow(2 * BLOCK);
    let (scores, slopes) = memory.split_at_mut(BLOCK);
    dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
        for (token, span) in spans.chunks_exact(2).enumerate() {
            let keys = heads.keys(span);
            for head in head_kv * group..(head_kv + 1) * group {
                let [out, dout] = [out, dout].map(|rows| heads.of_queries(rows, head));
                stats[2 * (token * heads.n_head + head) + 1] = dot(simd, out.row(first + token), dout.row(first + token));
            }
            for block in blocks(&keys) {
                for head in head_kv * group..(head_kv + 1) * group {
                    let [s, d] = [&mut scores[..block.len()], &mut slopes[..block.len()]];
                    let [log_mass, delta] = [0, 1].map(|i| stats[2 * (token * heads.n_head + head) + i]);
                    let [query, dout] = [q, dout].map(|rows| heads.of_queries(rows, head));
                    dots(simd, query.row(first + token), k, block.clone(), s);
                    dots(simd, dout.row(first + token), v, block.clone(), d);
                    heads.score(simd, s);
                    zip_map(simd, d, s, #[inline(always)] |d, s| {
                        exp(simd, s - log_mass) * (d - delta) * heads.cap_slope(simd, s) * heads.scale
                    });
                    let dq = &mut dq[token * width + head * heads.head_dim..][..heads.head_dim];
                    add_weighted(simd, d, k, block.clone(), dq);
                }
            }
        }
    }));
}

/// Gradient of [`attention`] by k and v [S, G·K], from what `reach` [S, 2] says which queries see each key.
pub fn attention_backward_kv(
    pool: &Pool,
    heads: &Heads,
    [q, k, v, dout, stats]: [&[f32]; 5],
    reach: &[u32],
    [dk, dv]: [&mut [f32]; 2],
) {
    let width = heads.n_head_kv * heads.head_dim;
    let keys = tokens_of_task(pool, reach.len() / 2);
    pool.each2((dk, keys * width), (dv, keys * width), |task, dk, dv| {
        dk.fill(0.0);
        dv.fill(0.0);
        let first = task * keys;
        let reach = &reach[2 * first..][..2 * dk.len() / width];
        for head in 0..heads.n_head {
            backward_kv(pool, heads, [q, k, v, dout, stats], (first, head), reach, [&mut *dk, &mut *dv]);
        }
    });
}

fn backward_kv(
    pool: &Pool,
    heads: &Heads,
    [q, k, v, dout, stats]: [&[f32]; 5],
    (first, head): (usize, usize),
    reach: &[u32],
    [dk, dv]: [&mut [f32]; 2],
) {
    let head_kv = head / heads.group();
    let [k, v] = [k, v].map(|rows| heads.of_keys(rows, head_kv));
    let [q, dout] = [q, dout].map(|rows| heads.of_queries(rows, head));
    let ranges: Vec<_> = reach.chunks_exact(2).map(|reach| heads.queries(reach)).collect();
    let all = Table::new(pool, ranges, 0);
    let mut memory = pool.borrow(4 * BLOCK);
    dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
        for block in blocks(&all.all) {
            let [log_masses, deltas, scores, slopes] = memory.get_disjoint_mut([0, 1, 2, 3].map(|i| i * BLOCK..(i + 1) * BLOCK)).expect("four blocks");
            for ((token, log_mass), delta) in block.clone().zip(&mut *log_masses).zip(&mut *deltas) {
                [*log_mass, *delta] = [0, 1].map(|i| stats[2 * (token * heads.n_head + head) + i]);
            }
            for (key, queries) in all.ranges.iter().enumerate() {
                let queries = overlap(&block, queries);
                if queries.is_empty() {
                    continue;
                }
                let part = queries.start - block.start..queries.end - block.start;
                let [s, d] = [&mut scores[part.clone()], &mut slopes[part.clone()]];
                dots(simd, k.row(first + key), q, queries.clone(), s);
                dots(simd, v.row(first + key), dout, queries.clone(), d);
                heads.score(simd, s);
                zip_map(simd, d, &deltas[part.clone()], #[inline(always)] |d, delta| d - delta);
                zip_map(simd, d, s, #[inline(always)] |d, s| d * heads.cap_slope(simd, s) * heads.scale);
                zip_map(simd, s, &log_masses[part], #[inline(always)] |s, log_mass| exp(simd, s - log_mass));
                zip_map(simd, d, s, #[inline(always)] |d, p| d * p);
                let to = key * heads.n_head_kv * heads.head_dim + k.first;
                add_weighted(simd, s, dout, queries.clone(), &mut dv[to..][..heads.head_dim]);
                add_weighted(simd, d, q, queries, &mut dk[to..][..heads.head_dim]);
            }
        }
    }));
}

/// The products of one row with each of `rows`, eight at a time.
#[inline(always)]
fn dots<S: Simd>(simd: S, x: &[f32], head: Head<'_>, rows: Range<usize>, out: &mut [f32]) {
    let mut eights = out.chunks_exact_mut(8);
    let mut first = rows.start;
    for out in &mut eights {
        out.copy_from_slice(&eight_dots(simd, x, std::array::from_fn(|i| head.row(first + i))));
        first += 8;
    }
    for (row, out) in (first..rows.end).zip(eights.into_remainder()) {
        *out = dot(simd, x, head.row(row));
    }
}

#[inline(always)]
fn eight_dots<S: Simd>(simd: S, x: &[f32], rows: [&[f32]; 8]) -> [f32; 8] {
    let width = S::f32s::LEN;
    let whole = x.len() / width * width;
    // One iterator over all: an index would be checked against each row's length.
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows.map(|row| row.chunks_exact(width));
    let rows8 = r0.zip(r1).zip(r2).zip(r3).zip(r4).zip(r5).zip(r6).zip(r7);
    let mut sums = [S::f32s::splat(simd, 0.0); 8];
    for (x, (((((((a0, a1), a2), a3), a4), a5), a6), a7)) in x.chunks_exact(width).zip(rows8) {
        let x = S::f32s::from_slice(simd, x);
        for (sum, a) in sums.iter_mut().zip([a0, a1, a2, a3, a4, a5, a6, a7]) {
            *sum = x.mul_add(S::f32s::from_slice(simd, a), *sum);
        }
    }
    let mut out = [0.0; 8];
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = sum.reduce_sum();
    }
    if whole < x.len() {
        for (out, row) in out.iter_mut().zip(rows) {
            *out += x[whole..].iter().zip(&row[whole..]).map(|(x, a)| x * a).sum::<f32>();
        }
    }
    out
}

/// out += Σ weight · row
#[inline(always)]
fn add_weighted<S: Simd>(simd: S, weights: &[f32], head: Head<'_>, rows: Range<usize>, out: &mut [f32]) {
    let width = S::f32s::LEN;
    let mut done = 0;
    while out.len() - done >= 8 * width {
        add_weighted_lanes::<S, 8>(simd, weights, head, rows.clone(), done, out);
        done += 8 * width;
    }
    while out.len() - done >= 2 * width {
        add_weighted_lanes::<S, 2>(simd, weights, head, rows.clone(), done, out);
        done += 2 * width;
    }
    while out.len() - done >= width {
        add_weighted_lanes::<S, 1>(simd, weights, head, rows.clone(), done, out);
        done += width;
    }
    if done < out.len() {
        for (row, weight) in rows.zip(weights) {
            out[done..].iter_mut().zip(&head.row(row)[done..]).for_each(|(out, x)| *out += weight * x);
        }
    }
}

/// [`add_weighted`] for `N` vectors of the row from `first` on, which stay in registers.
#[inline(always)]
fn add_weighted_lanes<S: Simd, const N: usize>(
    simd: S,
    weights: &[f32],
    head: Head<'_>,
    rows: Range<usize>,
    first: usize,
    out: &mut [f32],
) {
    let width = S::f32s::LEN;
    let out = &mut out[first..][..N * width];
    let mut sums: [S::f32s; N] =
        std::array::from_fn(|i| S::f32s::from_slice(simd, &out[i * width..][..width]));
    for (row, weight) in rows.zip(weights) {
        let row = &head.row(row)[first..][..N * width];
        let weight = S::f32s::splat(simd, *weight);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = weight.mul_add(S::f32s::from_slice(simd, &row[i * width..][..width]), *sum);
        }
    }
    for (sum, out) in sums.into_iter().zip(out.chunks_exact_mut(width)) {
        sum.store_slice(out);
    }
}
