//! Products and sums of single rows, for kernels that need no more.

use crate::Pool;
use crate::math::{dot as dot_of, zip_map};
use fearless_simd::{Simd, dispatch, prelude::*};

/// Σ a·b
pub fn dot(pool: &Pool, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || dot_of(simd, a, b)))
}

/// y += s · x
pub fn add_scaled(pool: &Pool, y: &mut [f32], s: f32, x: &[f32]) {
    dispatch!(pool.level(), simd => simd.vectorize(#[inline(always)] || {
        zip_map(simd, y, x, #[inline(always)] |y, x| x.mul_add(s, y));
    }));
}
