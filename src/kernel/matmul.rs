//! Products with a quantized weight matrix: many rows at once, a few rows, and the gradient. Blocks are decoded as they
//! are read; the matrix is never expanded, and the gradient reads the same blocks along their rows.

use super::declare::{Operation, kernel};
use super::{Pool, Sums, dot};
use crate::plan::{Buf, Matrix, Plan, Slab, record};
use crate::quant::Weight;
use webreft_simd::matmul as simd;

record! {
    /// A product with a slab of a matrix.
    struct Product {
        n_tokens: usize,
        n_in: usize,
        n_rows: usize,
        first_row: usize,
        n_out: usize,
        add: bool,
    }
}

kernel! {
    /// y (+)= x·Wᵀ for many rows of x.
    MATMUL: matmul(weight) {
        wgsl: [wgsl!("matmul.wgsl")],
        params Product
        args { x: In<f32>, y: InOut<f32> }
        twin: twin,
        fast: fast,
        by_row: [x, y],
    }
}

kernel! {
    /// The same for a few rows of x.
    MATVEC: matvec = MATMUL { wgsl: [wgsl!("matvec.wgsl")] }
}

kernel! {
    /// dx (+)= dy·W, the gradient of y = x·Wᵀ.
    MATMUL_BACKWARD: matmul_backward(weight) {
        wgsl: [wgsl!("matmul_backward.wgsl")],
        params Product
        args { dy: In<f32>, dx: InOut<f32> }
        twin: twin_backward,
        fast: fast_backward,
        by_row: [dy, dx],
    }
}

impl Product {
    fn new(n_tokens: usize, matrix: &Matrix, slab: &Slab, add: bool) -> Product {
        let Slab { rows: n_rows, first_row, .. } = *slab;
        Product { n_tokens, n_in: matrix.cols, n_rows, first_row, n_out: matrix.rows, add }
    }
}

/// As many rows of x as a GPU's matrix-vector kernel takes; above, tiles pay.
const FEW: usize = 4;

/// As many workgroups as that kernel's grid has to a line: a vocabulary may be larger than a dispatch is wide.
const LINE: usize = 32768;

/// The kernel that suits the number of tokens, and its grid.
fn choose(n_tokens: usize, rows: usize) -> (&'static Operation, [usize; 3]) {
    let fours = rows.div_ceil(4);
    match n_tokens {
        ..=FEW => (&MATVEC, [fours.min(LINE), fours.div_ceil(LINE), 1]),
        _ => (&MATMUL, [rows.div_ceil(64), n_tokens.div_ceil(64), 1]),
    }
}

/// y [T, rows] = x [T, cols] · Wᵀ, or added to y.
pub fn matmul(plan: &mut Plan, x: Buf, matrix: &Matrix, y: Buf, add: bool) {
    let [n_tokens, _] = plan.shape(x);
    plan.expect("matmul: x", x, &[n_tokens, matrix.cols]);
    plan.expect("matmul: y", y, &[n_tokens, matrix.rows]);
    for slab in &matrix.slabs {
        let (kernel, grid) = choose(n_tokens, slab.rows);
        let params = Product::new(n_tokens, matrix, slab, add);
        plan.dispatch_weight(kernel, params, matmul::Bufs { x, y }, slab, grid);
    }
}

/// dx [T, cols] = dy [T, rows] · W, or added to dx.
pub fn matmul_backward(plan: &mut Plan, dy: Buf, matrix: &Matrix, dx: Buf, add: bool) {
    let [n_tokens, _] = plan.shape(dy);
    plan.expect("matmul_backward: dy", dy, &[n_tokens, matrix.rows]);
    plan.expect("matmul_backward: dx", dx, &[n_tokens, matrix.cols]);
    for (number, slab) in matrix.slabs.iter().enumerate() {
        let params = Product::new(n_tokens, matrix, slab, add || number > 0);
        let grid = [matrix.cols.div_ceil(64), n_tokens.div_ceil(64), 1];
        plan.dispatch_weight(&MATMUL_BACKWARD, params, matmul_backward::Bufs { dy, dx }, slab, grid);
    }
}

fn twin(p: &Product, a: matmul::Args<'_>, w: Weight<'_>) {
    let Product { n_tokens, n_in, n_rows, first_row, n_out, add } = *p;
    let mut weights = vec![0.0; n_in];
    for row in 0..n_rows {
        w.row(row, &mut weights);
        for t in 0..n_tokens {
            let sum = dot(&a.x[t * n_in..][..n_in], &weights);
            let y = &mut a.y[t * n_out + first_row + row];
            *y = if add { *y + sum } else { sum };
        }
    }
}

fn twin_backward(p: &Product, a: matmul_backward::Args<'_>, w: Weight<'_>) {
    let Product { n_tokens, n_in, n_rows, first_row, n_out, add } = *p;
    let begin = |dx: &[f32]| if add { Sums::of(dx) } else { Sums::zeros(n_in) };
    let mut sums: Vec<Sums> = a.dx.chunks_exact(n_in).take(n_tokens).map(begin).collect();
    let mut weights = vec![0.0; n_in];
    for row in 0..n_rows {
        w.row(row, &mut weights);
        for (t, sums) in sums.iter_mut().enumerate() {
            sums.add_scaled(a.dy[t * n_out + first_row + row], &weights);
        }
    }
    sums.iter().zip(a.dx.chunks_exact_mut(n_in)).for_each(|(sums, dx)| sums.store(dx));
}

impl Product {
    fn columns(&self) -> simd::Columns {
        simd::Columns { width: self.n_out, first: self.first_row }
    }
}

fn fast(p: &Product, a: matmul::Args<'_>, w: Weight<'_>, pool: &Pool) {
    simd::matmul(pool, a.x, &w.fast(), a.y, p.columns(), p.add);
}

fn fast_backward(p: &Product, a: matmul_backward::Args<'_>, w: Weight<'_>, pool: &Pool) {
    simd::matmul_backward(pool, a.dy, &w.fast(), a.dx, p.columns(), p.add);
}
