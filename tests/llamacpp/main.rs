//! Against what really running llama.cpp, ggml and Jinja2 gave.
//!
//! `WEBREFT_LLAMACPP` names a directory as its README describes it (default `tests/llamacpp/data`, a copy without the three largest models). Cases
//! are those of each part's `manifest.json`; a file that a manifest names and the directory lacks is told aloud.

#![allow(missing_docs, reason = "a test")]

mod archs;
mod hub;
mod quants;
mod templates;
mod vocab;

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use serde_json::Value;

/// Where a part of the references is.
fn folder(part: &str) -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/llamacpp/data");
    std::env::var_os("WEBREFT_LLAMACPP").map_or_else(|| own.into(), PathBuf::from).join(part)
}

fn json(path: &std::path::Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The keys of an object of JSON.
fn keys(object: &Value) -> impl Iterator<Item = &str> {
    object.as_object().expect("an object").keys().map(String::as_str)
}
