//! Products with a quantized matrix: many rows of x at once, a few, and the gradient by x.
//!
//! With many rows, blocks of 48 rows of the matrix are decoded into a core's cache, each once, and multiplied with panels of x. With a
//! few, each row of the matrix is decoded and multiplied at once. Results come in the order of the matrix's rows, which threads share out;
//! a second pass brings them into the order of y.

use crate::decode::{decode, product};
use crate::math::dot;
use crate::tile::{ROWS, To, lanes, pack_rows, tile};
use crate::{Pool, Weights};
use fearless_simd::{Simd, dispatch};

/// Rows of the matrix that are decoded at once, and are one task.
const BLOCK: usize = 8 * ROWS;

/// The longest part of k that a tile goes through: a panel of it and six rows stay in the nearest cache.
const PART: usize = 320;

/// Up to so many rows of x, each is multiplied by itself.
const FEW: usize = 8;

/// Values of the matrix that are one task where x has one row: a thread takes longer to wake than to multiply fewer.
const ONE_ROW_TASK: usize = 1 << 16;

/// Tasks that a thread gets before results are put in order, where it is alone: results stay near.
const TASKS: usize = 4;

/// Results that several threads compute before they are put in order: they wait for each other less often.
const RESULTS: usize = 1 << 19;

/// Where the matrix's outputs stand in a row of y, which has `width` values: from `first` on.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Values in a row.
    pub width: usize,
    /// The first of them that the matrix gives.
    pub first: usize,
}

/// y [T, width] = x [T, cols] · Wᵀ at the columns that W gives, or added to y.
pub fn matmul(pool: &Pool, x: &[f32], w: &Weights<'_>, y: &mut [f32], columns: Columns, add: bool) {
    let n_tokens = x.len() / w.cols;
    if n_tokens == 0 {
        return;
    }
    let few = n_tokens <= FEW;
    if n_tokens == 1 && !add {
        let y = &mut y[columns.first..][..w.rows];
        let rows = (ONE_ROW_TASK / w.cols).max(1);
        return pool.each(y, rows, |task, y| few_rows(pool, x, w, task * rows, y, 1));
    }
    let lanes = dispatch!(pool.level(), simd => lanes(simd));
    let (padded, panels) = if few {
        (n_tokens, None)
    } else {
        (n_tokens.next_multiple_of(lanes), Some(pack(pool, x, w.cols, lanes)))
    };
    let blocks = match pool.threads() {
        1 => TASKS,
        threads => (RESULTS / (BLOCK * padded)).max(threads),
    };
    let at_once = BLOCK * blocks;
    let mut results = pool.borrow(at_once.min(w.rows.next_multiple_of(BLOCK)) * padded);
    for first_row in (0..w.rows).step_by(at_once) {
        let rows = at_once.min(w.rows - first_row);
        let results = &mut results[..rows.next_multiple_of(BLOCK) * padded];
        pool.each(results, BLOCK * padded, |block, out| {
            let row = first_row + block * BLOCK;
            match &panels {
                Some(panels) => many_rows(pool, panels, w, row, out, padded),
                None => few_rows(pool, x, w, row, out, n_tokens),
            }
        });
        let to = Columns { first: columns.first + first_row, ..columns };
        pool.each(y, columns.width * TOKENS, |task, y| {
            transpose(&results[task * TOKENS..], padded, rows, y, to, add);
        });
    }
}

/// Brings results [rows, padded] into the rows of y, in blocks of columns that stay in the nearest cache.
fn transpose(results: &[f32], padded: usize, rows: usize, y: &mut [f32], columns: Columns, add: bool) {
    const AT_ONCE: usize = 32;
    for block in (0..rows).step_by(AT_ONCE) {
        let to = columns.first + block..columns.first + rows.min(block + AT_ONCE);
        for (token, y) in y.chunks_exact_mut(columns.width).enumerate() {
            let from = results[block * padded + token..].iter().step_by(padded);
            let both = y[to.clone()].iter_mut().zip(from);
            if add { both.for_each(|(y, x)| *y += x) } else { both.for_each(|(y, x)| *y = *x) }
        }
    }
}

