//! Representation finetuning (ReFT) of quantized language models, natively and in the browser, on WebGPU.

pub mod bytes;
pub mod error;
pub mod gguf;
pub mod quant;
pub mod token;

pub use error::{Error, ErrorKind, Result};
