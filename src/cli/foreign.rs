//! `webreft import` and `webreft export`: interventions out of a Python library's files, and into them or into its script.

use super::output::{print, print_json, warn};
use super::{ModelOptions, load_reft, read, read_examples, write};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use webreft::engine::{Engine, Example, Imported};
use webreft::reft::Reft;
use webreft::reft::foreign::{File, Unsaved, pack_directory, unpack_directory};
use webreft::train::TrainOptions;
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct ImportOptions {
    #[command(flatten)]
    model: ModelOptions,
    /// A directory that pyreft's `save` or its trainer wrote, or peft's `save_pretrained`; or a .zip of one; or a control vector of
    /// llama.cpp or repeng, a .gguf file.
    #[arg(long)]
    from: PathBuf,
    /// Where the interventions go.
    #[arg(long)]
    save: PathBuf,
    /// Edited tokens, which the library's files do not tell; f1+l1 where there are two interventions at a place, else l1.
    #[arg(long)]
    positions: Option<String>,
    /// The function around what is learned, where it was not linear.
    #[arg(long)]
    act: Option<String>,
    /// The kind, where the files do not tell it.
    #[arg(long)]
    kind: Option<String>,
}

#[derive(Args)]
pub(super) struct ExportOptions {
    #[command(flatten)]
    model: ModelOptions,
    /// Interventions: a file that `train` saved.
    #[arg(long)]
    reft: PathBuf,
    /// What the files are for.
    #[arg(long, value_enum)]
    to: Target,
    /// A file of examples as `train` reads it, for pyreft-script.
    #[arg(long)]
    examples: Option<PathBuf>,
    /// The directory to make, or a .zip of it; for llama-cpp the .gguf file.
    #[arg(long)]
    save: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// pyreft: what its `save` writes.
    Pyreft,
    /// peft: what its `save_pretrained` writes.
    Peft,
    /// llama.cpp: a control vector, for steering vectors.
    LlamaCpp,
    /// pyreft: a script that trains on --examples as the interventions were trained, from the same start.
    PyreftScript,
}

pub(super) fn import(options: &ImportOptions, json: bool) -> Result<()> {
    let files = read_directory(&options.from)?;
    let engine = options.model.load()?;
    let (positions, act, kind) = (options.positions.clone(), options.act.clone(), options.kind.clone());
    let imported = engine.import_reft(&files, &Unsaved { positions, act, kind })?;
    write(&options.save, &pollster::block_on(imported.reft.save(engine.model()))?)?;
    let Imported { reft, left_out } = imported;
    match json {
        true => print_json(&json!({ "configs": reft.configs, "leftOut": left_out })),
        false => {
            left_out.iter().for_each(|name| warn(format!("left out: {name}")));
            let (saved, count) = (options.save.display(), reft.interventions.len());
            print(&format!("saved {saved}: {count} interventions\n"));
        }
    }
    Ok(())
}

pub(super) fn export(options: &ExportOptions, json: bool) -> Result<()> {
    let engine = options.model.load()?;
    let reft = load_reft(&engine, &options.reft)?;
    let files = match (options.to, &options.examples) {
        (Target::Pyreft, None) => pollster::block_on(engine.export_reft(&reft, "pyreft"))?,
        (Target::Peft, None) => pollster::block_on(engine.export_reft(&reft, "peft"))?,
        (Target::LlamaCpp, None) => pollster::block_on(engine.export_reft(&reft, "llama.cpp"))?,
        (Target::PyreftScript, Some(path)) => script(&engine, &reft, &read_examples(path)?.examples)?,
        (Target::PyreftScript, None) => return Err(Error::input("give --examples for pyreft-script")),
        (_, Some(_)) => return Err(Error::input("--examples: for pyreft-script only")),
    };
    if is_zip(&options.save) || matches!(options.to, Target::LlamaCpp) {
        write(&options.save, &pack_directory(&files))?;
    } else {
        fs::create_dir_all(&options.save).map_err(|error| at(&options.save, &error))?;
        files.iter().try_for_each(|(name, bytes)| write(&options.save.join(name), bytes))?;
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    match json {
        true => print_json(&json!({ "saved": options.save, "files": names })),
        false if matches!(options.to, Target::LlamaCpp) => {
            print(&format!("saved {}\n", options.save.display()))
        }
        false => print(&format!("saved {}: {}\n", options.save.display(), names.join(", "))),
    }
    Ok(())
}

/// The training that the interventions had, as a script.
fn script(engine: &Engine, reft: &Reft, examples: &[Example]) -> Result<Vec<File>> {
    let Some(trained) = reft.trained() else {
        return Err(Error::input(
            "the interventions do not tell how they were trained: train and save them first",
        ));
    };
    let options: TrainOptions = serde_json::from_value(trained.options)
        .map_err(|error| Error::file(format!("the interventions' training options: {error}")))?;
    pollster::block_on(engine.export_script(reft, examples, &options))
}

fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zip")
}

/// The files in a directory, without those in its folders, or all of a `.zip`.
fn read_directory(path: &Path) -> Result<Vec<File>> {
    if path.is_file() {
        return unpack_directory(&read(path)?).map_err(|error| error.at(path.display()));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| at(path, &error))? {
        let file = entry.map_err(|error| at(path, &error))?.path();
        if file.is_file() {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, read(&file)?));
        }
    }
    files.sort();
    Ok(files)
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    Error::file(format!("{}: {error}", path.display()))
}
