//! Reference-free preference steering (RePS, arXiv:2505.20809): the loss is the paper's, gradients are its differences, and what is
//! learned is turned on by strengths above 0 and off below.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use support::{examples, train};
use webreft::ErrorKind;
use webreft::engine::Engine;
use webreft::kernel::Hyper;
use webreft::reft::{HeadConfig, Layers, Pooling, Reft, ReftConfig};
use webreft::train::{Sequence, Task, TrainOptions, Trainer, reference};

const PAIRS: &str = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat down"}
    {"prompt": "a dog", "chosen": "sat on a house", "rejected": "flew"}"#;
/// Answers that the bare model finds about as likely: none of them counts for much more than the other.
const EVEN: &str = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat"}
    {"prompt": "a dog", "chosen": "sat", "rejected": "ran"}"#;
/// The strength at which the loss is compared.
const STRENGTH: f32 = 2.0;

/// The small model on the CPU and on a GPU.
fn on_each(check: impl Fn(&Engine)) {
    support::on_each_machine("golden/llama/model-q8_0.gguf", check);
}

fn loreft(engine: &Engine) -> Reft {
    let config = ReftConfig { layers: Layers::List(vec![1, 2]), rank: 2, ..ReftConfig::default() };
    Reft::new(engine.model(), &[config]).expect("a reft")
}

fn options(epochs: usize) -> TrainOptions {
    TrainOptions {
        epochs,
        learning_rate: 1e-2,
        preference_loss: "reps".to_owned(),
        strengths: vec![STRENGTH],
        ..TrainOptions::default()
    }
}

/// A sequence whose edits are so strong.
fn scaled(sequence: &Sequence, strength: f32) -> Sequence {
    let mut scaled = sequence.clone();
    scaled.edits.iter_mut().flat_map(|edits| &mut edits.strength).for_each(|s| *s *= strength);
    scaled
}

/// The log-probability of a sequence's labels with its edits.
fn log_probability(engine: &Engine, reft: &Reft, sequence: &Sequence) -> f64 {
    let mut trainer = Trainer::new(&engine.model().backend, reft).expect("the state fits");
    let loss = trainer.evaluate(engine.model(), reft, &[sequence]).expect("it runs");
    -block_on(loss.mean()).expect("a loss") * sequence.labels.len() as f64
}

/// The mean of the losses of pairs, after the paper's section 3: of each pair of answers one with edits as strong as asked for, and one
/// with edits turned around.
fn loss_of_the_paper(engine: &Engine, reft: &Reft, answers: &[Sequence]) -> f64 {
    let all: Vec<&Sequence> = answers.iter().collect();
    let bare = block_on(reference(engine.model(), &all)).expect("references"); // nats
    let term = |[winner, loser]: [usize; 2], strength: f32| {
        let mean = |number: usize| {
            let sequence = scaled(&answers[number], strength);
            log_probability(engine, reft, &sequence) / sequence.labels.len() as f64
        };
        let weight = f64::from(bare[winner] - bare[loser]).max(1.0);
        let margin = weight * mean(winner) - mean(loser);
        (-margin).exp().ln_1p()
    };
    let pairs = (0..answers.len() / 2).map(|pair| [2 * pair, 2 * pair + 1]);
    let of_pair = |[chosen, rejected]: [usize; 2]| {
        term([chosen, rejected], STRENGTH) + term([rejected, chosen], -STRENGTH)
    };
    pairs.map(of_pair).sum::<f64>() / answers.len() as f64
}

/// The four sequences of each pair of answers.
fn fours(answers: &[Sequence]) -> Vec<Sequence> {
    let four = |pair: &[Sequence]| {
        let [chosen, rejected] = [&pair[0], &pair[1]];
        let [on, off] = [STRENGTH, -STRENGTH];
        [scaled(chosen, on), scaled(rejected, on), scaled(rejected, off), scaled(chosen, off)]
    };
    answers.chunks_exact(2).flat_map(four).collect()
}

#[test]
fn the_loss_of_a_training_is_that_of_the_paper() {
    on_each(|engine| {
        let reft = loreft(engine);
        let answers = engine.sequences(&reft, &examples(PAIRS)).expect("sequences");
        let before = loss_of_the_paper(engine, &reft, &answers);
        let steps = train(engine, &reft, &examples(PAIRS), &options(2));
        assert!((steps[0].loss - before).abs() < 1e-6 * before, "{} for {before}", steps[0].loss);
    });
}

