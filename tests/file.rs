//! The file of interventions: what it tells beside them, and what older files and other models get.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::HashMap;
use webreft::backend::Backend;
use webreft::engine::{Engine, Example};
use webreft::reft::{About, Layers, Reft, ReftConfig};
use webreft::train::{TrainOptions, Trainer};

fn gguf(weights: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/llama/model-{weights}.gguf", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("the traces")
}

fn load(file: Vec<u8>) -> Engine {
    support::load_file(&Backend::cpu(), file, Some(64)).expect("a sound file")
}

fn reft(engine: &Engine) -> Reft {
    engine.reft(&[ReftConfig { layers: Layers::List(vec![1]), ..ReftConfig::default() }]).expect("a reft")
}

fn saved(engine: &Engine, reft: &Reft) -> Vec<u8> {
    block_on(reft.save(engine.model())).expect("a file")
}

/// The file with other metadata.
fn with(file: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(file).expect("safetensors");
    let metadata = header.metadata().as_ref().expect("metadata");
    let mut about = serde_json::from_str(&metadata["webreft"]).expect("JSON");
    change(&mut about);
    let metadata = HashMap::from([("webreft".to_owned(), about.to_string())]);
    let tensors = SafeTensors::deserialize(file).expect("safetensors");
    safetensors::serialize(tensors.tensors(), Some(metadata)).expect("a file")
}

#[test]
fn a_file_tells_how_its_interventions_were_trained() {
    let engine = load(gguf("q8_0"));
    let reft = reft(&engine);
    assert_eq!(About::read(&saved(&engine, &reft)).expect("a file").training, None);
    let examples = [Example::answer("the cat", "ran"), Example::answer("a dog", "sat")];
    let options = TrainOptions { epochs: 3, batch_size: 1, beta: 0.25, ..TrainOptions::default() };
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
    let mut training = engine.training(&reft, &examples, &options).expect("a training");
    let mut losses = Vec::new();
    while let Some(step) = block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step") {
        losses.push(step.loss);
    }
    let file = saved(&engine, &reft);
    let trained = About::read(&file).expect("a file").training.expect("it was trained");
    assert_eq!(serde_json::from_value::<TrainOptions>(trained.options.clone()).expect("options"), options);
    assert_eq!((trained.examples, trained.steps, trained.loss), (2, 6, losses.last().copied()));
    let again = engine.load_reft(&file).expect("the same model");
    assert_eq!(again.trained(), Some(trained));
    assert_eq!(saved(&engine, &again), file);
}

#[test]
fn another_quantization_is_the_same_model_and_older_files_load_without_a_word() {
    let file = saved(&load(gguf("q8_0")), &reft(&load(gguf("q8_0"))));
    let other = load(gguf("q4_0"));
    assert_eq!(other.load_reft(&file).expect("the same model").warnings, [""; 0]);
    let older = with(&file, |about| {
        let about = about.as_object_mut().expect("an object");
        assert!(about.remove("tokenizer").is_some());
        assert_eq!(about.remove("template"), None, "the traces' model has no template");
    });
    assert_eq!(other.load_reft(&older).expect("an older file").warnings, [""; 0]);
}

#[test]
fn another_tokenizer_or_template_is_told_and_not_refused() {
    let engine = load(gguf("q8_0"));
    let file = saved(&engine, &reft(&engine));
    let mut bytes = gguf("q8_0");
    let find = |what: &[u8], from: usize| {
        from + bytes[from..].windows(what.len()).position(|part| part == what).expect("it is in the file")
    };
    let at = find(b"the", find(b"tokenizer.ggml.tokens", 0));
    bytes[at + 2] = b'q';
    let warnings = load(bytes).load_reft(&file).expect("the same weights").warnings;
    assert!(matches!(&warnings[..], [one] if one.contains("another tokenizer")), "{warnings:?}");
    let theirs = with(&file, |about| about["template"] = json!("0123456789abcdef0123456789abcdef"));
    let warnings = engine.load_reft(&theirs).expect("the same weights").warnings;
    assert!(
        matches!(&warnings[..], [one] if one.contains("another chat template (0123456789abcdef0123456789abcdef) than the model's (none)")),
        "{warnings:?}"
    );
}
