//! Faults of the world outside: what fails ends in a typed error or is mended, nothing stays behind, and what comes next is right.

mod machines;
mod points;
#[path = "../support/mod.rs"]
mod support;
