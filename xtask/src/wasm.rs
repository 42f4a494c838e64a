//! From Rust to the files a browser loads: cargo, then wasm-bindgen's library, then wasm-opt.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use wasm_bindgen_cli_support::Bindgen;

use crate::shell::{command, root, run};
use crate::{tools, www};

/// Gzipped bytes that the wasm file may take.
const SIZE_LIMIT: usize = 1_500_000;

/// What every browser with WebGPU has. Named one by one: `--all-features` makes files Chromium refuses.
const FEATURES: &str = "--enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext \
    --enable-mutable-globals --enable-reference-types --enable-multivalue --enable-simd";

/// Builds `www/webreft/wasm`, unless it was made from the very same cargo output before.
pub(crate) fn build() -> Result<()> {
    tools::wasm_target()?;
    www::install()?;
    let root = root();
    let cargo = "cargo build --package webreft --lib --profile wasm --target wasm32-unknown-unknown";
    run(command(&root, cargo).arg("--config").arg(without_home()?))?;

    let input = target_dir(&root).join("wasm32-unknown-unknown/wasm/webreft.wasm");
    let input = fs::read(&input).with_context(|| format!("reading {}", input.display()))?;
    let out = root.join("www/webreft/wasm");
    let stamp = out.join(".made-from");
    let hash = format!("{:016x}", hash(&input));
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == hash) {
        return check_size(&out.join("webreft_bg.wasm"));
    }
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    glue(input, &out)?;
    optimize(&root.join("www"), &out.join("webreft_bg.wasm"))?;
    check_size(&out.join("webreft_bg.wasm"))?;
    fs::write(stamp, hash)?;
    Ok(())
}

/// Takes the path of cargo's home out of the places that panics tell: it is long, and other people's business.
fn without_home() -> Result<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("finding cargo's home")?;
    let flag = format!("--remap-path-prefix={}=", home.join("registry/src").display());
    Ok(format!("target.wasm32-unknown-unknown.rustflags=[{}]", serde_json::to_string(&flag)?))
}

fn glue(input: Vec<u8>, out: &Path) -> Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen.input_bytes("webreft", input).typescript(true).web(true)?.omit_default_module_path(false);
    bindgen.reset_state_function(true); // for an instance that trapped
    bindgen.generate(out).context("wasm-bindgen")
}

fn optimize(www: &Path, file: &Path) -> Result<()> {
    let wasm_opt = format!("node node_modules/binaryen/bin/wasm-opt -Os {FEATURES}");
    run(command(www, &wasm_opt).arg(file).arg("-o").arg(file))
}

fn check_size(file: &Path) -> Result<()> {
    let bytes = fs::read(file)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&bytes)?;
    let gzipped = gzip.finish()?.len();
    eprintln!("webreft_bg.wasm: {} kB, {} kB gzipped", bytes.len() / 1000, gzipped / 1000);
    if gzipped > SIZE_LIMIT {
        bail!("the wasm file is {gzipped} bytes gzipped, the limit is {SIZE_LIMIT}");
    }
    Ok(())
}

pub(crate) fn target_dir(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
