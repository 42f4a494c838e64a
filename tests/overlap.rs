//! Interventions on the same tokens: they act one after the other, in their order, as pyvene's do.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use serde_json::Value;
use std::path::Path;
use std::rc::Rc;
use support::differences::{check_gradient, example};
use webreft::engine::Engine;
use webreft::generate::{GenerateOptions, Persona, Prompt};
use webreft::kernel::{Dropout, Hyper};
use webreft::reft::foreign::{File, Unsaved};
use webreft::reft::{Layers, Reft, ReftConfig};
use webreft::train::Trainer;

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

/// The small model on the CPU and on a GPU.
fn on_each(check: impl Fn(&Engine)) {
    support::on_each_machine("golden/llama/model-f32.gguf", check);
}

/// pyreft's directory of three interventions at the same place.
fn three() -> Vec<File> {
    let directory = tests().join("cases/adapters/py_three_diff");
    let files = std::fs::read_dir(&directory).expect("the directory").map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(path).expect("a file"))
    });
    files.collect()
}

/// The greedy ids after the cases' prompt.
fn greedy(engine: &Engine, reft: Reft, expected: &Value) -> Vec<u32> {
    let ids = |value: &Value| serde_json::from_value::<Vec<u32>>(value.clone()).expect("ids");
    let prompt = Prompt { tokens: ids(&expected["ids"]), personas: vec![Persona::new(Rc::new(reft))] };
    let max_tokens = ids(&expected["greedy"]["base"]).len();
    let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
    let mut generation = engine.generate(&[prompt], &options).expect("a generation");
    let mut told = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("a token") {
        told.extend(pieces.iter().map(|piece| piece.id));
    }
    told
}

fn layer_1(positions: &str) -> ReftConfig {
    ReftConfig { layers: Layers::List(vec![1]), positions: positions.to_owned(), ..ReftConfig::default() }
}

#[test]
fn three_interventions_of_pyreft_on_the_same_tokens_say_what_they_say_there() {
    let text = std::fs::read_to_string(tests().join("cases/expected.json")).expect("the right ids");
    let expected: Value = serde_json::from_str(&text).expect("JSON");
    let right = &expected["greedy"]["py_three_diff at 5:12+5:12+5:12, applied in order"];
    on_each(|engine| {
        let unsaved = Unsaved { positions: Some("5:12+5:12+5:12".to_owned()), ..Unsaved::default() };
        let imported = engine.import_reft(&three(), &unsaved).expect("three interventions");
        assert_eq!(imported.reft.interventions.len(), 3);
        let told = greedy(engine, imported.reft, &expected);
        assert_eq!(serde_json::json!(told), *right, "{}", engine.info().device);
    });
}

/// Several configurations at one place, and the words of one, lead to the same interventions.
#[test]
fn gradients_through_interventions_on_the_same_tokens_equal_differences() {
    on_each(|engine| {
        let of_one = vec![layer_1("2:6+2:6+4:8")];
        let of_three = ["2:6", "2:6", "4:8"].map(layer_1).to_vec();
        for configs in [of_one, of_three] {
            let reft = engine.reft(&configs).expect("interventions");
            check_gradient(engine, &reft, Dropout::default(), 2, "the same tokens");
        }
    });
}

#[test]
fn each_of_them_moves_in_training() {
    on_each(|engine| {
        let reft = engine.reft(&[layer_1("l1+l1+all")]).expect("interventions");
        let sequence = example(engine, &reft, 12);
        let before = block_on(reft.values()).expect("the parameters are read");
        let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
        for _ in 0..2 {
            trainer.step(engine.model(), &reft, &[&sequence], &Hyper::with_rate(1e-2)).expect("a step runs");
        }
        let after = block_on(reft.values()).expect("the parameters are read");
        assert_eq!(after.len(), 3);
        for (number, (before, after)) in before.iter().zip(&after).enumerate() {
            assert_ne!(before.weight, after.weight, "intervention {number}");
            assert_ne!(before.projection, after.projection, "intervention {number}");
        }
    });
}
