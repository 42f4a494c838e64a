//! What wrong files, wrong calls and lost devices get: an error that says what to do, and an engine that goes on.

mod support;

use pollster::block_on;
use std::rc::Rc;
use webreft::backend::Backend;
use webreft::engine::{Engine, Example, Input};
use webreft::generate::{GenerateOptions, Persona, Prompt};
use webreft::reft::{Layers, ReftConfig};
use webreft::token::Message;
use webreft::train::{TrainOptions, Trainer};
use webreft::{Error, ErrorKind, Result};

fn file() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q4_0.gguf"))
        .expect("the traces")
}

fn load(file: Vec<u8>, n_ctx: Option<usize>) -> Result<Engine> {
    support::load_file(&Backend::cpu(), file, n_ctx)
}

fn engine() -> Engine {
    load(file(), Some(64)).expect("a sound file")
}

fn example(prompt: &str, completion: &str) -> Example {
    Example::answer(prompt, completion)
}

/// The file with the first `from` after the first `after` replaced by as many bytes.
fn patched(after: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut file = file();
    let find = |what: &[u8], start: usize| {
        start
            + file[start..].windows(what.len()).position(|window| window == what).expect("it is in the file")
    };
    let at = find(from, find(after, 0) + after.len());
    file[at..at + to.len()].copy_from_slice(to);
    file
}

/// Checks an error's kind, and that its text holds all of `parts`.
fn check<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let error: Error = result.err().expect("an error");
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

fn answer(engine: &Engine, prompt: &str) -> String {
    let prompt = engine.prompt(&Input::Text(prompt.to_owned()), vec![]).expect("a prompt");
    let options = GenerateOptions { max_tokens: 4, ..Default::default() };
    let mut generation = engine.generate(&[prompt], &options).expect("a generation");
    let mut text = String::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("tokens") {
        pieces.iter().for_each(|piece| text += &piece.text);
    }
    text
}

#[test]
fn an_unknown_architecture_is_named_beside_those_there_are() {
    let file = patched(b"general.architecture", b"llama", b"lxxma");
    check(load(file, None), ErrorKind::Unsupported, &["lxxma", "supported: llama, qwen2"]);
}

