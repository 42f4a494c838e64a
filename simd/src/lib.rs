//! The arithmetic of webreft's CPU backend: products with quantized matrices, attention, norms and the like, over plain slices.
//!
//! It is a crate of its own because cargo sets the level of optimization by crate: webreft's wasm file is built for size and its tests at
//! level 1, while this code is built at level 3 everywhere. It knows nothing of plans, models or kernels' parameters.
//!
//! Every function takes a [`Pool`]: the instruction set that was found on this machine, and its threads. Activations and sums are f32;
//! weights stay quantized and are decoded by tiles that fit into a core's cache.

pub mod attention;
pub mod linear;
pub mod math;
pub mod matmul;
pub mod pool;
pub mod rows;
pub mod sample;
pub mod weights;

mod decode;
mod tile;

pub use pool::Pool;
pub use weights::{Layout, Weights};
