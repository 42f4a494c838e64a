//! Tasks other than the next token, from examples to answers, on the smallest golden model: what is trained is learned.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use std::rc::Rc;
use webreft::ErrorKind;
use webreft::backend::Backend;
use webreft::engine::{Engine, Example, Input, Source};
use webreft::generate::{GenerateOptions, Persona};
use webreft::kernel::Hyper;
use webreft::reft::{Components, HeadConfig, Layers, Reft, ReftConfig};
use webreft::train::{TrainOptions, TrainStep, Trainer, reference};

fn engine() -> Engine {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf");
    support::load(&Backend::Cpu, path.as_ref())
}

fn config() -> ReftConfig {
    ReftConfig { layers: Layers::List(vec![1, 2]), rank: 2, ..ReftConfig::default() }
}

fn examples(lines: &str) -> Vec<Example> {
    lines.lines().map(|line| serde_json::from_str(line.trim()).expect("an example")).collect()
}

/// Trains to the end; the reports of all steps.
fn train(engine: &Engine, reft: &Reft, examples: &[Example], options: &TrainOptions) -> Vec<TrainStep> {
    let mut trainer = Trainer::new(&engine.model().backend, reft).expect("the state fits");
    let mut training = engine.training(reft, examples, options).expect("a training");
    let mut steps = Vec::new();
    while let Some(step) = block_on(training.next(engine.model(), reft, &mut trainer)).expect("a step") {
        assert!(step.loss.is_finite() && step.grad_norm > 0.0);
        steps.push(step);
    }
    assert_eq!(steps.len(), training.n_steps());
    steps
}

fn options(epochs: usize) -> TrainOptions {
    TrainOptions { epochs, learning_rate: 1e-2, ..TrainOptions::default() }
}

#[test]
fn classes_are_learned_by_a_head() {
    let engine = engine();
    let lines = r#"{"text": "the cat", "label": 0}
        {"text": "a dog ran", "label": 1}
        {"text": "one house", "label": 2}
        {"text": "some cats", "label": 0}"#;
    let head = HeadConfig { outputs: 3, bias: true, seed: 1 };
    let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let steps = train(&engine, &reft, &examples(lines), &options(40));
    assert!(steps.last().expect("steps").loss < 0.1, "{:?}", steps.last());
    let texts = ["the cat", "a dog ran", "one house"].map(str::to_owned);
    let file = block_on(reft.save(engine.model())).expect("a file");
    let again = engine.load_reft(&file).expect("the file loads, head and all");
    for reft in [&reft, &again] {
        for (class, scores) in block_on(engine.scores(reft, &texts)).expect("scores").iter().enumerate() {
            assert!(scores.iter().all(|score| *score <= scores[class]), "{class}: {scores:?}");
        }
    }
}

#[test]
fn numbers_are_learned_by_a_head() {
    let engine = engine();
    let lines = r#"{"text": "the cat", "values": [1.5, -0.5]}
        {"text": "a dog ran", "values": [-1.0, 0.25]}"#;
    let head = HeadConfig { outputs: 2, bias: false, seed: 1 };
    let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let steps = train(&engine, &reft, &examples(lines), &options(80));
    assert!(steps.last().expect("steps").loss < 0.02, "{:?}", steps.last());
}

#[test]
fn the_better_answer_gets_the_higher_reward() {
    let engine = engine();
    let lines = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat down"}
        {"prompt": "a dog", "chosen": "sat", "rejected": "flew away"}"#;
    let head = HeadConfig { outputs: 1, bias: false, seed: 1 };
    let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let steps = train(&engine, &reft, &examples(lines), &options(30));
    assert!(steps[0].loss > 0.3 && steps.last().expect("steps").loss < 0.05, "{steps:?}");
}

#[test]
fn a_preferred_answer_becomes_likelier_than_it_was() {
    let engine = engine();
    let lines = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat down"}
        {"prompt": "a dog", "chosen": "sat", "rejected": "flew away"}"#;
    let reft = Reft::new(
        engine.model(),
        &[ReftConfig {
            kind: "lora".to_owned(),
            component: Components::List(vec!["query_output".to_owned(), "mlp_output".to_owned()]),
            ..config()
        }],
    );
    let reft = reft.expect("a reft");
    let pairs = examples(lines);
    let steps = train(&engine, &reft, &pairs, &TrainOptions { batch_size: 1, ..options(20) });
    let first = steps[0].loss;
    assert!((first - 2f64.ln()).abs() < 1e-4, "a LoRA starts as the reference: {first}");
    assert!(steps.last().expect("steps").loss < 0.5 * first, "{:?}", steps.last());
    let bare = engine.sequences(&reft, &pairs).expect("sequences");
    let bare: Vec<f32> =
        block_on(reference(engine.model(), &bare.iter().collect::<Vec<_>>())).expect("losses");
    assert_eq!(bare.len(), 4);
}

