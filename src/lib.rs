//! Representation finetuning (ReFT) of quantized language models, natively and in the browser, on WebGPU.

/// The text of a file in `shaders`, without comments.
macro_rules! wgsl {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/shaders/", $name))
    };
}

pub mod backend;
pub mod bench;
pub mod bytes;
pub mod clock;
pub mod data;
pub mod dims;
pub mod engine;
pub mod error;
pub mod files;
pub mod generate;
pub mod gguf;
pub mod inspect;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod quant;
pub mod reft;
pub mod repository;
pub mod tensor;
pub mod token;
pub mod train;

pub use error::{Error, ErrorKind, Result};

#[cfg(target_arch = "wasm32")]
pub mod web;
