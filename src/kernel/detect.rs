//! ReFT-r1's detection and the strength that follows from it (Wu et al. 2025, arXiv:2501.17148; AxBench's `LsReFT`), and their gradients.
//!
//! Around [`lowrank_edit`](super::lowrank_edit()) of rank 1: [`detect`] before it, [`detect_backward`] after its way back, and
//! [`unit_row`] before the optimizer.

use super::declare::kernel;
use super::{Edit, EditGradient, EditTrace, REDUCE, Sums, dot, sum};
use crate::plan::{Buf, Plan};

/// Latents of a sequence that its strength is the mean of: AxBench's `topk`.
const K: usize = 8;

kernel! {
    /// ReLU(w·h) of each edited row.
    DETECT: detect_rows {
        wgsl: [REDUCE, wgsl!("detect_rows.wgsl")],
        params { n_embd: usize, stride: usize, first: usize, w_at: usize }
        args { edits: In<u32>, theta: In<f32>, h: In<f32>, latent: Out<f32> }
        twin: twin_detect,
    }
}

kernel! {
    /// The mean of the strongest latents of each sequence, as the strength of its edits.
    TOP_MEAN: top_mean {
        wgsl: [REDUCE, wgsl!("top_mean.wgsl")],
        params { k: usize, b_at: usize }
        args { spans: In<u32>, latent: In<f32>, strength: In<f32>, theta: In<f32>, masked: Out<f32>, share: Out<f32> }
        twin: twin_top_mean,
    }
}

kernel! {
    /// The gradient of `top_mean` and of the penalty by the latents.
    TOP_MEAN_BACKWARD: top_mean_backward {
        wgsl: [REDUCE, wgsl!("top_mean_backward.wgsl")],
        params { penalty_at: usize }
        args {
            spans: In<u32>,
            latent: In<f32>,
            strength: In<f32>,
            masked: In<f32>,
            share: In<f32>,
            dtrace: In<f32>,
            theta: In<f32>,
            dlatent: Out<f32>,
        }
        twin: twin_top_mean_backward,
    }
}

kernel! {
    /// The gradient of `detect_rows` by the rows and by w.
    DETECT_BACKWARD: detect_backward {
        wgsl: [wgsl!("detect_backward.wgsl")],
        params {
            n_edits: usize,
            n_embd: usize,
            stride: usize,
            first: usize,
            w_at: usize,
            b_at: usize,
            penalty_at: usize,
            peak_at: usize,
        }
        args {
            edits: In<u32>,
            theta: In<f32>,
            before: In<f32>,
            latent: In<f32>,
            dlatent: In<f32>,
            dh: InOut<f32>,
            grad: InOut<f32>,
            peak: InOut<f32>,
        }
        twin: twin_detect_backward,
    }
}

kernel! {
    /// Makes w a unit vector, and its gradient one without what is along it.
    UNIT_ROW: unit_row {
        wgsl: [REDUCE, wgsl!("unit_row.wgsl")],
        params { n_embd: usize, w_at: usize, b_at: usize, peak_at: usize }
        args { theta: InOut<f32>, grad: InOut<f32>, peak: InOut<f32> }
        twin: twin_unit_row,
    }
}

/// Where the numbers of one detection lie, beside those of its edit, of which P is w and b the strength without a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The weight of the penalty in `theta`.
    pub penalty_at: usize,
    /// The highest latent of a step in the gradients of `rot`.
    pub peak_at: usize,
}

/// What a detection leaves for its gradient.
#[derive(Clone, Copy)]
pub struct Detected {
    spans: Buf,
    strength: Buf,
    latent: Buf,
    share: Buf,
    /// The strength of the edits [P, 1].
    pub masked: Buf,
}

/// The strengths of edits by what is detected in h [T, S]: `spans` [B, 2] says which of the edits [P, 2] are a sequence's.
pub fn detect(plan: &mut Plan, edit: &Edit, [rows, spans, strength, theta]: [Buf; 4], h: Buf) -> Detected {
    let [n_edits, _] = plan.shape(rows);
    let [n_sequences, _] = plan.shape(spans);
    let [_, stride] = plan.shape(h);
    let [latent, share] = ["latent", "share"].map(|label| plan.scratch(label, &[n_edits]));
    let masked = plan.scratch("masked", &[n_edits, 1]);
    let Edit { n_embd, first, p_at: w_at, .. } = *edit;
    let b_at = edit.b_at.expect("a detection has b");
    let params = detect_rows::Params { n_embd, stride, first, w_at };
    plan.dispatch(&DETECT, params, detect_rows::Bufs { edits: rows, theta, h, latent }, [1, n_edits, 1]);
    let bufs = top_mean::Bufs { spans, latent, strength, theta, masked, share };
    plan.dispatch(&TOP_MEAN, top_mean::Params { k: K, b_at }, bufs, [1, n_sequences, 1]);
    Detected { spans, strength, latent, share, masked }
}

