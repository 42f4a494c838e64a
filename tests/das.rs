//! Distributed alignment search: a rotation trained on counterfactual pairs, from examples to a loss that falls.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use webreft::backend::Backend;
use webreft::engine::{Engine, Example};
use webreft::kernel::Hyper;
use webreft::plan::Plan;
use webreft::reft::{Layers, Reft, ReftConfig, Wanted, collect};
use webreft::train::{Sequence, TrainOptions, Trainer};
use webreft::{ErrorKind, Result};

fn engine(backend: &Backend) -> Engine {
    support::load(backend, &support::golden_dir().join("llama/model-q8_0.gguf"))
}

fn config() -> ReftConfig {
    let layers = Layers::List(vec![1, 2]);
    ReftConfig {
        kind: "dii_lowrank".to_owned(),
        layers,
        rank: 8,
        positions: "l1".into(),
        ..ReftConfig::default()
    }
}

/// One base, four sources, four answers: only what is read of the source tells them apart.
const PAIRS: &str = r#"{"base": "the cat", "source": "the dog", "expected": "a"}
    {"base": "the cat", "source": "two houses", "expected": "b"}
    {"base": "the cat", "source": "down", "expected": "c"}
    {"base": "the cat", "source": "he ran away", "expected": "d"}"#;

fn pairs() -> Vec<Example> {
    PAIRS.lines().map(|line| serde_json::from_str(line.trim()).expect("an example")).collect()
}

#[test]
fn a_subspace_is_found_that_carries_the_answer_from_the_source() {
    let gpu = block_on(Backend::gpu()).expect("this test needs a GPU, or a driver that plays one");
    for backend in [Backend::cpu(), gpu] {
        let engine = engine(&backend);
        let reft = engine.reft(&[config()]).expect("interventions");
        let mut trainer = Trainer::new(&backend, &reft).expect("the state fits");
        let options = TrainOptions { epochs: 60, learning_rate: 2e-2, ..TrainOptions::default() };
        let mut training = engine.training(&reft, &pairs(), &options).expect("a training");
        let mut losses = Vec::new();
        while let Some(step) = block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step") {
            losses.push(step.loss);
        }
        let last = *losses.last().expect("steps");
        // Who sees the base alone can do no better than guess one of four.
        assert!(last < 0.5 * 4f64.ln(), "{}: {losses:?}", backend.name());
    }
}

/// Sequences of the pairs with their sources run.
fn collected(engine: &Engine, reft: &Reft) -> Vec<Sequence> {
    let mut sequences = engine.sequences(reft, &pairs()).expect("sequences");
    for sequence in &mut sequences {
        block_on(sequence.collect_source(engine.model())).expect("the source runs");
    }
    sequences
}

#[test]
fn sources_are_the_bare_models_states_at_the_positions_of_the_source() {
    let engine = engine(&Backend::cpu());
    let reft =
        engine.reft(&[ReftConfig { positions: "f1+l1".to_owned(), ..config() }]).expect("interventions");
    for sequence in collected(&engine, &reft) {
        let tokens = &sequence.source.as_ref().expect("a source").tokens;
        for (it, edits) in reft.interventions.iter().zip(&sequence.edits) {
            let is_first = it.positions.rows(9, 9)[0][0] == 0;
            let rows = vec![if is_first { 0 } else { tokens.len() as u32 - 1 }];
            let wanted = Wanted { place: it.place, window: it.window(), rows };
            let states = block_on(collect(engine.model(), tokens, &[wanted])).expect("states");
            assert_eq!(edits.source, states[0]);
        }
        assert_eq!(
            sequence.labels.last().map(|(row, _)| row + 2),
            Some(sequence.tokens.len()),
            "no end is learned"
        );
    }
}

