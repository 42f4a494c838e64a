//! Representation finetuning (ReFT) of quantized language models, natively and in the browser, on WebGPU.

pub mod backend;
pub mod bytes;
pub mod error;
pub mod gguf;
pub mod kernel;
pub mod plan;
pub mod quant;

pub use error::{Error, ErrorKind, Result};
