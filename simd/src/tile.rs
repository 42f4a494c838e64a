//! The inner product of everything that is a matrix product: six rows against a panel of two vectors' width.
//!
//! ```text
//! c[r, lane] (+)= Σ_k rows[r, k] · panel[k, lane]         r < 6, lane < 2 · lanes of a vector
//! ```
//!
//! Twelve sums stay in registers, two vectors of the panel and one number of a row make sixteen: what AVX2, SSE and wasm have.

use fearless_simd::{Simd, prelude::*};

/// Rows of a tile.
pub(crate) const ROWS: usize = 6;

/// Lanes of a panel.
#[inline(always)]
pub(crate) fn lanes<S: Simd>(_: S) -> usize {
    2 * S::f32s::LEN
}

/// Where a tile's results go: row r begins at `r · stride`, and holds sums of earlier parts of k if `add`.
pub(crate) struct To<'a> {
    pub(crate) out: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) add: bool,
}

/// Multiplies six rows with a panel, both of the rows' length in k.
#[inline(always)]
pub(crate) fn tile<S: Simd>(simd: S, rows: [&[f32]; ROWS], panel: &[f32], to: To<'_>) {
    let width = S::f32s::LEN;
    let mut sums = [[S::f32s::splat(simd, 0.0); 2]; ROWS];
    // Rows cut to one length: an index below it needs no check.
    let n = panel.len() / (2 * width);
    let [r0, r1, r2, r3, r4, r5] = rows;
    let (r0, r1, r2, r3, r4, r5) = (&r0[..n], &r1[..n], &r2[..n], &r3[..n], &r4[..n], &r5[..n]);
    for (lanes, k) in panel.chunks_exact(2 * width).zip(0..n) {
        let b = [S::f32s::from_slice(simd, &lanes[..width]), S::f32s::from_slice(simd, &lanes[width..])];
        for (sums, a) in sums.iter_mut().zip([r0[k], r1[k], r2[k], r3[k], r4[k], r5[k]]) {
            let a = S::f32s::splat(simd, a);
            *sums = [a.mul_add(b[0], sums[0]), a.mul_add(b[1], sums[1])];
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        let out = &mut to.out[r * to.stride..][..2 * width];
        for (sum, out) in sums.into_iter().zip(out.chunks_exact_mut(width)) {
            let sum = if to.add { sum + S::f32s::from_slice(simd, out) } else { sum };
            sum.store_slice(out);
        }
    }
}

/// Rows of length n as panels: [rows / lanes][n][lanes], where the last panel is filled up with zeros.
#[inline(always)]
pub(crate) fn pack_rows<'a>(
    n: usize,
    lanes: usize,
    row: impl Fn(usize) -> Option<&'a [f32]>,
    panel: &mut [f32],
) {
    for lane in 0..lanes {
        let to = panel.chunks_exact_mut(lanes).map(|lanes| &mut lanes[lane]).take(n);
        match row(lane) {
            Some(row) => to.zip(row).for_each(|(to, x)| *to = *x),
            None => to.for_each(|to| *to = 0.0),
        }
    }
}
