//! The floors of ARCHITECTURE.md: a module imports from its own floor and those below, and no two modules import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules at the top of `src/`, from the lowest floor up.
const FLOORS: [&[&str]; 9] = [
    &["error", "dims", "bytes", "clock"],
    &["plan", "quant", "token", "gguf", "tensor"],
    &["kernel"],
    &["backend"],
    &["model"],
    &["reft", "repository"],
    &["generate", "train", "files", "data"],
    &["engine", "inspect", "bench"],
    &["web", "cli"],
];

/// Files that join modules and belong to none.
const ROOTS: [&str; 2] = ["lib", "main"];

/// What `lib.rs` exports by name, and where it comes from.
const EXPORTS: [(&str, &str); 3] = [("Error", "error"), ("ErrorKind", "error"), ("Result", "error")];

fn floor(module: &str) -> usize {
    let floor = FLOORS.iter().position(|floor| floor.contains(&module));
    floor.unwrap_or_else(|| panic!("{module} stands on no floor: add it to FLOORS and to ARCHITECTURE.md"))
}

/// All files of a folder and the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The first name of `text`, which begins with a path.
fn first_name(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// The first names of a list `a::{b, c}, d}`, up to the brace that ends it.
fn names_in_braces(text: &str) -> Vec<&str> {
    let (mut depth, mut names) = (0, vec![first_name(text)]);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_name(&text[at + 1..])),
            _ => (),
        }
    }
    names
}

/// The modules that a file names, as `crate::x`, `webreft::x` or in braces; those that `lib.rs` exports count for their own.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for root in ["crate::", "webreft::"] {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let after = &text[at + root.len()..];
            match after.strip_prefix('{') {
                Some(list) => names.extend(names_in_braces(list).into_iter().map(str::to_owned)),
                None => drop(names.insert(first_name(after).to_owned())),
            }
        }
    }
    names.remove("");
    let exported = |name: String| {
        let export = EXPORTS.iter().find(|(exported, _)| *exported == name);
        export.map_or(name, |(_, module)| (*module).to_owned())
    };
    names.into_iter().map(exported).collect()
}

/// For each module the others that it imports, and a file that does.
fn imports() -> BTreeMap<String, BTreeMap<String, String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for path in files(&root) {
        let file = path.strip_prefix(&root).expect("it lies in src").to_path_buf();
        let top = Path::new(file.iter().next().expect("it has a name")).with_extension("");
        let module = top.to_string_lossy().into_owned();
        if ROOTS.contains(&module.as_str()) {
            continue;
        }
        let of_module = imports.entry(module.clone()).or_default();
        for name in named(&fs::read_to_string(&path).expect("it is text")) {
            if name != module {
                of_module.entry(name).or_insert_with(|| file.display().to_string());
            }
        }
    }
    imports
}

#[test]
fn no_import_goes_up() {
    let mut found = Vec::new();
    for (module, imported) in imports() {
        for (other, file) in imported {
            if floor(&other) > floor(&module) {
                found.push(format!("src/{file}: {module} imports {other}, which stands above it"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Takes away modules that import none of the rest, until there are none such: what stays is in circles or leads to one.
#[test]
fn no_imports_form_a_circle() {
    let mut rest = imports();
    while let Some(leaf) = rest
        .iter()
        .find(|(_, imported)| !imported.keys().any(|other| rest.contains_key(other)))
        .map(|(m, _)| m.clone())
    {
        rest.remove(&leaf);
    }
    assert!(rest.is_empty(), "circles among {rest:#?}");
}

#[test]
fn every_module_stands_on_a_floor_and_every_floor_has_its_modules() {
    let modules: BTreeSet<String> = imports().into_keys().collect();
    let floors = FLOORS.iter().copied().flatten().map(|module| (*module).to_owned()).collect();
    assert_eq!(modules, floors);
}

#[test]
fn imports_are_read_in_every_form() {
    let text = "use crate::plan::{self, Buf}; use crate::{error::Result, quant::{A, B}, Error};
        /// [`Engine`](crate::engine::Engine)
        fn f() -> crate::gguf::Gguf { $crate::kernel::x; webreft::cli::run(); my_crate::no() }";
    let want = ["cli", "engine", "error", "gguf", "kernel", "plan", "quant"];
    assert_eq!(named(text).into_iter().collect::<Vec<_>>(), want);
}
