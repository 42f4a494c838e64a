//! ReFT-r1 (arXiv:2501.17148, AxBench's `LsReFT`): in training a direction is as strong as it is detected, after training as the highest
//! detection.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use std::rc::Rc;
use support::differences::pseudo_random;
use support::{examples, train};
use webreft::engine::{Engine, Input};
use webreft::generate::{GenerateOptions, Persona};
use webreft::kernel::Hyper;
use webreft::reft::{Layers, Params, Reft, ReftConfig, Wanted, collect};
use webreft::train::{Sequence, TrainOptions, Trainer};

const LAYER: usize = 2;
/// AxBench's `topk`.
const K: usize = 8;
/// Of a text with fewer tokens than the strongest eight, and of one with more.
const LINES: &str = r#"{"prompt": "the cat", "completion": "ran"}
    {"prompt": "a dog ran to one house and sat on some cats there", "completion": "and then flew away"}"#;

/// The small model on the CPU and on a GPU.
fn on_each(check: impl Fn(&Engine)) {
    support::on_each_machine("golden/llama/model-q8_0.gguf", check);
}

fn reft(engine: &Engine, kind: &str) -> Reft {
    let config =
        ReftConfig { kind: kind.to_owned(), layers: Layers::List(vec![LAYER]), ..ReftConfig::default() };
    Reft::new(engine.model(), &[config]).expect("a reft")
}

fn trainer(engine: &Engine, reft: &Reft) -> Trainer {
    Trainer::new(&engine.model().backend, reft).expect("the state fits")
}

/// w, its length, b and the penalty's weight.
fn numbers(reft: &Reft) -> (Vec<f32>, f64, f32, f32) {
    let Params { projection, bias, others, .. } = block_on(reft.values()).expect("the parameters").remove(0);
    let length = dot(&projection, &projection).sqrt();
    (projection, length, bias[0], others["penalty"][0])
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// ReLU(w·h) of each token of a sequence but the first, from the strongest on.
fn latents(engine: &Engine, reft: &Reft, sequence: &Sequence) -> Vec<f64> {
    let (w, ..) = numbers(reft);
    let it = &reft.interventions[0];
    let rows = (1..sequence.tokens.len() as u32).collect();
    let wanted = Wanted { place: it.place, window: it.window(), rows };
    let states = block_on(collect(engine.model(), &sequence.tokens, &[wanted])).expect("states").remove(0);
    let mut latents: Vec<f64> = states.chunks_exact(w.len()).map(|h| dot(&w, h).max(0.0)).collect();
    latents.sort_by(|a, b| b.total_cmp(a));
    latents
}

/// The sum of the label losses of a sequence that is steered by w, so strongly, after the first token.
fn steered_loss(engine: &Engine, w: &[f32], strength: f64, sequence: &Sequence) -> f64 {
    let vector = reft(engine, "steering_vector");
    vector.theta.write_f32(&[w, &[strength as f32]].concat());
    let mut steered = sequence.clone();
    let trainer = &mut trainer(engine, &vector);
    assert_eq!(steered.edits[0].rows.len(), steered.tokens.len() - 1, "all but the first token");
    steered.edits[0].strength.fill(1.0);
    let loss = trainer.evaluate(engine.model(), &vector, &[&steered]).expect("it runs");
    block_on(loss.mean()).expect("a loss") * sequence.labels.len() as f64
}

/// The mean loss of sequences, each steered by the mean of its strongest latents.
fn cross_entropy(engine: &Engine, reft: &Reft, sequences: &[Sequence]) -> f64 {
    let (w, ..) = numbers(reft);
    let n_labels: usize = sequences.iter().map(|sequence| sequence.labels.len()).sum();
    let loss = |sequence: &Sequence| {
        let latents = latents(engine, reft, sequence);
        let k = K.min(latents.len());
        steered_loss(engine, &w, latents[..k].iter().sum::<f64>() / k as f64, sequence)
    };
    sequences.iter().map(loss).sum::<f64>() / n_labels as f64
}

/// The sum over sequences of the mean of their latents that are not among the strongest.
fn penalty(engine: &Engine, reft: &Reft, sequences: &[Sequence]) -> f64 {
    let mean = |sequence: &Sequence| {
        let latents = latents(engine, reft, sequence);
        latents.iter().skip(K).sum::<f64>() / latents.len() as f64
    };
    sequences.iter().map(mean).sum()
}

#[test]
fn in_training_a_sequence_is_steered_by_the_mean_of_its_strongest_latents() {
    on_each(|engine| {
        let reft = reft(engine, "reft_r1");
        let sequences = engine.sequences(&reft, &examples(LINES)).expect("sequences");
        assert!(sequences[0].tokens.len() - 1 < K && sequences[1].tokens.len() - 1 > K);
        let want = cross_entropy(engine, &reft, &sequences);
        let all: Vec<&Sequence> = sequences.iter().collect();
        let loss = trainer(engine, &reft).evaluate(engine.model(), &reft, &all).expect("it runs");
        let got = block_on(loss.mean()).expect("a loss");
        assert!((got - want).abs() < 2e-6 * want, "{got} for {want}");
    });
}

#[test]
fn gradients_are_differences_of_the_loss_with_its_penalty() {
    const PENALTY: f32 = 0.5;
    on_each(|engine| {
        let reft = reft(engine, "reft_r1");
        let sequences = engine.sequences(&reft, &examples(LINES)).expect("sequences");
        let all: Vec<&Sequence> = sequences.iter().collect();
        let (w, ..) = numbers(&reft);
        let set = |w: &[f32]| reft.theta.write_f32(&[w, &[1.0, PENALTY]].concat());
        set(&w);
        let trainer = &mut trainer(engine, &reft);
        trainer.step(engine.model(), &reft, &all, &Hyper::with_rate(0.0)).expect("a step runs");
        let gradient = block_on(trainer.gradients().theta.read().f32()).expect("the gradient is read");
        let (got, rest) = gradient.split_at(w.len());
        assert_eq!(rest, [0.0, 0.0], "neither b nor the penalty's weight moves");
        let (unit, length, b, _) = numbers(&reft);
        assert!((length - 1.0).abs() < 1e-6 && dot(got, &unit).abs() < 1e-5, "{length} {}", dot(got, &unit));
        let highest = all.iter().map(|sequence| latents(engine, &reft, sequence)[0]).fold(0.0, f64::max);
        assert!((f64::from(b) - highest).abs() < 1e-5 * highest, "{b} for {highest}");

        // Along directions that are orthogonal to w; over a longer step other tokens may be detected.
        let step = 1.0 / 512.0;
        for direction in pseudo_random(6 * w.len()).chunks_exact(w.len()) {
            let along = dot(direction, &w) as f32;
            let direction: Vec<f32> = direction.iter().zip(&w).map(|(d, w)| d - along * w).collect();
            let got = dot(got, &direction);
            let beside = |steps: f32| {
                let moved: Vec<f32> = w.iter().zip(&direction).map(|(w, d)| w + steps * step * d).collect();
                set(&moved);
                let penalty = penalty(engine, &reft, &sequences);
                cross_entropy(engine, &reft, &sequences) + f64::from(PENALTY) * penalty
            };
            let (near, far) = (beside(1.0) - beside(-1.0), beside(2.0) - beside(-2.0));
            let want = (8.0 * near - far) / (12.0 * f64::from(step));
            assert!(want.abs() > 1e-2 && (got - want).abs() < 3e-3 * want.abs(), "{got} for {want}");
        }
    });
}

#[test]
fn a_function_around_its_strength_is_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf");
    let engine = support::load(&webreft::backend::Backend::cpu(), path.as_ref());
    let config = ReftConfig { kind: "reft_r1".to_owned(), act: "gelu".to_owned(), ..ReftConfig::default() };
    let error = Reft::new(engine.model(), &[config]).err().expect("an error");
    assert_eq!(error.to_string(), "act gelu: reft_r1 has no function around b");
}

