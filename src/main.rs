//! The native command line over [`webreft::engine::Engine`].
//!
//! Results go to standard output, as text or with `--json` as JSON lines; progress, warnings and errors go to standard error.

#[cfg(not(target_arch = "wasm32"))]
mod cli;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    cli::main()
}

/// In the browser `web` is the way in; a binary has nothing to do there.
#[cfg(target_arch = "wasm32")]
fn main() {}
