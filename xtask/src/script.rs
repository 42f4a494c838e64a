//! The script that `webreft export --to pyreft-script` writes, really run: in one process, in several, and taken back.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{command, output, root, run};
use crate::wasm;

/// pyreft asks for a hundred packages for notebooks; the script's README installs it without them, too.
const PYREFT: &str = "pyreft==0.1.0";

/// Reads the GGUF file's vocabulary in the test.
const GGUF: &str = "gguf==0.19.0";

/// Runs `tests/pyreft_script/check.py`. The first time it fetches torch and pyreft from PyPI.
pub(crate) fn script() -> Result<()> {
    let root = root();
    let target = wasm::target_dir(&root);
    let python = environment(&target.join("pyreft"))?;
    run(&mut command(&root, "cargo build --package webreft --bin webreft"))?;
    let webreft = target.join(format!("debug/webreft{}", env::consts::EXE_SUFFIX));
    let mut check = Command::new(python);
    check.current_dir(&root).arg("tests/pyreft_script/check.py");
    run(check.arg("--webreft").arg(webreft).arg("--work").arg(target.join("pyreft-script")))
}

/// The Python of a virtual environment with what the script's users install. It is made anew where that is not what it was made from.
fn environment(folder: &Path) -> Result<PathBuf> {
    let requirements = root().join("src/reft/foreign/pyreft_script/requirements.txt");
    let wanted = format!("{}{PYREFT}\n{GGUF}\n", fs::read_to_string(&requirements)?);
    let (made_from, python) = (folder.join("made-from.txt"), python_in(folder));
    if fs::read_to_string(&made_from).is_ok_and(|made_from| made_from == wanted) {
        return Ok(python);
    }
    eprintln!("installing torch and pyreft from PyPI into {}: 3 GB are fetched, 6 GB kept", folder.display());
    run(command(&root(), &format!("{} -m venv --clear", system_python()?)).arg(folder))?;
    let pip = |line: &str| {
        let mut pip = Command::new(&python);
        pip.current_dir(root()).args(["-m", "pip", "install", "--quiet"]).args(line.split_whitespace());
        pip
    };
    run(pip(GGUF).arg("--requirement").arg(&requirements))?;
    run(&mut pip(&format!("--no-deps {PYREFT}")))?;
    fs::write(&made_from, wanted)?;
    Ok(python)
}

fn python_in(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// A Python that the script's versions of torch and Transformers have wheels for.
fn system_python() -> Result<&'static str> {
    let fits = |python: &&str| {
        let version = output(&mut command(&root(), &format!("{python} --version")));
        version.is_some_and(|it| {
            ["3.10.", "3.11.", "3.12."].iter().any(|known| it.starts_with(&format!("Python {known}")))
        })
    };
    match ["python3", "python", "python3.12", "python3.11", "python3.10"].into_iter().find(fits) {
        Some(python) => Ok(python),
        None => bail!("no Python 3.10 to 3.12 found: install one with venv, for pyreft"),
    }
}