#[test]
fn every_optimizer_and_schedule_learns() {
    let engine = engine();
    let lines = r#"{"prompt": "the cat", "completion": "ran"}"#;
    for (optimizer, learning_rate) in [("adamw", 1e-2), ("adam", 1e-2), ("sgd", 5e-2)] {
        for schedule in ["constant", "linear", "cosine"] {
            let reft = Reft::new(engine.model(), &[config()]).expect("a reft");
            let (optimizer, schedule) = (optimizer.to_owned(), schedule.to_owned());
            let options =
                TrainOptions { optimizer, schedule, learning_rate, max_grad_norm: 1.0, ..options(20) };
            let steps = train(&engine, &reft, &examples(lines), &options);
            assert!(steps.last().expect("steps").loss < 0.6 * steps[0].loss, "{options:?}: {steps:?}");
        }
    }
}

#[test]
fn what_a_task_wants_is_said() {
    let engine = engine();
    let bare = Reft::new(engine.model(), &[config()]).expect("a reft");
    let head = HeadConfig { outputs: 3, bias: false, seed: 0 };
    let three = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let labelled = r#"{"text": "the cat", "label": 3}"#;
    let pair = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat"}"#;
    let mixed = r#"{"text": "the cat", "label": 0}
        {"prompt": "the cat", "completion": "ran"}"#;
    let wrong = [
        (&bare, labelled, "wants a head"),
        (&three, labelled, "Class(3) for a head of 3 outputs"),
        (&three, pair, "head of 1 output"),
        (&three, mixed, "example 2: is not of the first one's task"),
    ];
    for (reft, lines, part) in wrong {
        let error = engine.training(reft, &examples(lines), &options(1)).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
    let nothing = Reft::new(engine.model(), &[ReftConfig { kind: "zero".to_owned(), ..config() }]);
    let error = Trainer::new(&engine.model().backend, &nothing.expect("a reft")).err().expect("an error");
    assert!(error.to_string().contains("nothing to train"), "{error}");
}

const PAIRS: &str = r#"{"prompt": "the cat", "completion": "ran away"}
    {"prompt": "a dog", "completion": "sat"}
    {"prompt": "one house and", "completion": "some cats ran"}
    {"prompt": "down", "completion": "to the house"}
    {"prompt": "two", "completion": "dogs"}"#;

/// Runs a check on the twins and on a GPU.
fn on_each_backend(check: impl Fn(&Engine)) {
    let gpu = block_on(Backend::gpu()).expect("this test needs a GPU, or a driver that plays one");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf");
    [Backend::Cpu, gpu].iter().for_each(|backend| check(&support::load(backend, path.as_ref())));
}

#[test]
fn a_training_goes_on_from_its_checkpoint_bit_for_bit() {
    on_each_backend(|engine| {
        let (model, pairs) = (engine.model(), examples(PAIRS));
        let options =
            TrainOptions { batch_size: 2, max_grad_norm: 1.0, schedule: "cosine".to_owned(), ..options(4) };
        let whole = {
            let reft = Reft::new(model, &[config()]).expect("a reft");
            let steps = train(engine, &reft, &pairs, &options);
            (steps, block_on(reft.save(model)).expect("a file"))
        };
        for left_after in [0, 1, 5, 7] {
            let mut steps = Vec::new();
            let file = {
                let reft = Reft::new(model, &[config()]).expect("a reft");
                let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
                let mut training = engine.training(&reft, &pairs, &options).expect("a training");
                for _ in 0..left_after {
                    steps.extend(block_on(training.next(model, &reft, &mut trainer)).expect("a step"));
                }
                block_on(training.checkpoint(model, &reft, &trainer)).expect("a file")
            };
            let (reft, mut trainer, mut training) = engine.resume(&file, &pairs).expect("it goes on");
            while let Some(step) = block_on(training.next(model, &reft, &mut trainer)).expect("a step") {
                steps.push(step);
            }
            assert_eq!(steps, whole.0, "left after {left_after}, {}", model.backend.name());
            assert_eq!(block_on(reft.save(model)).expect("a file"), whole.1);
        }
    });
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let engine = engine();
    let reft = Reft::new(engine.model(), &[config()]).expect("a reft");
    let trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
    let mut training = engine.training(&reft, &examples(PAIRS), &options(2)).expect("a training");
    let file = block_on(training.checkpoint(engine.model(), &reft, &trainer)).expect("a file");
    let saved = block_on(reft.save(engine.model())).expect("a file");
    let fewer = &examples(PAIRS)[1..];
    for (file, pairs, part) in [
        (&file[..], fewer, "other examples"),
        (&file[..file.len() / 2], fewer, "not a checkpoint"),
        (&saved[..], fewer, "webreft-checkpoint"),
    ] {
        let error = engine.resume(file, pairs).err().expect("an error");
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn what_is_frozen_is_not_computed_again_and_the_losses_are_the_same() {
    on_each_backend(|engine| {
        let model = engine.model();
        for component in ["block_output", "mlp_input"] {
            let config = ReftConfig { component: component.into(), ..config() };
            let run = |keep: bool| {
                let reft = Reft::new(model, std::slice::from_ref(&config)).expect("a reft");
                let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
                let mut sequences = engine.sequences(&reft, &examples(PAIRS)).expect("sequences");
                if keep {
                    trainer.keep_states(model, &reft, &mut sequences).expect("they find room");
                    assert!(sequences.iter().all(|sequence| sequence.states_at.is_some()));
                }
                let sequences: Vec<_> = sequences.iter().collect();
                let step = |_| {
                    let loss = trainer.step(model, &reft, &sequences, &Hyper::with_rate(1e-2));
                    block_on(loss.expect("a step").mean()).expect("a loss")
                };
                let losses: Vec<f64> = (0..5).map(step).collect();
                (losses, trainer.last_plan().expect("a plan").plan().steps().len())
            };
            let ((kept, n_kept), (again, n_again)) = (run(true), run(false));
            assert!(n_kept < n_again, "{n_kept} dispatches, {n_again} without");
            for (kept, again) in kept.iter().zip(&again) {
                assert!((kept - again).abs() < 1e-5, "{kept} for {again}, {}", model.backend.name());
            }
        }
    });
}

/// The ids of an answer of 24 sampled tokens, with other personas from token `at` on.
fn switched(engine: &Engine, from: &[Persona], at: usize, to: &[Persona]) -> Vec<u32> {
    let prompt = engine.prompt(&Input::Text("the cat".to_owned()), from.to_vec()).expect("a prompt");
    let other = engine.prompt(&Input::Text("a dog ran".to_owned()), vec![]).expect("a prompt");
    let options = GenerateOptions { max_tokens: 24, temperature: 1.0, seed: 3, ..Default::default() };
    let mut generation = engine.generate(&[other, prompt], &options).expect("a generation");
    let mut ids = Vec::new();
    loop {
        if ids.len() == at {
            block_on(generation.switch(engine.model(), 1, to.to_vec())).expect("another persona");
        }
        match block_on(generation.next(engine.tokenizer())).expect("tokens") {
            Some(pieces) => {
                ids.extend(pieces.iter().filter(|piece| piece.sequence == 1).map(|piece| piece.id))
            }
            None => return ids,
        }
    }
}

#[test]
fn personas_are_switched_between_two_tokens() {
    on_each_backend(|engine| {
        let config = ReftConfig { positions: "generated".to_owned(), ..config() };
        let reft = Rc::new(Reft::new(engine.model(), &[config]).expect("a reft"));
        let [weak, strong] = [0.0, 6.0].map(|strength| [Persona { strength, ..Persona::new(reft.clone()) }]);
        let whole = switched(engine, &weak, usize::MAX, &weak);
        let edited = switched(engine, &strong, usize::MAX, &strong);
        assert_ne!(whole[1..], edited[1..], "the persona says something else");
        for at in [0, 1, 5] {
            assert_eq!(switched(engine, &weak, at, &[]), whole, "nobody says what strength 0 says");
            let changed = switched(engine, &weak, at, &strong);
            assert_eq!(changed[..at.max(1)], whole[..at.max(1)], "what was said is said, {at}");
            assert_ne!(changed, whole, "switched at {at}");
        }
        assert_eq!(switched(engine, &weak, 0, &strong), edited, "from the first token on");
    });
}

/// An untrained kind at the end of a prompt, above all layers.
fn at_the_end(engine: &Engine, kind: &str) -> Rc<Reft> {
    let layers = Layers::List(vec![engine.model().dims.n_layer - 1]);
    let config =
        ReftConfig { kind: kind.to_owned(), layers, positions: "l1".to_owned(), ..Default::default() };
    Rc::new(Reft::new(engine.model(), &[config]).expect("a reft"))
}

fn source(text: &str, positions: Option<&str>) -> Source {
    Source { input: Input::Text(text.to_owned()), positions: positions.map(str::to_owned) }
}

/// The first so many ids that follow a text, edited with the hidden states of a source.
fn with_source(engine: &Engine, text: &str, edited: Option<(&Rc<Reft>, Source)>, n: usize) -> Vec<u32> {
    let mut prompt = engine.prompt(&Input::Text(text.to_owned()), vec![]).expect("a prompt");
    if let Some((reft, source)) = edited {
        let sources = engine.sources(reft, &source, prompt.tokens.len());
        let sources = block_on(sources).expect("hidden states");
        prompt.personas.push(Persona { sources, ..Persona::new(reft.clone()) });
    }
    let options = GenerateOptions { max_tokens: n, ..Default::default() };
    let mut generation = engine.generate(&[prompt], &options).expect("a generation");
    let mut ids = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("tokens") {
        ids.extend(pieces.iter().map(|piece| piece.id));
    }
    ids
}

#[test]
fn interchange_says_what_the_source_would_have_said() {
    on_each_backend(|engine| {
        let [text, other] = ["the cat", "a dog ran to some houses"];
        let [said, of_other] = [text, other].map(|text| with_source(engine, text, None, 8));
        assert_ne!(said[0], of_other[0], "two texts that go on differently");
        let reft = at_the_end(engine, "interchange");
        let asked = |source| with_source(engine, text, Some((&reft, source)), 8);
        assert_eq!(asked(source(other, None))[0], of_other[0], "the last token's state is the source's");
        assert_eq!(asked(source(other, Some("-1")))[0], of_other[0], "by another name");
        assert_eq!(asked(source(text, None)), said, "its own states change nothing");

        let config = ReftConfig { kind: "interchange".to_owned(), positions: "f1+l1".to_owned(), ..config() };
        let config = ReftConfig { component: "mlp_output".into(), ..config };
        let several = Rc::new(Reft::new(engine.model(), &[config]).expect("a reft"));
        assert_eq!(several.interventions.len(), 4);
        assert_eq!(with_source(engine, text, Some((&several, source(text, Some("0+-1")))), 8), said);
        assert_ne!(with_source(engine, text, Some((&several, source(other, None))), 8), said);
    });
}

#[test]
fn a_source_that_cannot_be_read_is_refused() {
    let engine = engine();
    let reft = |positions: &str| {
        let config =
            ReftConfig { kind: "interchange".to_owned(), positions: positions.to_owned(), ..config() };
        Reft::new(engine.model(), &[config]).expect("a reft")
    };
    let refused = |reft: &Reft, source: Source, n_prompt: usize, parts: &[&str]| {
        let error = block_on(engine.sources(reft, &source, n_prompt)).expect_err("no such source");
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
        }
    };
    refused(&reft("f3"), source("a", None), 8, &["source", "expected 3 of its ", "tokens at f3", "got "]);
    refused(&reft("2:5"), source("a dog", Some("9")), 8, &["tokens at 9", "got 0"]);
    refused(&reft("f1+l1"), source("a dog", Some("3")), 8, &["source", "expected 2 words", "got 1"]);
    refused(&reft("l1"), source("a dog", Some("x")), 8, &["source", "positions \"x\""]);
    refused(&reft("l1"), source(&"a dog ran ".repeat(900), None), 8, &["source: expected 1 to", "got "]);
    let prompt = engine.prompt(&Input::Text("the cat".to_owned()), vec![Persona::new(reft("l1").into())]);
    let error = engine.generate(&[prompt.expect("a prompt")], &Default::default()).err().expect("no source");
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(error.to_string().contains("give its persona a source"), "{error}");
    let learned = Reft::new(engine.model(), &[config()]).expect("a reft");
    refused(&learned, source("a dog", None), 8, &["none of these interventions", "interchange"]);
}