#[test]
fn gradients_of_counterfactual_pairs_equal_central_differences() {
    let engine = engine(&Backend::cpu());
    let model = engine.model();
    let reft = engine.reft(&[config()]).expect("interventions");
    let sequences = collected(&engine, &reft);
    let sequences: Vec<&Sequence> = sequences.iter().collect();
    let mut theta = block_on(reft.theta.read().f32()).expect("the parameters are read");
    let loss_at = |theta: &[f32]| {
        reft.theta.write_f32(theta);
        let mut plan = Plan::new("rotations");
        reft.plan_followers(&mut plan);
        model.backend.prepare(plan).expect("a small plan").run().expect("it runs");
        let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
        let loss = trainer.step(model, &reft, &sequences, &Hyper::with_rate(0.0)).expect("a step runs");
        (block_on(loss.mean()).expect("a loss"), trainer)
    };
    let (_, trainer) = loss_at(&theta);
    let gradient = block_on(trainer.gradients().theta.read().f32()).expect("the gradient is read");
    for it in &reft.interventions {
        let range = it.parts()[0].range.clone();
        let at = range.max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs())).expect("numbers");
        let step = 1.0 / 64.0;
        let mut beside = |steps: f32| {
            let here = theta[at];
            theta[at] = here + steps * step;
            let (loss, _) = loss_at(&theta);
            theta[at] = here;
            loss
        };
        let (near, far) = (beside(1.0) - beside(-1.0), beside(2.0) - beside(-2.0));
        let want = (8.0 * near - far) / (12.0 * f64::from(step));
        let got = f64::from(gradient[at]);
        assert!((got - want).abs() < 1e-3 * want.abs().max(0.05), "layer {}: {got}, {want}", it.place.layer);
    }
}

/// Checks that something is refused as wrong input, with all of `parts` in the message.
fn refused<T>(result: Result<T>, parts: &[&str]) {
    let error = result.err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{part:?} is not in: {error}"));
}

#[test]
fn pairs_that_cannot_be_are_refused() {
    let engine = engine(&Backend::cpu());
    let sequences = |config: ReftConfig, lines: &str| {
        let example: Example = serde_json::from_str(lines).expect("an example");
        engine.sequences(&engine.reft(&[config]).expect("interventions"), &[example])
    };
    let pair = r#"{"base": "the cat", "source": "a dog", "expected": "ran"}"#;
    let loreft = ReftConfig { kind: "loreft".to_owned(), ..config() };
    refused(sequences(loreft, pair), &["example 1", "none of these interventions reads another run"]);
    let all = ReftConfig { positions: "all".to_owned(), ..config() };
    refused(sequences(all, pair), &["example 1", "source: expected", "at all"]);
    let reft = engine.reft(&[config()]).expect("interventions");
    let options = TrainOptions::default();
    let answer = [Example::answer("the cat", "ran")];
    refused(engine.training(&reft, &answer, &options), &["reads hidden states of another run"]);
    let awaited = engine.sequences(&reft, &pairs()).expect("sequences");
    let mut trainer = Trainer::new(&Backend::cpu(), &reft).expect("the state fits");
    let step = trainer.step(engine.model(), &reft, &[&awaited[0]], &Hyper::with_rate(1e-3));
    refused(step, &["sequence 0", "collect_source"]);
}

#[test]
fn a_checkpoint_knows_the_sources() {
    let engine = engine(&Backend::cpu());
    let reft = engine.reft(&[config()]).expect("interventions");
    let mut trainer = Trainer::new(&Backend::cpu(), &reft).expect("the state fits");
    let options = TrainOptions { epochs: 3, ..TrainOptions::default() };
    let mut training = engine.training(&reft, &pairs(), &options).expect("a training");
    let before = block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step");
    let file = block_on(training.checkpoint(engine.model(), &reft, &trainer)).expect("a file");
    let (again, mut other, mut resumed) = engine.resume(&file, &pairs()).expect("the same pairs");
    let next = block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step");
    assert_eq!(block_on(resumed.next(engine.model(), &again, &mut other)).expect("a step"), next);
    assert_ne!(next, before);
    let mut others = pairs();
    let Example::Counterfactual(pair) = &mut others[2] else { panic!("a pair") };
    pair.source = "up".to_owned();
    refused(engine.resume(&file, &others).map(|_| ()), &["other examples"]);
}
