//! Against what really running llama.cpp, ggml and Jinja2 gave.
//!
//! `WEBREFT_LLAMACPP` names a directory as its README describes it (default `tests/llamacpp/data`, a copy without the three largest models). Cases
//! are those of each part's `manifest.json`. A file that a manifest names and the directory lacks is skipped by name; each test
//! says how many cases ran and fails if there were none, or not as many as the repository's own directory has.

#![allow(missing_docs, reason = "a test")]

mod archs;
mod hub;
mod quants;
mod templates;
mod vocab;

#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where a part of the references is.
fn folder(part: &str) -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/llamacpp/data");
    std::env::var_os("WEBREFT_LLAMACPP").map_or_else(|| own.into(), PathBuf::from).join(part)
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Prints a line past the tests' capture, so that it is seen when the test passes, too.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output takes a line");
}

/// Whether a file that a manifest names, or its gzip, is here. Says its name if not.
fn is_here(path: &Path) -> bool {
    let packed = path.with_added_extension("gz");
    let is_here = path.exists() || packed.exists();
    if !is_here {
        say(&format!("skipped: {} is not here", path.display()));
    }
    is_here
}

/// Fails unless cases ran, of the repository's own directory as many as `own`.
#[track_caller]
fn assert_ran(what: &str, n_ran: usize, own: usize) {
    say(&format!("llama.cpp  {what}: ran {n_ran}"));
    match std::env::var_os("WEBREFT_LLAMACPP") {
        None => assert_eq!(n_ran, own, "{what}: cases that ran"),
        Some(dir) => assert!(n_ran > 0, "{what}: no case in {}", dir.display()),
    }
}

/// The keys of an object of JSON.
fn keys(object: &Value) -> impl Iterator<Item = &str> {
    object.as_object().expect("an object").keys().map(String::as_str)
}
