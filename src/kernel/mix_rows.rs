//! Rows of hidden states mixed with rows of another run: pyvene's interchange, addition, subtraction and zero.

use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, InOut};
use crate::plan::{Buf, Kernel, Plan};

pub(super) static MIX_ROWS: Kernel = Kernel {
    name: "mix_rows",
    wgsl: &[include_str!("../../shaders/mix_rows.wgsl")],
    params: &[("n_embd", U32), ("stride", U32), ("first", U32), ("keep", F32), ("gain", F32)],
    args: &[("edits", In), ("strength", In), ("source", In), ("h", InOut)],
    weight: false,
    twin,
};

pub(super) static MIX_ROWS_BACKWARD: Kernel = Kernel {
    name: "mix_rows_backward",
    wgsl: &[include_str!("../../shaders/mix_rows_backward.wgsl")],
    params: &[("n_embd", U32), ("stride", U32), ("first", U32), ("keep", F32)],
    args: &[("edits", In), ("strength", In), ("dh", InOut)],
    weight: false,
    twin: twin_backward,
};

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
    let params = [n_embd.into(), stride.into(), first.into(), keep.into(), gain.into()];
    plan.dispatch(&MIX_ROWS, &params, &[rows, strength, source.unwrap_or(strength), h], [n_edits, 1, 1]);
}

/// Takes dh [T, S] back through the mixing, in place.
pub fn mix_rows_backward(plan: &mut Plan, mix: &Mix, [rows, strength]: [Buf; 2], dh: Buf) {
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(dh);
    let params = [mix.n_embd.into(), stride.into(), mix.first.into(), mix.keep.into()];
    plan.dispatch(&MIX_ROWS_BACKWARD, &params, &[rows, strength, dh], [n_edits, 1, 1]);
}

fn twin(call: &Call<'_>) {
    let [n_embd, stride, first] = [0, 1, 2].map(|i| call.usize(i));
    let [keep, gain] = [3, 4].map(|i| call.real(i));
    let (edits, strength, source, mut h) = (call.u32(0), call.f32(1), call.f32(2), call.f32_mut(3));
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

fn twin_backward(call: &Call<'_>) {
    let [n_embd, stride, first] = [0, 1, 2].map(|i| call.usize(i));
    let keep = call.real(3);
    let (edits, strength, mut dh) = (call.u32(0), call.f32(1), call.f32_mut(2));
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let scale = edit[1] as f32 * (1.0 + strength[p] * (keep - 1.0));
        dh[edit[0] as usize * stride + first..][..n_embd].iter_mut().for_each(|d| *d *= scale);
    }
}
