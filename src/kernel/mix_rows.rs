//! Rows of hidden states mixed with rows of another run: pyvene's interchange, addition, subtraction and zero.

use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// Mixes rows of h with rows of another run.
    MIX_ROWS: mix_rows {
        wgsl: [wgsl!("mix_rows.wgsl")],
        params { n_embd: usize, stride: usize, first: usize, keep: f32, gain: f32 }
        args { edits: In<u32>, strength: In<f32>, source: In<f32>, h: InOut<f32> }
        twin: twin,
    }
}

kernel! {
    /// The gradient of `mix_rows` by h, in place.
    MIX_ROWS_BACKWARD: mix_rows_backward {
        wgsl: [wgsl!("mix_rows_backward.wgsl")],
        params { n_embd: usize, stride: usize, first: usize, keep: f32 }
        args { edits: In<u32>, strength: In<f32>, dh: InOut<f32> }
        twin: twin_backward,
    }
}

/// What a row becomes: keep · h + gain · s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Width of what is edited, D.
    pub n_embd: usize,
    /// Its first column in a row of the buffer that it is a part of.
    pub first: usize,
    /// What stays of the row.
    pub keep: f32,
    /// What comes of the other run's.
    pub gain: f32,
}

/// Mixes the rows of h [T, S] that `rows` [P, 2] names with `source` [P, D], as much as `strength` [P, 1] says; there need not be a
/// source that nothing comes of.
pub fn mix_rows(plan: &mut Plan, mix: &Mix, [rows, strength]: [Buf; 2], source: Option<Buf>, h: Buf) {
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(h);
    let Mix { n_embd, first, keep, gain } = *mix;
    plan.expect("mix_rows: strength", strength, &[n_edits, 1]);
    assert_eq!(source.is_some(), gain != 0.0, "mix_rows: source");
    if let Some(source) = source {
        plan.expect("mix_rows: source", source, &[n_edits, n_embd]);
    }
    plan.dispatch(
        &MIX_ROWS,
        mix_rows::Params { n_embd, stride, first, keep, gain },
        mix_rows::Bufs { edits: rows, strength, source: source.unwrap_or(strength), h },
        [1, n_edits, 1],
    );
}

/// Takes dh [T, S] back through the mixing, in place.
pub fn mix_rows_backward(plan: &mut Plan, mix: &Mix, [rows, strength]: [Buf; 2], dh: Buf) {
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(dh);
    plan.dispatch(
        &MIX_ROWS_BACKWARD,
        mix_rows_backward::Params { n_embd: mix.n_embd, stride, first: mix.first, keep: mix.keep },
        mix_rows_backward::Bufs { edits: rows, strength, dh },
        [1, n_edits, 1],
    );
}

fn twin(p: &mix_rows::Params, a: mix_rows::Args<'_>) {
    let mix_rows::Params { n_embd, stride, first, keep, gain } = *p;
    let mix_rows::Args { edits, strength, source, h } = a;
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let m = strength[p];
        let keep = 1.0 + m * (keep - 1.0);
        let h = &mut h[edit[0] as usize * stride + first..][..n_embd];
        for (d, h) in h.iter_mut().enumerate() {
            let s = if gain == 0.0 { 0.0 } else { source[p * n_embd + d] };
            *h = keep * *h + m * gain * s;
        }
    }
}

fn twin_backward(p: &mix_rows_backward::Params, a: mix_rows_backward::Args<'_>) {
    let mix_rows_backward::Params { n_embd, stride, first, keep } = *p;
    let mix_rows_backward::Args { edits, strength, dh } = a;
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let scale = edit[1] as f32 * (1.0 + strength[p] * (keep - 1.0));
        dh[edit[0] as usize * stride + first..][..n_embd].iter_mut().for_each(|d| *d *= scale);
    }
}
