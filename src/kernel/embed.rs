//! Rows of the embedding matrix by token id.

use super::Pool;
use super::declare::kernel;
use crate::plan::{Buf, Matrix, Plan};
use crate::quant::Weight;
use webreft_simd::rows;

kernel! {
    /// Rows of the embedding matrix, by token, times a scale.
    EMBED: embed(weight) {
        wgsl: [wgsl!("embed.wgsl")],
        params { n_embd: usize, first_row: usize, n_rows: usize, scale: f32 }
        args { tokens: In<u32>, h: Out<f32> }
        twin: twin,
        fast: fast,
    }
}

/// The rows of `matrix` [V, D] that `tokens [T]` name, times `scale`, as [T, D].
pub fn embed(plan: &mut Plan, tokens: Buf, matrix: &Matrix, scale: f32) -> Buf {
    let [n_tokens] = plan.shape(tokens);
    let h = plan.scratch("h", &[n_tokens, matrix.cols]);
    for slab in &matrix.slabs {
        plan.dispatch_weight(
            &EMBED,
            embed::Params { n_embd: matrix.cols, first_row: slab.first_row, n_rows: slab.rows, scale },
            embed::Bufs { tokens, h },
            slab,
            [1, n_tokens, 1],
        );
    }
    h
}

fn twin(p: &embed::Params, a: embed::Args<'_>, w: Weight<'_>) {
    let embed::Params { n_embd, first_row, n_rows, scale } = *p;
    let embed::Args { tokens, h } = a;
    for (&token, h) in tokens.iter().zip(h.chunks_exact_mut(n_embd)) {
        let row = (token as usize).wrapping_sub(first_row);
        if row < n_rows {
            w.row(row, h);
            h.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

fn fast(p: &embed::Params, a: embed::Args<'_>, w: Weight<'_>, pool: &Pool) {
    rows::embed(pool, a.tokens, &w.fast(), p.first_row, p.scale, a.h);
}
