//! The programs webreft is built and tested with: found, installed where that is allowed, or asked for.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::shell::{command, output, root, run, which};

const WASM: &str = "wasm32-unknown-unknown";

/// The oldest Node that Vite runs on.
const NODE: (u32, u32) = (20, 19);

/// Makes sure that Rust can build for wasm. `rust-toolchain.toml` normally brings the target by itself.
pub(crate) fn wasm_target() -> Result<()> {
    let has_target = || {
        let asked = output(&mut command(&root(), &format!("rustc --print target-libdir --target {WASM}")));
        asked.is_some_and(|dir| Path::new(&dir).is_dir())
    };
    if has_target() {
        return Ok(());
    }
    if which("rustup").is_some() {
        run(&mut command(&root(), &format!("rustup target add {WASM}")))?;
    }
    if !has_target() {
        bail!(
            "Rust cannot build for wasm here: install rustup (https://rustup.rs), then `rustup target add {WASM}`"
        );
    }
    Ok(())
}

/// Makes sure that Node and npm are there, and not too old.
pub(crate) fn node() -> Result<()> {
    let wanted = format!("Node {}.{} or newer with npm (https://nodejs.org)", NODE.0, NODE.1);
    let Some(version) = output(&mut command(&root(), "node --version")) else { bail!("install {wanted}") };
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < NODE {
        bail!("Node {version} is too old: install {wanted}");
    }
    if which(npm()).is_none() {
        bail!("npm is missing: install {wanted}");
    }
    Ok(())
}

/// What npm is called here.
pub(crate) fn npm() -> &'static str {
    if cfg!(windows) { "npm.cmd" } else { "npm" }
}

/// A browser with WebGPU that can be driven: `WEBREFT_CHROMIUM`, or the first one found.
pub(crate) fn chromium() -> Result<PathBuf> {
    if let Some(browser) = find_chromium() {
        return Ok(browser);
    }
    apt_install("chromium")?;
    match find_chromium() {
        Some(browser) => Ok(browser),
        None => bail!("no Chromium found: install Chromium or Chrome, or name it in WEBREFT_CHROMIUM"),
    }
}

fn find_chromium() -> Option<PathBuf> {
    let named = env::var_os("WEBREFT_CHROMIUM").map(PathBuf::from);
    let on_path = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let elsewhere = [
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    ];
    named
        .or_else(|| on_path.iter().find_map(|name| which(name)))
        .or_else(|| elsewhere.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// A Vulkan driver for the native GPU tests, a software one if need be. Only Linux can lack one.
pub(crate) fn vulkan() -> Result<()> {
    if !cfg!(target_os = "linux") || has_vulkan() {
        return Ok(());
    }
    apt_install("mesa-vulkan-drivers")?;
    if !has_vulkan() {
        bail!("no Vulkan driver found: install mesa-vulkan-drivers (a software one) or your GPU's own");
    }
    Ok(())
}

/// A C++ compiler, for libFuzzer.
pub(crate) fn cpp() -> Result<()> {
    let has_one = || env::var_os("CXX").is_some() || which("c++").is_some();
    if !cfg!(windows) && !has_one() {
        apt_install("g++")?;
        if !has_one() {
            bail!("no C++ compiler found: install g++ or clang, or name one in CXX");
        }
    }
    Ok(())
}

fn has_vulkan() -> bool {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let not_empty = |dir: &&str| fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some());
    env::var_os("VK_ICD_FILENAMES").is_some()
        || env::var_os("VK_DRIVER_FILES").is_some()
        || folders.iter().any(not_empty)
}

/// Installs a Debian package where we may: as root, with apt. Elsewhere the caller tells what is missing.
fn apt_install(package: &str) -> Result<()> {
    let is_root = output(&mut command(&root(), "id -u")).is_some_and(|id| id == "0");
    if !is_root || which("apt-get").is_none() {
        return Ok(());
    }
    eprintln!("installing {package} with apt-get");
    let install = format!("apt-get install -y -q --no-install-recommends {package}");
    run(&mut command(&root(), "apt-get update -q"))?;
    run(command(&root(), &install).env("DEBIAN_FRONTEND", "noninteractive"))
}
