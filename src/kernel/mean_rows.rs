//! The means of runs of rows: what a head reads that pools all tokens of a sequence.

use super::Sums;
use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// The means of runs of rows.
    MEAN_ROWS: mean_rows {
        wgsl: [wgsl!("mean_rows.wgsl")],
        params { n_embd: usize }
        args { ranges: In<u32>, x: In<f32>, y: Out<f32> }
        twin: twin,
    }
}

kernel! {
    /// The gradient of `mean_rows`.
    MEAN_ROWS_BACKWARD: mean_rows_backward {
        wgsl: [wgsl!("mean_rows_backward.wgsl")],
        params { n_embd: usize }
        args { ranges: In<u32>, dy: In<f32>, dx: Out<f32> }
        twin: twin_backward,
    }
}

/// The means [B, D] of the rows of x [T, D] from the first to the end of each of `ranges` [B, 2].
pub fn mean_rows(plan: &mut Plan, ranges: Buf, x: Buf) -> Buf {
    let ([n_runs, _], [_, n_embd]) = (plan.shape(ranges), plan.shape(x));
    let y = plan.scratch("means", &[n_runs, n_embd]);
    plan.dispatch(
        &MEAN_ROWS,
        mean_rows::Params { n_embd },
        mean_rows::Bufs { ranges, x, y },
        [n_embd.div_ceil(64), n_runs, 1],
    );
    y
}

/// Gradient of [`mean_rows`] by the `n_rows` rows of x, each of which is in one of the runs.
pub fn mean_rows_backward(plan: &mut Plan, ranges: Buf, dy: Buf, n_rows: usize) -> Buf {
    let [n_runs, n_embd] = plan.shape(dy);
    plan.expect("mean_rows_backward: ranges", ranges, &[n_runs, 2]);
    let dx = plan.scratch("dmeans", &[n_rows, n_embd]);
    let grid = [n_embd.div_ceil(64), n_runs, 1];
    plan.dispatch(
        &MEAN_ROWS_BACKWARD,
        mean_rows_backward::Params { n_embd },
        mean_rows_backward::Bufs { ranges, dy, dx },
        grid,
    );
    dx
}

/// The elements of each run of rows.
fn runs(ranges: &[u32], n_embd: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    ranges.chunks_exact(2).map(move |range| range[0] as usize * n_embd..range[1] as usize * n_embd)
}

fn twin(p: &mean_rows::Params, a: mean_rows::Args<'_>) {
    let mean_rows::Params { n_embd } = *p;
    let mean_rows::Args { ranges, x, y } = a;
    for (run, y) in runs(ranges, n_embd).zip(y.chunks_exact_mut(n_embd)) {
        let rows = &x[run];
        let mut sums = Sums::zeros(n_embd);
        rows.chunks_exact(n_embd).for_each(|row| sums.add_scaled(1.0, row));
        sums.store(y);
        y.iter_mut().for_each(|y| *y /= (rows.len() / n_embd) as f32);
    }
}

fn twin_backward(p: &mean_rows_backward::Params, a: mean_rows_backward::Args<'_>) {
    let mean_rows_backward::Params { n_embd } = *p;
    let mean_rows_backward::Args { ranges, dy, dx } = a;
    for (run, dy) in runs(ranges, n_embd).zip(dy.chunks_exact(n_embd)) {
        let n = (run.len() / n_embd) as f32;
        for row in dx[run].chunks_exact_mut(n_embd) {
            row.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy / n);
        }
    }
}