#[test]
fn a_trained_direction_steers_by_the_highest_latent_and_is_saved() {
    on_each(|engine| {
        let options = TrainOptions { epochs: 20, learning_rate: 3e-2, ..TrainOptions::default() };
        let [whole, in_parts] = [0, 1].map(|at_once| {
            let reft = reft(engine, "reft_r1");
            let steps = train(engine, &reft, &examples(LINES), &TrainOptions { at_once, ..options.clone() });
            let (first, last) = (steps[0].loss, steps[19].loss);
            assert!(last < first - 0.5, "{first} to {last}");
            let (.., b, penalty) = numbers(&reft);
            assert!(b > 0.1 && (penalty - 0.005 * 19.0 / 20.0).abs() < 1e-7, "{b} {penalty}");
            (last, b, reft)
        });
        assert!((whole.0 - in_parts.0).abs() < 1e-2 && (whole.1 / in_parts.1 - 1.0).abs() < 1e-2);

        let (_, b, reft) = whole;
        let file = block_on(reft.save(engine.model())).expect("a file");
        let again = engine.load_reft(&file).expect("the file is sound");
        assert_eq!(block_on(again.values()).expect("values"), block_on(reft.values()).expect("values"));
        // A steering vector with the same numbers answers the same, but for the first token, which it edits, too.
        let (w, ..) = numbers(&reft);
        let config = ReftConfig {
            kind: "steering_vector".to_owned(),
            layers: Layers::List(vec![LAYER]),
            positions: "1:+generated".to_owned(),
            tied: true,
            ..ReftConfig::default()
        };
        let vector = Reft::new(engine.model(), &[config]).expect("a reft");
        vector.theta.write_f32(&[&w[..], &[b]].concat());
        let answer = |reft: Reft, strength: f32| {
            let persona = Persona { strength, ..Persona::new(Rc::new(reft)) };
            let prompt = engine.prompt(&Input::Text("the cat".to_owned()), vec![persona]).expect("a prompt");
            let options = GenerateOptions { max_tokens: 12, ..GenerateOptions::default() };
            let mut generation = engine.generate(&[prompt], &options).expect("it begins");
            let mut ids = Vec::new();
            while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("a token") {
                ids.extend(pieces.iter().map(|piece| piece.id));
            }
            ids
        };
        let [bare, ours] = [answer(engine.load_reft(&file).expect("a file"), 0.0), answer(again, 1.0)];
        assert_ne!(bare, ours);
        assert_eq!(ours, answer(vector, 1.0));
    });
}
