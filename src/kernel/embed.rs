//! Rows of the embedding matrix by token id.

use crate::backend::Call;
use crate::plan::Field::{F32, U32};
use crate::plan::Role::{In, Out};
use crate::plan::{Buf, Kernel, Matrix, Plan};

pub(super) static EMBED: Kernel = Kernel {
    name: "embed",
    wgsl: &[include_str!("../../shaders/embed.wgsl")],
    params: &[("n_embd", U32), ("first_row", U32), ("n_rows", U32), ("scale", F32)],
    args: &[("tokens", In), ("h", Out)],
    weight: true,
    twin,
};

/// The rows of `matrix` [V, D] that `tokens [T]` name, times `scale`, as [T, D].
pub fn embed(plan: &mut Plan, tokens: Buf, matrix: &Matrix, scale: f32) -> Buf {
    let [n_tokens] = plan.shape(tokens);
    let h = plan.scratch("h", &[n_tokens, matrix.cols]);
    for slab in &matrix.slabs {
        let params = [matrix.cols.into(), slab.first_row.into(), slab.rows.into(), scale.into()];
        plan.dispatch_weight(&EMBED, &params, &[tokens, h], slab, [n_tokens, 1, 1]);
    }
    h
}

fn twin(call: &Call<'_>) {
    let [n_embd, first_row, n_rows] = [0, 1, 2].map(|i| call.usize(i));
    let scale = call.real(3);
    let (tokens, mut h) = (call.u32(0), call.f32_mut(1));
    for (&token, h) in tokens.iter().zip(h.chunks_exact_mut(n_embd)) {
        let row = (token as usize).wrapping_sub(first_row);
        if row < n_rows {
            call.weight_row(row, h);
            h.iter_mut().for_each(|x| *x *= scale);
        }
    }
}
