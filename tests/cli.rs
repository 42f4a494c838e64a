//! The command line as people use it: what it prints where, and with which exit code.

#![allow(missing_docs, reason = "a test")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use webreft::reft::kinds::KINDS;

const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/nano/webreft-nano-q4_0.gguf");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf");
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/data");

/// A folder of a test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn webreft(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webreft"));
    command.args(words.split_whitespace()).env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
    command
}

/// What a command writes to a stream.
fn text(stream: &[u8]) -> String {
    String::from_utf8(stream.to_vec()).expect("text")
}

/// The standard output of a command that succeeds, and writes nothing else but the steps of a training that takes long.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("webreft runs");
    assert!(status.success(), "{}", text(&stderr));
    let stderr = text(&stderr);
    let others: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("step ")).collect();
    assert!(others.is_empty(), "{others:?}");
    text(&stdout)
}

/// The error of a command that fails, and prints nothing.
fn refused(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("webreft runs");
    assert!(!status.success() && stdout.is_empty(), "{}", text(&stdout));
    text(&stderr)
}

fn lines(printed: &str) -> Vec<Value> {
    printed.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn write(path: &Path, content: &str) -> String {
    fs::write(path, content).expect("a file");
    path.display().to_string()
}

#[test]
fn help_lists_all_commands_and_kinds() {
    let help = printed(&mut webreft("help"));
    for command in ["generate", "chat", "train", "scores", "steer", "inspect", "import", "export", "lab"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
    }
    for command in ["bench", "compare", "random"] {
        assert!(!help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
        assert!(printed(&mut webreft("lab --help")).contains(command));
    }
    let help = printed(&mut webreft("train --help"));
    for kind in KINDS {
        assert!(help.contains(&format!("- {}:", kind.name)), "{}: {help}", kind.name);
    }
    let error = refused(&mut webreft("train --model a --examples b --save c --kind loref"));
    assert!(error.contains("loref") && error.contains("loreft"), "{error}");
}

#[test]
fn answers_are_texts_labelled_where_there_are_several() {
    let generate = format!("generate --backend cpu --max-tokens 4 --model {NANO}");
    let one = printed(webreft(&generate).args(["--prompt", "What colour is Pip?"]));
    assert!(one.ends_with('\n') && one.trim().len() > 1, "{one:?}");
    let two =
        printed(webreft(&generate).args(["--prompt", "What colour is Pip?", "--prompt", "Who are you?"]));
    assert!(two.starts_with(&format!("[What colour is Pip?]\n{one}\n[Who are you?]\n")), "{two:?}");
    let folder = folder("generate");
    let prompts = write(&folder.join("prompts.csv"), "prompt,id\nWhat colour is Pip?,1\n");
    let json = lines(&printed(webreft(&generate).args(["--json", "--prompts", &prompts])));
    assert_eq!(json.len(), 1);
    assert_eq!(
        (&json[0]["prompt"], &json[0]["text"]),
        (&"What colour is Pip?".into(), &one.trim_end_matches('\n').into())
    );
    let wrong = write(&folder.join("wrong.jsonl"), "{\"promt\": \"a\"}\n");
    let error = refused(webreft(&generate).args(["--prompts", &wrong]));
    assert_eq!(error, format!("webreft: {wrong}: line 1: `prompt` is missing (found: `promt`)\n"));
}

#[test]
fn a_training_ends_with_a_summary_and_its_file_is_used() {
    let folder = folder("train");
    let save = folder.join("pirate.safetensors").display().to_string();
    let train =
        format!("train --backend cpu --model {GOLDEN} --examples {CASES}/qa2.jsonl --save {save} --epochs 4");
    let summary = printed(webreft(&train).args(["--layers", "1-2", "--rank", "2"]));
    for part in ["4 steps in", "loss ", "accuracy ", &format!("saved {save}: ")] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let steps = lines(&printed(webreft(&train).args(["--layers", "middle", "--json"])));
    assert_eq!(steps.len(), 5);
    assert!(steps[3]["loss"].as_f64() < steps[0]["loss"].as_f64(), "{steps:?}");
    assert_eq!(steps[4]["saved"], save.as_str());

    let table = printed(&mut webreft(&format!("inspect {save}")));
    assert!(table.contains("interventions  loreft, rank 4, layers middle\n"), "{table}");
    assert!(
        table.contains("trained") && table.contains("4 steps on 2 examples") && !table.contains("rotation"),
        "{table}"
    );
    let table = printed(&mut webreft(&format!("inspect {save} --tensors")));
    assert!(table.contains("interventions.0.rotation") && table.contains("F32"), "{table}");
    let answer = format!("generate --backend cpu --max-tokens 2 --model {GOLDEN} --prompt cat --reft {save}");
    assert!(!printed(&mut webreft(&answer)).is_empty());
}

#[test]
fn a_training_that_cannot_end_well_does_not_begin() {
    let folder = folder("refused");
    let train = |rest: &str| webreft(&format!("train --backend cpu --model {GOLDEN} {rest}"));
    let nowhere = folder.join("no/such/folder/a.safetensors").display().to_string();
    let error = refused(&mut train(&format!("--examples {CASES}/qa2.jsonl --save {nowhere}")));
    assert!(error.starts_with(&format!("webreft: --save {nowhere}: cannot be written: ")), "{error}");
    let error = refused(&mut train(&format!("--examples {CASES}/qa2.jsonl --save {}", folder.display())));
    assert!(error.contains("is a directory: expected the name of a file"), "{error}");
    let save = folder.join("a.safetensors").display().to_string();
    let error = refused(&mut train(&format!("--examples {CASES}/typo.jsonl --save {save}")));
    assert!(error.contains("typo.jsonl: line 2: `completions`: did you mean `completion`?"), "{error}");
    let error = refused(&mut train(&format!("--examples {CASES}/qa2.jsonl --save {save} --layers 99")));
    assert!(error.contains("layer 99: the model has layers 0 to"), "{error}");
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0, "nothing is left behind");
}

#[test]
fn other_fields_are_reported_once() {
    let folder = folder("extra");
    let save = folder.join("a.safetensors").display().to_string();
    let train = format!(
        "train --backend cpu --model {GOLDEN} --examples {CASES}/extra.jsonl --save {save} --epochs 1"
    );
    let output = webreft(&train).output().expect("webreft runs");
    assert!(output.status.success());
    assert_eq!(
        text(&output.stderr),
        format!("webreft: {CASES}/extra.jsonl: fields that are not read: `id`\n")
    );
}

#[test]
fn a_configuration_is_what_javascript_takes() {
    let folder = folder("config");
    let save = folder.join("a.safetensors").display().to_string();
    let train =
        format!("train --backend cpu --model {GOLDEN} --examples {CASES}/qa2.jsonl --save {save} --epochs 1");
    let several = r#"[{"kind": "loreft", "layers": [1, 2], "rank": 2, "shared": true}, {"kind": "noreft", "layers": "middle", "rank": 1, "addBias": true}]"#;
    let config = write(&folder.join("reft.json"), several);
    printed(webreft(&train).args(["--config", &config]));
    let about = &lines(&printed(&mut webreft(&format!("inspect {save} --json"))))[0];
    assert_eq!(about["configs"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&about["configs"][0]["shared"], &about["configs"][1]["addBias"]),
        (&true.into(), &true.into())
    );
    let wrong = write(&folder.join("wrong.json"), r#"{"kind": "loreft", "ranks": 2}"#);
    let error = refused(webreft(&train).args(["--config", &wrong]));
    assert!(error.contains("configuration 1") && error.contains("unknown field `ranks`"), "{error}");
    let error = refused(webreft(&train).args(["--config", &config, "--rank", "3"]));
    assert!(error.contains("cannot be used with"), "{error}");
}

#[test]
fn classes_are_named_in_scores() {
    let folder = folder("scores");
    let examples = write(&folder.join("labels.csv"), "text,label\nthe cat,good\na dog ran,bad\n");
    let save = folder.join("judge.safetensors").display().to_string();
    let train = format!(
        "train --backend cpu --model {GOLDEN} --save {save} --epochs 30 --learning-rate 1e-2 --layers 1,2"
    );
    printed(webreft(&train).args(["--examples", &examples]));
    let inspected = printed(&mut webreft(&format!("inspect {save}")));
    assert!(inspected.contains("classes") && inspected.contains("bad, good"), "{inspected}");
    let scores = format!("scores --backend cpu --model {GOLDEN} --reft {save}");
    let table = printed(webreft(&scores).args(["--text", "the cat"]));
    assert!(table.starts_with("the cat\n  good  "), "the highest comes first: {table}");
    let json = lines(&printed(webreft(&scores).args(["--json", "--texts", &examples])));
    let score = |row: &Value, class: &str| row["scores"][class].as_f64().expect("a score");
    assert!(score(&json[0], "good") > score(&json[0], "bad"), "{json:?}");
    assert!(score(&json[1], "bad") > score(&json[1], "good"), "{json:?}");
    let examples = write(&folder.join("numbers.csv"), "text,label\nthe cat,0\na dog ran,2\n");
    printed(webreft(&train).args(["--examples", &examples]));
    let json = lines(&printed(webreft(&scores).args(["--json", "--text", "the cat"])));
    assert_eq!(json[0]["scores"].as_array().map(Vec::len), Some(3), "{json:?}");
}

#[test]
fn a_conversation_remembers_and_obeys() {
    let folder = folder("chat");
    let save = folder.join("a.safetensors").display().to_string();
    printed(&mut webreft(&format!(
        "train --backend cpu --model {NANO} --examples {CASES}/qa2.jsonl --save {save} --epochs 30 --layers middle"
    )));
    let chat = |lines: &[&str]| {
        let mut chat = webreft(&format!("chat --backend cpu --json --max-tokens 12 --model {NANO}"));
        let mut chat = chat
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut input = chat.stdin.take().expect("a pipe");
        writeln!(input, "{}", lines.join("\n")).expect("it reads");
        drop(input);
        let output = chat.wait_with_output().expect("it ends");
        assert!(output.status.success());
        let said: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
        (said, text(&output.stderr))
    };
    let (question, reft) = ("What colour is Pip?", format!("/reft {save}"));
    let (said, errors) = chat(&[
        question,
        "/reset",
        question,
        &reft,
        "/reset",
        question,
        "/strength 0",
        "/reset",
        question,
        "/reft off",
    ]);
    assert_eq!((said.len(), errors.as_str()), (4, ""));
    assert_eq!(said[0], said[1], "a new conversation begins as the first");
    assert_ne!(said[1], said[2], "interventions are heard");
    assert_eq!(said[3], said[1], "edits of strength 0 are none");
    let (said, errors) =
        chat(&["/reft nothing.safetensors", "/strength much", "/louder", question, "/quit", question]);
    assert_eq!(said.len(), 1);
    for part in [
        "nothing.safetensors: ",
        "/strength \"much\": expected a number",
        "/louder is not known (known: /reft,",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

#[test]
fn a_model_is_described_in_a_table() {
    let table = printed(&mut webreft(&format!("inspect --backend cpu {NANO}")));
    for row in [
        "name",
        "architecture",
        "layers",
        "vocabulary",
        "context",
        "weights",
        "to load",
        "to generate",
        "to train",
    ] {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row}: {table}");
    }
    assert!(table.lines().count() < 12 && !table.contains("blk.0"), "{table}");
    assert!(
        printed(&mut webreft(&format!("inspect --backend cpu --tensors {NANO}")))
            .contains("blk.0.attn_q.weight")
    );
    let json = lines(&printed(&mut webreft(&format!("inspect --backend cpu --json {NANO}"))));
    assert_eq!((json.len(), &json[0]["architecture"]), (2, &"llama".into()));
}

/// The driver's own words, such as Mesa's about `XDG_RUNTIME_DIR`, are dropped; the engine's are not.
#[test]
fn drivers_are_not_heard() {
    let generate = format!("generate --max-tokens 1 --model {GOLDEN} --prompt cat");
    let output = webreft(&generate).output().expect("webreft runs");
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.lines().all(|line| line.starts_with("webreft: ")), "{errors}");
}

/// Pairs to steering vectors, these to a control vector and back.
#[test]
fn steering_vectors_are_found_and_go_to_llama_cpp_and_back() {
    let folder = folder("steer");
    let path = |name: &str| folder.join(name).display().to_string();
    let pairs = path("pairs.jsonl");
    fs::write(&pairs, "{\"positive\": \"the cat sat\", \"negative\": \"a dog ran\"}\n").expect("a file");
    let (save, vector, again) = (path("vector.safetensors"), path("vector.gguf"), path("again.safetensors"));
    let model = format!("--backend cpu --model {GOLDEN}");
    let found = printed(&mut webreft(&format!(
        "steer {model} --pairs {pairs} --layers 1-2 --method pca --save {save}"
    )));
    assert_eq!(found, format!("saved {save}: 2 steering vectors of 1 pairs\n"));
    printed(&mut webreft(&format!("export {model} --reft {save} --to llama-cpp --save {vector}")));
    assert!(fs::read(&vector).expect("a file").starts_with(b"GGUF"));
    printed(&mut webreft(&format!("import {model} --from {vector} --save {again}")));
    let answer = |reft: &str| {
        printed(&mut webreft(&format!("generate {model} --reft {reft} --max-tokens 8 --prompt cat")))
    };
    assert_eq!(answer(&save), answer(&again));
    fs::write(&pairs, "{\"positive\": \"the cat sat\"}\n").expect("a file");
    let error = refused(&mut webreft(&format!("steer {model} --pairs {pairs} --save {save}")));
    assert!(error.contains("pairs.jsonl: line 1: `negative` is missing (found: `positive`)"), "{error}");
}
