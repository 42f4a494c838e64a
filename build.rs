//! Writes the shaders without comments and indentation, which the wasm file would carry to every visitor. Lines keep their numbers.

#![allow(missing_docs, reason = "a build script")]

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=shaders");
    let to = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where")).join("shaders");
    copy(Path::new("shaders"), &to);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is cargo's");
    for entry in fs::read_dir(from).expect("the shaders are there") {
        let path = entry.expect("the shaders are there").path();
        let copied = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            let text = fs::read_to_string(&path).expect("a shader is text");
            fs::write(copied, without_comments(&text)).expect("the folder is cargo's");
        }
    }
}

/// WGSL has no strings: `//` begins a comment wherever it stands.
fn without_comments(text: &str) -> String {
    assert!(!text.contains("/*"), "expected only line comments");
    let code = |line: &str| line.split("//").next().unwrap_or_default().trim().to_owned() + "\n";
    text.lines().map(code).collect()
}
