//! Builds, tests, serves and measures webreft.
fn main() {}