#[test]
fn gradients_are_differences_of_the_loss_of_the_paper() {
    on_each(|engine| {
        let (reft, step) = (loreft(engine), 1.0 / 64.0);
        let answers = engine.sequences(&reft, &examples(PAIRS)).expect("sequences");
        let references = block_on(reference(engine.model(), &answers.iter().collect::<Vec<_>>()));
        let references = references.expect("references");
        let mut sequences = fours(&answers);
        for (four, bare) in sequences.chunks_exact_mut(4).zip(references.chunks_exact(2)) {
            for (sequence, of) in four.iter_mut().zip([0, 1, 1, 0]) {
                sequence.reference = bare[of];
            }
        }
        let theta = block_on(reft.theta.read().f32()).expect("the parameters are read");
        let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
        trainer.task = Task::Steering;
        let batch: Vec<&Sequence> = sequences.iter().collect();
        trainer.step(engine.model(), &reft, &batch, &Hyper::with_rate(0.0)).expect("a step runs");
        let gradient = block_on(trainer.gradients().theta.read().f32()).expect("the gradient is read");
        for (_, it) in reft.owners() {
            for part in it.parts().iter().filter(|part| ["weight", "bias"].contains(&part.name)) {
                let steepest =
                    part.range.clone().max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs()));
                let at = steepest.expect("a part has numbers");
                let beside = |steps: f32| {
                    let mut moved = theta.clone();
                    moved[at] += steps * step;
                    reft.theta.write_f32(&moved);
                    loss_of_the_paper(engine, &reft, &answers)
                };
                let (near, far) = (beside(1.0) - beside(-1.0), beside(2.0) - beside(-2.0));
                let want = (8.0 * near - far) / (12.0 * f64::from(step));
                let got = f64::from(gradient[at]);
                assert!(got.abs() > 1e-3 && (got - want).abs() <= 2e-2 * want.abs(), "{got} for {want}");
            }
        }
        reft.theta.write_f32(&theta);
    });
}

#[test]
fn what_is_learned_is_brought_about_and_suppressed() {
    on_each(|engine| {
        let reft = loreft(engine);
        let options = TrainOptions { strengths: vec![1.0, STRENGTH], learning_rate: 4e-2, ..options(60) };
        let steps = train(engine, &reft, &examples(EVEN), &options);
        let last = steps.last().expect("steps");
        assert!(last.loss < 0.5 * steps[0].loss && last.accuracy == Some(1.0), "{last:?}");
        for pair in engine.sequences(&reft, &examples(EVEN)).expect("sequences").chunks_exact(2) {
            let margin = |strength: f32| {
                let [chosen, rejected] = [0, 1].map(|answer| {
                    let sequence = scaled(&pair[answer], strength);
                    log_probability(engine, &reft, &sequence) / sequence.labels.len() as f64
                });
                chosen - rejected
            };
            let [on, off] = [margin(STRENGTH), margin(-STRENGTH)];
            assert!(on > 0.5 && off < -0.5, "{on} and {off}, {}", margin(0.0));
        }
    });
}

#[test]
fn a_training_with_drawn_strengths_goes_on_from_its_checkpoint() {
    on_each(|engine| {
        let (model, pairs) = (engine.model(), examples(PAIRS));
        let options = TrainOptions { batch_size: 1, strengths: vec![0.5, 1.0, 2.0], ..options(3) };
        let whole = loreft(engine);
        let wanted = train(engine, &whole, &pairs, &options);
        let reft = loreft(engine);
        let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
        let mut training = engine.training(&reft, &pairs, &options).expect("a training");
        let mut steps = Vec::new();
        for _ in 0..3 {
            steps.extend(block_on(training.next(model, &reft, &mut trainer)).expect("a step"));
        }
        let file = block_on(training.checkpoint(model, &reft, &trainer)).expect("a file");
        let (reft, mut trainer, mut training) = engine.resume(&file, &pairs).expect("it goes on");
        while let Some(step) = block_on(training.next(model, &reft, &mut trainer)).expect("a step") {
            steps.push(step);
        }
        assert_eq!(steps, wanted);
        let saved = |reft: &Reft| block_on(reft.save(model)).expect("a file");
        assert_eq!(saved(&reft), saved(&whole));
    });
}

#[test]
fn what_cannot_be_steered_is_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf");
    let engine = support::load(&webreft::backend::Backend::cpu(), path.as_ref());
    let refused = |reft: &Reft, lines: &str, options: &TrainOptions| {
        let error = engine.training(reft, &examples(lines), options).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::Input);
        error.to_string()
    };
    let reft = loreft(&engine);
    let answers = r#"{"prompt": "the cat", "completion": "ran"}"#;
    assert!(refused(&reft, answers, &options(1)).contains("expected examples with `chosen` and `rejected`"));
    let of = |preference_loss: &str, strengths: &[f32]| TrainOptions {
        preference_loss: preference_loss.to_owned(),
        strengths: strengths.to_vec(),
        ..options(1)
    };
    let error = refused(&reft, PAIRS, &of("ipo", &[1.0]));
    assert!(error.contains("ipo") && error.contains("dpo") && error.contains("reps"), "{error}");
    assert_eq!(refused(&reft, PAIRS, &of("reps", &[1.0, 0.0])), "strengths: 0: expected a number above 0");
    assert_eq!(refused(&reft, PAIRS, &of("reps", &[])), "strengths: expected at least one");
    let error = refused(&reft, PAIRS, &of("dpo", &[2.0]));
    assert_eq!(error, "strengths: only preferenceLoss reps draws from them");

    let model = engine.model();
    let head = HeadConfig { outputs: 1, bias: true, pooling: Pooling::Last, seed: 1 };
    let with_head = Reft::with_head(model, &reft.configs, Some(head)).expect("a reft");
    assert!(refused(&with_head, PAIRS, &options(1)).contains("interventions without a head"));
    let prompt = ReftConfig { kind: "prompt_tuning".to_owned(), rank: 2, ..ReftConfig::default() };
    let virtual_tokens = Reft::new(model, &[prompt]).expect("a reft");
    let error = refused(&virtual_tokens, PAIRS, &options(1));
    assert!(error.contains("prompt_tuning edits nothing; use dpo"), "{error}");
}
