//! The same training and the same answers on every machine: twins, native GPU, and (in `www/webreft/test`) the browser.
//!
//! `tests/numbers/loreft.json` says what is done on `tests/golden/llama/model-q8_0.gguf` and what came out of the twins; the
//! browser test reads the same file. With `WEBREFT_WRITE_NUMBERS=1` the twins write it anew.

mod support;

use pollster::block_on;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use webreft::backend::Backend;
use webreft::bytes::FileSource;
use webreft::engine::{Engine, Example, Input};
use webreft::generate::{GenerateOptions, Persona};
use webreft::reft::{Reft, ReftConfig};
use webreft::train::{TrainOptions, Trainer};

/// What the issue allows between loss curves, with the twins and through a GPU adapter.
const CURVE: [f64; 2] = [1e-4, 5e-4];

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    reft: ReftConfig,
    training: TrainOptions,
    examples: Vec<serde_json::Value>,
    prompt: String,
    max_tokens: usize,
    losses: Vec<f64>,
    ids_before: Vec<u32>,
    ids_after: Vec<u32>,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numbers/loreft.json")
}

fn expected() -> Numbers {
    serde_json::from_slice(&std::fs::read(path()).expect("the file of numbers")).expect("numbers")
}

fn engine(backend: &Backend) -> Engine {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama/model-q8_0.gguf");
    let file = FileSource::open(file).expect("the traces");
    support::load_file(backend, file, None).expect("a sound file")
}

fn ids(engine: &Engine, numbers: &Numbers, reft: Option<Rc<Reft>>) -> Vec<u32> {
    let prompt = engine
        .prompt(&Input::Text(numbers.prompt.clone()), reft.map(Persona::new).into_iter().collect())
        .expect("a prompt");
    let options = GenerateOptions { max_tokens: numbers.max_tokens, ..Default::default() };
    let mut generation = engine.generate(&[prompt], &options).expect("a generation");
    let mut ids = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("tokens") {
        ids.extend(pieces.iter().map(|piece| piece.id));
    }
    ids
}

/// Does what the file says; returns what came out in place of what it holds.
fn run(backend: &Backend, mut numbers: Numbers) -> Numbers {
    let engine = engine(backend);
    let examples: Vec<Example> =
        numbers.examples.iter().map(|e| serde_json::from_value(e.clone()).expect("an example")).collect();
    numbers.ids_before = ids(&engine, &numbers, None);
    let reft = Rc::new(engine.reft(std::slice::from_ref(&numbers.reft)).expect("a reft"));
    let mut trainer = Trainer::new(backend, &reft).expect("a trainer");
    let mut training = engine.training(&reft, &examples, &numbers.training).expect("a training");
    numbers.losses.clear();
    while let Some(step) = block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step") {
        numbers.losses.push(step.loss);
    }
    numbers.ids_after = ids(&engine, &numbers, Some(reft));
    numbers
}

fn check(backend: &Backend, curve: f64) {
    let (want, got) = (expected(), run(backend, expected()));
    assert_eq!(got.losses.len(), want.losses.len());
    for (step, (got, want)) in got.losses.iter().zip(&want.losses).enumerate() {
        assert!((got - want).abs() <= curve, "step {step}: loss {got}, expected {want}");
    }
    assert_eq!(got.ids_before, want.ids_before);
    assert_eq!(got.ids_after, want.ids_after);
    assert_ne!(got.ids_before, got.ids_after, "the training changed nothing");
}

#[test]
fn the_twins_give_the_numbers_of_the_file() {
    if std::env::var_os("WEBREFT_WRITE_NUMBERS").is_some() {
        let text = serde_json::to_string_pretty(&run(&Backend::cpu(), expected())).expect("plain data");
        std::fs::write(path(), text + "\n").expect("the file can be written");
    }
    check(&Backend::cpu(), CURVE[0]);
}

#[test]
fn the_gpu_gives_the_numbers_of_the_file() {
    check(&block_on(Backend::gpu()).expect("an adapter: a software one will do"), CURVE[1]);
}