/// Rows of y that are one task when results are put in order.
const TOKENS: usize = 8;

/// The rows of x as panels.
fn pack<'a>(pool: &'a Pool, x: &[f32], cols: usize, lanes: usize) -> crate::pool::Borrowed<'a> {
    let n_tokens = x.len() / cols;
    let mut panels = pool.borrow(n_tokens.next_multiple_of(lanes) * cols);
    pool.each(&mut panels, lanes * cols, |number, panel| {
        let row = |lane: usize| x.chunks_exact(cols).nth(number * lanes + lane);
        pack_rows(cols, lanes, row, panel);
    });
    panels
}

/// Products of rows of the matrix from `first_row` on, as many as `out` [rows, T] has.
fn few_rows(pool: &Pool, x: &[f32], w: &Weights<'_>, first_row: usize, out: &mut [f32], n_tokens: usize) {
    let mut values = pool.borrow(w.cols);
    dispatch!(pool.level(), simd => {
        for (row, out) in (first_row..w.rows).zip(out.chunks_exact_mut(n_tokens)) {
            if let [out] = out {
                *out = product(simd, w, row, x, &mut values);
                continue;
            }
            decode(simd, w, row, 0, &mut values);
            simd.vectorize(#[inline(always)] || {
                for (x, out) in x.chunks_exact(w.cols).zip(out) {
                    *out = dot(simd, x, &values);
                }
            });
        }
    });
}

/// Products of up to [`BLOCK`] rows of the matrix from `first_row` on with all panels, [BLOCK, padded].
fn many_rows(pool: &Pool, panels: &[f32], w: &Weights<'_>, first_row: usize, out: &mut [f32], padded: usize) {
    let mut values = pool.borrow(BLOCK * w.cols);
    dispatch!(pool.level(), simd => {
        for (row, values) in (first_row..first_row + BLOCK).zip(values.chunks_exact_mut(w.cols)) {
            if row < w.rows { decode(simd, w, row, 0, values) } else { values.fill(0.0) }
        }
        for part in parts(w.cols) {
            let rows = Strips { values: &values, stride: w.cols, first: part.start, len: part.len() };
            let [stride, first, len] = [w.cols, part.start, part.len()].map(|n| n * lanes(simd));
            let panels = Strips { values: panels, stride, first, len };
            let to = To { out: &mut *out, stride: padded, add: part.start > 0 };
            simd.vectorize(#[inline(always)] || multiply(simd, rows, panels, to));
        }
    });
}

/// Rows of `stride` values each, of which `len` from `first` on are taken.
#[derive(Clone, Copy)]
struct Strips<'a> {
    values: &'a [f32],
    stride: usize,
    first: usize,
    len: usize,
}

impl<'a> Strips<'a> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.values.len() / self.stride
    }

    #[inline(always)]
    fn get(&self, number: usize) -> &'a [f32] {
        &self.values[number * self.stride + self.first..][..self.len]
    }
}

/// All tiles of rows times panels; the number of rows is a multiple of [`ROWS`].
#[inline(always)]
fn multiply<S: Simd>(simd: S, rows: Strips<'_>, panels: Strips<'_>, to: To<'_>) {
    for number in 0..panels.count() {
        let panel = panels.get(number);
        for group in 0..rows.count() / ROWS {
            let six: [&[f32]; ROWS] = std::array::from_fn(|r| rows.get(group * ROWS + r));
            let out = &mut to.out[group * ROWS * to.stride + number * lanes(simd)..];
            tile(simd, six, panel, To { out, stride: to.stride, add: to.add });
        }
    }
}

