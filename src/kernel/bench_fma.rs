//! The multiply-add ceiling of an adapter; no part of any model.

use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// Multiply-adds in registers: the ceiling of an adapter.
    BENCH_FMA: bench_fma {
        wgsl: [wgsl!("bench_fma.wgsl")],
        params { n: usize, rounds: usize }
        args { y: Out<f32> }
        twin: twin,
    }
}

/// Multiply-adds that each element of [`bench_fma`]'s buffer takes in a round.
pub const FMAS_A_ROUND: usize = 8;

/// Fills y `[n]` with the results of `rounds` of multiply-adds.
pub fn bench_fma(plan: &mut Plan, y: Buf, rounds: usize) {
    let [n] = plan.shape(y);
    plan.dispatch(
        &BENCH_FMA,
        bench_fma::Params { n, rounds },
        bench_fma::Bufs { y },
        [n.div_ceil(256), 1, 1],
    );
}

fn twin(p: &bench_fma::Params, a: bench_fma::Args<'_>) {
    let bench_fma::Params { n, rounds } = *p;
    let bench_fma::Args { y } = a;
    for (i, y) in y.iter_mut().enumerate().take(n) {
        let x = [(i / 4) as f32 * 1e-7, 1e-3, 2e-3, 3e-3][i % 4];
        let a = [0.999, 0.998, 0.997, 0.996][i % 4];
        let start = |chain: usize| x + chain as f32;
        let run = |chain| (0..rounds).fold(start(chain), |s: f32, _| s.mul_add(a, x));
        *y = (0..FMAS_A_ROUND).map(run).sum();
    }
}
