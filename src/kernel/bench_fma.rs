//! The multiply-add ceiling of an adapter; no part of any model.

use crate::backend::Call;
use crate::plan::Field::U32;
use crate::plan::Role::Out;
use crate::plan::{Buf, Kernel, Plan};

pub(super) static BENCH_FMA: Kernel = Kernel {
    name: "bench_fma",
    wgsl: &[include_str!("../../shaders/bench_fma.wgsl")],
    params: &[("n", U32), ("rounds", U32)],
    args: &[("y", Out)],
    weight: false,
    twin,
};

/// Multiply-adds that each element of [`bench_fma`]'s buffer takes in a round.
pub const FMAS_A_ROUND: usize = 8;

/// Fills y `[n]` with the results of `rounds` of multiply-adds.
pub fn bench_fma(plan: &mut Plan, y: Buf, rounds: usize) {
    let [n] = plan.shape(y);
    plan.dispatch(&BENCH_FMA, &[n.into(), rounds.into()], &[y], [n.div_ceil(256), 1, 1]);
}

fn twin(call: &Call<'_>) {
    let (n, rounds) = (call.usize(0), call.usize(1));
    let mut y = call.f32_mut(0);
    for (i, y) in y.iter_mut().enumerate().take(n) {
        let x = [(i / 4) as f32 * 1e-7, 1e-3, 2e-3, 3e-3][i % 4];
        let a = [0.999, 0.998, 0.997, 0.996][i % 4];
        let start = |chain: usize| x + chain as f32;
        let run = |chain| (0..rounds).fold(start(chain), |s: f32, _| s.mul_add(a, x));
        *y = (0..FMAS_A_ROUND).map(run).sum();
    }
}
