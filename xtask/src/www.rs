//! The npm workspace in `www`: the package and the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;

use crate::shell::{command, root, run};
use crate::tools;

/// Installs what `package-lock.json` says, unless that was done since it last changed.
pub(crate) fn install() -> Result<()> {
    tools::node()?;
    let www = dir();
    let done = modified(&www.join("node_modules/.package-lock.json"));
    if done.is_some() && done >= modified(&www.join("package-lock.json")) {
        return Ok(());
    }
    run(&mut command(&www, &format!("{} ci --no-audit --no-fund", tools::npm())))
}

/// Builds the package, then the page that imports it, into `www/demo/dist`.
pub(crate) fn build() -> Result<PathBuf> {
    run(&mut script("build"))?;
    Ok(dir().join("demo/dist"))
}

/// One of the scripts in `www/package.json`.
pub(crate) fn script(name: &str) -> Command {
    command(&dir(), &format!("{} run --silent {name}", tools::npm()))
}

pub(crate) fn dir() -> PathBuf {
    root().join("www")
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}
