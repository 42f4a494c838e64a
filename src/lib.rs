//! Representation finetuning (ReFT) of quantized language models, natively and in the browser, on WebGPU.

pub mod backend;
pub mod bytes;
pub mod dims;
pub mod error;
pub mod gguf;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod quant;
pub mod reft;
pub mod train;

pub use error::{Error, ErrorKind, Result};