#[test]
fn everything_wrong_with_the_tensors_is_one_error() {
    let mut file = patched(b"blk.0.", b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight");
    let name = b"blk.2.attn_q.weight";
    let at = file.windows(name.len()).position(|window| window == name).expect("it is in the file");
    file[at + name.len() + 4 + 16] = 39; // the format's number, after the count of dimensions and the two of them
    let parts = [
        "\"blk.1.ffn_up.weight\" is missing",
        "\"blk.2.attn_q.weight\": format MXFP4 is not supported",
        "Q8_0",
    ];
    check(load(file, None), ErrorKind::File, &parts);
}

#[test]
fn a_file_cut_off_in_its_weights_is_refused() {
    let mut file = file();
    file.truncate(file.len() - 1000);
    check(load(file, None), ErrorKind::File, &["bytes"]);
}

#[test]
fn a_context_beyond_the_models_own_is_refused() {
    for n_ctx in [0, 1 << 20] {
        check(load(file(), Some(n_ctx)), ErrorKind::Input, &["context", &n_ctx.to_string()]);
    }
}

#[test]
fn prompts_that_do_not_fit_are_refused_and_the_engine_goes_on() {
    let engine = engine();
    let before = answer(&engine, "the cat");
    let long = engine.prompt(&Input::Text("cat ".repeat(100)), vec![]).expect("tokens");
    let n_tokens = long.tokens.len().to_string();
    let options = GenerateOptions::default();
    check(engine.generate(&[long], &options), ErrorKind::Input, &[&n_tokens, "context holds 64"]);
    let empty = Prompt { tokens: Vec::new(), personas: vec![] };
    check(engine.generate(&[empty], &options), ErrorKind::Input, &["empty"]);
    check(engine.generate(&[], &options), ErrorKind::Input, &["at least one"]);
    assert_eq!(answer(&engine, "the cat"), before);
}

#[test]
fn messages_want_a_chat_template() {
    let message = Message { role: "user".to_owned(), content: "hello".to_owned() };
    let input = Input::Messages(vec![message]);
    check(engine().prompt(&input, vec![]), ErrorKind::Unsupported, &["chat template"]);
}

#[test]
fn options_out_of_range_are_named() {
    let engine = engine();
    let prompt = [engine.prompt(&Input::Text("cat".to_owned()), vec![]).expect("a prompt")];
    let wrong = [
        (GenerateOptions { temperature: f32::NAN, ..Default::default() }, "temperature"),
        (GenerateOptions { top_p: 0.0, ..Default::default() }, "topP"),
        (GenerateOptions { min_p: 1.5, ..Default::default() }, "minP"),
        (GenerateOptions { max_tokens: 0, ..Default::default() }, "maxTokens"),
    ];
    for (options, name) in wrong {
        check(engine.generate(&prompt, &options), ErrorKind::Input, &[name]);
    }
}

#[test]
fn interventions_that_the_model_cannot_have_are_refused() {
    let engine = engine();
    let wrong = [
        (ReftConfig { layers: Layers::List(vec![1, 4]), ..Default::default() }, ["layer 4", "0 to 3"]),
        (ReftConfig { layers: Layers::List(vec![1, 1]), ..Default::default() }, ["layer 1", "twice"]),
        (ReftConfig { layers: Layers::List(vec![]), ..Default::default() }, ["layers", "at least one"]),
        (ReftConfig { layers: Layers::Word("some".to_owned()), ..Default::default() }, ["some", "all"]),
        (ReftConfig { rank: 65, ..Default::default() }, ["rank 65", "1 to 64"]),
        (ReftConfig { rank: 0, ..Default::default() }, ["rank 0", "1 to 64"]),
        (ReftConfig { positions: "x3".to_owned(), ..Default::default() }, ["x3", "fN, lM"]),
        (ReftConfig { kind: "magic".to_owned(), ..Default::default() }, ["magic", "loreft"]),
        (ReftConfig { component: "brain".into(), ..Default::default() }, ["brain", "block_output"]),
        (ReftConfig { act: "sin".to_owned(), ..Default::default() }, ["sin", "gelu"]),
    ];
    for (config, parts) in wrong {
        check(engine.reft(&[config]), ErrorKind::Input, &parts);
    }
}

#[test]
fn personas_that_cannot_be_are_refused() {
    let engine = engine();
    let start = |kind: &str, change: fn(&mut Persona)| {
        let config = ReftConfig { kind: kind.to_owned(), ..Default::default() };
        let mut persona = Persona::new(Rc::new(engine.reft(&[config]).expect("a reft")));
        change(&mut persona);
        let prompt = engine.prompt(&Input::Text("the cat".to_owned()), vec![persona]).expect("a prompt");
        engine.generate(&[prompt], &GenerateOptions { max_tokens: 1, ..Default::default() })
    };
    check(
        start("interchange", |_| ()),
        ErrorKind::Input,
        &["interchange", "another run", "give its persona a source"],
    );
    check(start("loreft", |it| it.subspace = Some(vec![1, 4])), ErrorKind::Input, &["dimension 4 of 4"]);
    check(start("loreft", |it| it.strength = f32::NAN), ErrorKind::Input, &["strength NaN"]);
    start("loreft", |it| it.subspace = Some(vec![0, 3])).expect("two dimensions of four");
    let dii = ReftConfig { kind: "dii_lowrank".to_owned(), ..Default::default() };
    let reft = engine.reft(&[dii]).expect("a reft");
    let wanting = engine.training(&reft, &[example("the cat", "ran")], &TrainOptions::default());
    check(wanting, ErrorKind::Input, &["dii_lowrank", "another run"]);
}

#[test]
fn examples_are_refused_all_at_once_by_number() {
    let engine = engine();
    let reft = engine.reft(&[ReftConfig::default()]).expect("a reft");
    let long = "cat ".repeat(100);
    let examples = [example("cat", "dog"), example("cat", ""), example("cat", &long)];
    let options = TrainOptions::default();
    let parts = ["example 2: the completion is empty", "example 3:", "the context holds 64"];
    check(engine.training(&reft, &examples, &options), ErrorKind::Input, &parts);
    check(engine.training(&reft, &[], &options), ErrorKind::Input, &["at least one"]);
    for options in [
        TrainOptions { epochs: 0, ..Default::default() },
        TrainOptions { learning_rate: f64::NAN, ..Default::default() },
        TrainOptions { schedule: "zigzag".to_owned(), ..Default::default() },
        TrainOptions { warmup_steps: 100, epochs: 1, ..Default::default() },
    ] {
        check(engine.training(&reft, &examples[..1], &options), ErrorKind::Input, &[]);
    }
}

#[test]
fn files_that_are_no_interventions_are_refused() {
    let engine = engine();
    let reft = engine.reft(&[ReftConfig::default()]).expect("a reft");
    let saved = block_on(reft.save(engine.model())).expect("a file");
    check(engine.load_reft(b"hello"), ErrorKind::File, &["safetensors"]);
    for end in (0..saved.len()).step_by(97) {
        check(engine.load_reft(&saved[..end]), ErrorKind::File, &[]);
    }
    let weights =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model/model.safetensors"));
    check(
        engine.load_reft(&weights.expect("the traces")),
        ErrorKind::File,
        &["not an intervention file", "webreft"],
    );
    engine.load_reft(&saved).expect("the whole file loads");
}

#[test]
fn a_training_left_in_the_middle_leaves_an_engine_that_goes_on() {
    let engine = engine();
    let before = answer(&engine, "the cat");
    let reft = engine.reft(&[ReftConfig::default()]).expect("a reft");
    let mut trainer = Trainer::new(&Backend::cpu(), &reft).expect("a trainer");
    let examples = [example("the cat", "sat")];
    let mut training = engine.training(&reft, &examples, &TrainOptions::default()).expect("a training");
    block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step");
    drop(training);
    assert_eq!(answer(&engine, "the cat"), before);
}

#[test]
fn nothing_stays_on_the_gpu_when_all_is_dropped() {
    let backend = block_on(Backend::gpu()).expect("an adapter: a software one will do");
    let engine = support::load_file(&backend, file(), Some(64)).expect("a sound file");
    let loaded = backend.memory();
    answer(&engine, "the cat");
    assert_eq!(backend.memory(), loaded, "a generation leaves memory behind");
    let reft = Rc::new(engine.reft(&[ReftConfig::default()]).expect("a reft"));
    let mut trainer = Trainer::new(&backend, &reft).expect("a trainer");
    let examples = [example("the cat", "sat")];
    let mut training = engine.training(&reft, &examples, &TrainOptions::default()).expect("a training");
    block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step");
    drop((training, trainer, reft));
    assert_eq!(backend.memory(), loaded, "a training leaves memory behind");
    drop(engine);
    assert_eq!(backend.memory(), 0, "a model leaves memory behind");
}

#[test]
fn a_lost_device_is_a_device_error_ever_after() {
    let backend = block_on(Backend::gpu()).expect("an adapter: a software one will do");
    let engine = support::load_file(&backend, file(), Some(64)).expect("a sound file");
    let Backend::Gpu(gpu) = &backend else { panic!("a GPU was opened") };
    gpu.lose();
    let prompt = engine.prompt(&Input::Text("cat".to_owned()), vec![]).expect("a prompt");
    for _ in 0..2 {
        let lost = engine.generate(std::slice::from_ref(&prompt), &GenerateOptions::default());
        let lost = lost.and_then(|mut generation| block_on(generation.next(engine.tokenizer())).map(|_| ()));
        check(lost, ErrorKind::Device, &["lost"]);
    }
}
