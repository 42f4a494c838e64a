//! The angles of rotary embedding, as a table: cos and sin on GPUs are only as good as their drivers.

use crate::backend::{Backend, Tensor};
use crate::dims::Dims;
use crate::error::Result;

/// cos and sin of position · base^(−2i/n_rot), [n_ctx, n_rot/2, 2].
pub(super) fn table(backend: &Backend, dims: &Dims, n_ctx: usize) -> Result<Tensor> {
    let pairs = dims.n_rot / 2;
    let mut values = Vec::with_capacity(2 * n_ctx * pairs);
    for position in 0..n_ctx {
        for pair in 0..pairs {
            let frequency = f64::from(dims.rope_base).powf(-2.0 * pair as f64 / dims.n_rot as f64);
            let angle = position as f64 * frequency;
            values.extend([angle.cos() as f32, angle.sin() as f32]);
        }
    }
    backend.tensor_of("rope_table", &[n_ctx, pairs, 2], bytemuck::cast_slice(&values))
}
