//! Rows scaled by a learned vector (IA³, arXiv:2205.05638), or around a bias (DoRA, arXiv:2402.09353), and the gradients by the rows and
//! by the vector.

use super::Sums;
use super::declare::kernel;
use crate::plan::{Buf, Plan};

kernel! {
    /// Scales rows by a learned vector, around a bias.
    SCALE_ROWS: scale_rows {
        wgsl: [wgsl!("scale_rows.wgsl")],
        params { n_embd: usize, stride: usize, first: usize, l_at: usize, biased: bool }
        args {
            edits: In<u32>,
            strength: In<f32>,
            theta: In<f32>,
            bias: In<f32>,
            h: InOut<f32>,
            before: Out<f32>,
        }
        twin: twin,
    }
}

kernel! {
    /// The gradients of `scale_rows`.
    SCALE_ROWS_BACKWARD: scale_rows_backward {
        wgsl: [wgsl!("scale_rows_backward.wgsl")],
        params {
            n_edits: usize,
            n_embd: usize,
            stride: usize,
            first: usize,
            l_at: usize,
            biased: bool,
            onto: bool,
        }
        args {
            edits: In<u32>,
            strength: In<f32>,
            theta: In<f32>,
            bias: In<f32>,
            before: In<f32>,
            dh: InOut<f32>,
            grad: InOut<f32>,
        }
        twin: twin_backward,
    }
}

/// What rows are scaled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Width of what is edited, D.
    pub n_embd: usize,
    /// Its first column in a row of the buffer that it is a part of.
    pub first: usize,
    /// First element of l `[D]`.
    pub l_at: usize,
}

/// What a scaling reads.
#[derive(Clone, Copy)]
pub struct ScaleInputs {
    /// Row, and how often it counts in gradients [P, 2]; no row twice.
    pub rows: Buf,
    /// How much of the scaling is made [P, 1].
    pub strength: Buf,
    /// Holds l.
    pub theta: Buf,
    /// The row `[S]` that the scaling leaves as it is, if it is not 0.
    pub bias: Option<Buf>,
}

/// Scales the rows of h [T, S] that `rows` names around the bias; returns them as they were [P, D].
pub fn scale_rows(plan: &mut Plan, scale: &Scale, inputs: &ScaleInputs, h: Buf) -> Buf {
    let ScaleInputs { rows, strength, theta, bias } = *inputs;
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(h);
    let Scale { n_embd, first, l_at } = *scale;
    plan.expect("scale_rows: strength", strength, &[n_edits, 1]);
    bias.iter().for_each(|bias| plan.expect("scale_rows: bias", *bias, &[stride]));
    let before = plan.scratch("before", &[n_edits, n_embd]);
    plan.dispatch(
        &SCALE_ROWS,
        scale_rows::Params { n_embd, stride, first, l_at, biased: bias.is_some() },
        scale_rows::Bufs { edits: rows, strength, theta, bias: bias.unwrap_or(theta), h, before },
        [n_embd.div_ceil(64), n_edits, 1],
    );
    before
}

/// Takes dh [T, S] back through the scaling, in place, and writes the vector's gradient, or adds to it.
pub fn scale_rows_backward(
    plan: &mut Plan,
    scale: &Scale,
    inputs: &ScaleInputs,
    before: Buf,
    [dh, grad]: [Buf; 2],
    onto: bool,
) {
    let ScaleInputs { rows, strength, theta, bias } = *inputs;
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(dh);
    let Scale { n_embd, first, l_at } = *scale;
    plan.dispatch(
        &SCALE_ROWS_BACKWARD,
        scale_rows_backward::Params { n_edits, n_embd, stride, first, l_at, biased: bias.is_some(), onto },
        scale_rows_backward::Bufs {
            edits: rows,
            strength,
            theta,
            bias: bias.unwrap_or(theta),
            before,
            dh,
            grad,
        },
        [n_embd.div_ceil(64), 1, 1],
    );
}

/// The bias of the scaled columns, 0 where there is none.
fn bias_of(bias: &[f32], biased: bool, first: usize, n_embd: usize) -> Vec<f32> {
    if biased { bias[first..][..n_embd].to_vec() } else { vec![0.0; n_embd] }
}

fn twin(p: &scale_rows::Params, a: scale_rows::Args<'_>) {
    let scale_rows::Params { n_embd, stride, first, l_at, biased } = *p;
    let scale_rows::Args { edits, strength, theta, bias, h, before } = a;
    let bias = bias_of(bias, biased, first, n_embd);
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let h = &mut h[edit[0] as usize * stride + first..][..n_embd];
        before[p * n_embd..][..n_embd].copy_from_slice(h);
        for ((h, l), c) in h.iter_mut().zip(&theta[l_at..]).zip(&bias) {
            *h += strength[p] * (l - 1.0) * (*h - c);
        }
    }
}

fn twin_backward(p: &scale_rows_backward::Params, a: scale_rows_backward::Args<'_>) {
    let scale_rows_backward::Params { n_embd, stride, first, l_at, biased, onto, .. } = *p;
    let scale_rows_backward::Args { edits, strength, theta, bias, before, dh, grad } = a;
    let bias = bias_of(bias, biased, first, n_embd);
    let grad = &mut grad[l_at..][..n_embd];
    let mut sums = if onto { Sums::of(grad) } else { Sums::zeros(n_embd) };
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let dh = &mut dh[edit[0] as usize * stride + first..][..n_embd];
        for (d, dh) in dh.iter_mut().enumerate() {
            let counted = edit[1] as f32 * *dh;
            sums.0[d] += f64::from(strength[p] * (before[p * n_embd + d] - bias[d]) * counted);
            *dh = counted * (1.0 + strength[p] * (theta[l_at + d] - 1.0));
        }
    }
    sums.store(grad);
}
