//! Representation finetuning (ReFT) of quantized language models, natively and in the browser, on WebGPU.

pub mod error;

pub use error::{Error, ErrorKind, Result};

#[cfg(target_arch = "wasm32")]
pub mod web;
