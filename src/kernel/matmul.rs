//! Products with a quantized weight matrix: many rows at once, a few rows, and the gradient. Blocks are decoded as they
//! are read; the matrix is never expanded, and the gradient reads the same blocks along their rows.

use super::{add_scaled, dot};
use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Field, Kernel, Matrix, Plan};

const PARAMS: &[(&str, Field)] =
    &[("n_tokens", U32), ("n_in", U32), ("n_rows", U32), ("first_row", U32), ("n_out", U32), ("add", U32)];

pub(super) static MATMUL: Kernel = product("matmul", &[include_str!("../../shaders/matmul.wgsl")]);

pub(super) static MATVEC: Kernel = product("matvec", &[include_str!("../../shaders/matvec.wgsl")]);

pub(super) static MATMUL_BACKWARD: Kernel =
    gradient("matmul_backward", &[include_str!("../../shaders/matmul_backward.wgsl")]);

const fn product(name: &'static str, wgsl: &'static [&'static str]) -> Kernel {
    Kernel { name, wgsl, params: PARAMS, args: &[("x", In), ("y", InOut)], weight: true, twin }
}

const fn gradient(name: &'static str, wgsl: &'static [&'static str]) -> Kernel {
    let args = &[("dy", In), ("dx", InOut)];
    Kernel { name, wgsl, params: PARAMS, args, weight: true, twin: twin_backward }
}

/// As many rows of x as a GPU's matrix-vector kernel takes; above, tiles pay.
const FEW: usize = 4;

/// As many workgroups as that kernel's grid has to a line: a vocabulary may be larger than a dispatch is wide.
const LINE: usize = 32768;

/// The kernel that suits the number of tokens, and its grid.
fn choose(n_tokens: usize, rows: usize) -> (&'static Kernel, [usize; 3]) {
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
        let [first, rows] = [slab.first_row, slab.rows];
        let params = [n_tokens, matrix.cols, rows, first, matrix.rows].map(Into::into);
        let params = [params.as_slice(), &[add.into()]].concat();
        let (kernel, grid) = choose(n_tokens, rows);
        plan.dispatch_weight(kernel, &params, &[x, y], slab, grid);
    }
}

/// dx [T, cols] = dy [T, rows] · W, or added to dx.
pub fn matmul_backward(plan: &mut Plan, dy: Buf, matrix: &Matrix, dx: Buf, add: bool) {
    let [n_tokens, _] = plan.shape(dy);
    plan.expect("matmul_backward: dy", dy, &[n_tokens, matrix.rows]);
    plan.expect("matmul_backward: dx", dx, &[n_tokens, matrix.cols]);
    for (number, slab) in matrix.slabs.iter().enumerate() {
        let params = [n_tokens, matrix.cols, slab.rows, slab.first_row, matrix.rows].map(Into::into);
        let params = [params.as_slice(), &[(add || number > 0).into()]].concat();
        let grid = [matrix.cols.div_ceil(64), n_tokens.div_ceil(64), 1];
        plan.dispatch_weight(&MATMUL_BACKWARD, &params, &[dy, dx], slab, grid);
    }
}

fn twin(call: &Call<'_>) {
    let [n_tokens, n_in, n_rows, first_row, n_out] = [0, 1, 2, 3, 4].map(|i| call.usize(i));
    let add = call.flag(5);
    let (x, mut y) = (call.f32(0), call.f32_mut(1));
    let mut w = vec![0.0; n_in];
    for row in 0..n_rows {
        call.weight_row(row, &mut w);
        for t in 0..n_tokens {
            let sum = dot(&x[t * n_in..][..n_in], &w);
            let y = &mut y[t * n_out + first_row + row];
            *y = if add { *y + sum } else { sum };
        }
    }
}

fn twin_backward(call: &Call<'_>) {
    let [n_tokens, n_in, n_rows, first_row, n_out] = [0, 1, 2, 3, 4].map(|i| call.usize(i));
    let (dy, mut dx) = (call.f32(0), call.f32_mut(1));
    if !call.flag(5) {
        dx[..n_tokens * n_in].fill(0.0);
    }
    let mut w = vec![0.0; n_in];
    for row in 0..n_rows {
        call.weight_row(row, &mut w);
        for t in 0..n_tokens {
            add_scaled(&mut dx[t * n_in..][..n_in], dy[t * n_out + first_row + row], &w);
        }
    }
}