/// Adds what comes back from the detection to dh [T, S] and to the gradient of w, which the edit's way back has written.
pub fn detect_backward(
    plan: &mut Plan,
    (edit, at): (&Edit, Detection),
    [rows, theta]: [Buf; 2],
    (trace, EditGradient(dtrace)): (&EditTrace, EditGradient),
    detected: &Detected,
    [dh, grad, peak]: [Buf; 3],
) {
    let Detected { spans, strength, latent, share, masked } = *detected;
    let [n_edits, _] = plan.shape(rows);
    let [n_sequences, _] = plan.shape(spans);
    let [_, stride] = plan.shape(dh);
    let dlatent = plan.scratch("dlatent", &[n_edits]);
    let bufs = top_mean_backward::Bufs { spans, latent, strength, masked, share, dtrace, theta, dlatent };
    let params = top_mean_backward::Params { penalty_at: at.penalty_at };
    plan.dispatch(&TOP_MEAN_BACKWARD, params, bufs, [1, n_sequences, 1]);
    let Edit { n_embd, first, p_at: w_at, .. } = *edit;
    let params = detect_backward::Params {
        n_edits,
        n_embd,
        stride,
        first,
        w_at,
        b_at: edit.b_at.expect("a detection has b"),
        penalty_at: at.penalty_at,
        peak_at: at.peak_at,
    };
    let before = trace.before;
    let bufs = detect_backward::Bufs { edits: rows, theta, before, latent, dlatent, dh, grad, peak };
    plan.dispatch(&DETECT_BACKWARD, params, bufs, [n_embd.div_ceil(64), 1, 1]);
}

/// Makes w of an edit with a detection a unit vector, takes what is along it out of its gradient, and sets b to the step's highest latent.
pub fn unit_row(plan: &mut Plan, edit: &Edit, at: Detection, [theta, grad, peak]: [Buf; 3]) {
    let b_at = edit.b_at.expect("a detection has b");
    let params = unit_row::Params { n_embd: edit.n_embd, w_at: edit.p_at, b_at, peak_at: at.peak_at };
    plan.dispatch(&UNIT_ROW, params, unit_row::Bufs { theta, grad, peak }, [1, 1, 1]);
}

fn twin_detect(p: &detect_rows::Params, a: detect_rows::Args<'_>) {
    let detect_rows::Params { n_embd, stride, first, w_at } = *p;
    let detect_rows::Args { edits, theta, h, latent } = a;
    for (edit, latent) in edits.chunks_exact(2).zip(latent) {
        let h = &h[edit[0] as usize * stride + first..][..n_embd];
        *latent = dot(&theta[w_at..][..n_embd], h).max(0.0);
    }
}

fn twin_top_mean(p: &top_mean::Params, a: top_mean::Args<'_>) {
    let top_mean::Params { k, b_at } = *p;
    let top_mean::Args { spans, latent, strength, theta, masked, share } = a;
    for span in spans.chunks_exact(2) {
        let edits = span[0] as usize..span[1] as usize;
        let mut order: Vec<usize> = edits.clone().collect();
        order.sort_by(|i, j| latent[*j].total_cmp(&latent[*i])); // stable: of equal ones the first counts
        order.truncate(k);
        let each = 1.0 / order.len().max(1) as f32;
        share[edits.clone()].fill(0.0);
        order.iter().filter(|i| latent[**i] > 0.0).for_each(|i| share[*i] = each);
        let mean = sum(edits.clone().map(|i| share[i] * latent[i]));
        edits.for_each(|i| masked[i] = strength[i] * mean / theta[b_at]);
    }
}

fn twin_top_mean_backward(p: &top_mean_backward::Params, a: top_mean_backward::Args<'_>) {
    let top_mean_backward::Args { spans, latent, strength, masked, share, dtrace, theta, dlatent } = a;
    for span in spans.chunks_exact(2) {
        let edits = span[0] as usize..span[1] as usize;
        let made = edits.clone().filter(|i| masked[*i] != 0.0);
        let dm = sum(made.map(|i| strength[i] * (dtrace[2 * i + 1] / masked[i])));
        let penalty = theta[p.penalty_at] / edits.len().max(1) as f32;
        for i in edits {
            let rest = if latent[i] > 0.0 { penalty } else { 0.0 };
            dlatent[i] = if share[i] > 0.0 { share[i] * dm } else { rest };
        }
    }
}

fn twin_detect_backward(p: &detect_backward::Params, a: detect_backward::Args<'_>) {
    let detect_backward::Params { n_edits, n_embd, stride, first, w_at, b_at, penalty_at, peak_at } = *p;
    let detect_backward::Args { edits, theta, before, latent, dlatent, dh, grad, peak } = a;
    let w = &theta[w_at..][..n_embd];
    let mut dw = Sums::of(&grad[w_at..][..n_embd]);
    for i in 0..n_edits {
        let row = edits[2 * i] as usize * stride + first;
        dh[row..][..n_embd].iter_mut().zip(w).for_each(|(dh, w)| *dh += dlatent[i] * w);
        dw.add_scaled(dlatent[i], &before[i * n_embd..][..n_embd]);
    }
    dw.store(&mut grad[w_at..][..n_embd]);
    (grad[b_at], grad[penalty_at]) = (0.0, 0.0);
    peak[peak_at] = latent[..n_edits].iter().copied().fold(peak[peak_at], f32::max);
}

fn twin_unit_row(p: &unit_row::Params, a: unit_row::Args<'_>) {
    let unit_row::Params { n_embd, w_at, b_at, peak_at } = *p;
    let unit_row::Args { theta, grad, peak } = a;
    let (w, g) = (&mut theta[w_at..][..n_embd], &mut grad[w_at..][..n_embd]);
    let length = dot(w, w).sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 1.0 };
    w.iter_mut().for_each(|w| *w *= scale);
    let along = dot(g, w);
    g.iter_mut().zip(w.iter()).for_each(|(g, w)| *g -= along * w);
    if peak[peak_at] > 0.0 {
        theta[b_at] = peak[peak_at];
    }
    peak[peak_at] = 0.0;
}