/// dx [T, cols] = dy [T, width] · W by the columns that W gives, or added to dx.
///
/// A task is some columns of W. Each part of W's rows is decoded into panels of these columns, once, and multiplied with all rows of dy.
pub fn matmul_backward(
    pool: &Pool,
    dy: &[f32],
    w: &Weights<'_>,
    dx: &mut [f32],
    columns: Columns,
    add: bool,
) {
    let n_tokens = dx.len() / w.cols;
    if n_tokens == 0 {
        return;
    }
    let lanes = dispatch!(pool.level(), simd => lanes(simd));
    let chunk = columns_of_task(w, lanes, pool.threads());
    let padded = n_tokens.next_multiple_of(ROWS);
    let mut results = pool.borrow(w.cols.next_multiple_of(chunk) * padded);
    pool.each(&mut results, chunk * padded, |task, out| {
        let first = task * chunk;
        gradient(pool, dy, w, first..w.cols.min(first + chunk), out, (columns, n_tokens));
    });
    pool.each(dx, TOKENS * w.cols, |task, dx| {
        for (token, dx) in (task * TOKENS..).zip(dx.chunks_exact_mut(w.cols)) {
            for (dx, from) in dx.chunks_mut(chunk).zip(results.chunks_exact(chunk * padded)) {
                let to = dx.iter_mut().zip(&from[token * chunk..]);
                if add { to.for_each(|(y, x)| *y += x) } else { to.for_each(|(y, x)| *y = *x) }
            }
        }
    });
}

/// Columns of a task: whole blocks and panels, few enough that a part of the rows stays in a core's cache, and that all threads have some.
fn columns_of_task(w: &Weights<'_>, lanes: usize, threads: usize) -> usize {
    let step = w.layout.block_values().max(lanes);
    let most = (w.cols / threads).min(MOST_COLUMNS);
    (most / step * step).max(step)
}

/// The most columns of a task of the gradient.
const MOST_COLUMNS: usize = 256;

/// The columns `cols` of the gradient, [T, chunk].
fn gradient(
    pool: &Pool,
    dy: &[f32],
    w: &Weights<'_>,
    cols: std::ops::Range<usize>,
    out: &mut [f32],
    (columns, n_tokens): (Columns, usize),
) {
    let padded = n_tokens.next_multiple_of(ROWS);
    let chunk = out.len() / padded;
    let mut values = pool.borrow(cols.len());
    let mut panels = pool.borrow(PART * chunk);
    let mut tokens = pool.borrow(PART * padded);
    dispatch!(pool.level(), simd => {
        let lanes = lanes(simd);
        for part in parts(w.rows) {
            let length = part.len() * lanes;
            for (row, at) in part.clone().zip((0..).step_by(lanes)) {
                decode(simd, w, row, cols.start, &mut values);
                for (number, values) in values.chunks(lanes).enumerate() {
                    panels[number * length + at..][..values.len()].copy_from_slice(values);
                }
            }
            // Rows of dy may be a vocabulary apart, which a cache bears badly.
            for (token, to) in tokens.chunks_exact_mut(part.len()).take(n_tokens).enumerate() {
                let from = token * columns.width + columns.first + part.start;
                to.copy_from_slice(&dy[from..from + part.len()]);
            }
            let n_panels = cols.len().div_ceil(lanes);
            let whole = |values, stride| Strips { values, stride, first: 0, len: stride };
            let rows = whole(&tokens[..padded * part.len()], part.len());
            let panels = whole(&panels[..n_panels * length], length);
            let to = To { out: &mut *out, stride: chunk, add: part.start > 0 };
            simd.vectorize(#[inline(always)] || multiply(simd, rows, panels, to));
        }
    });
}

/// k in even parts, none longer than [`PART`].
fn parts(k: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let step = k.div_ceil(k.div_ceil(PART).max(1)).max(1);
    (0..k).step_by(step).map(move |start| start..k.min(start + step))
}
