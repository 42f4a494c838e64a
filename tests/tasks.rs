//! Tasks other than the next token, from examples to answers, on the smallest golden model: what is trained is learned.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use serde_json::json;
use std::rc::Rc;
use support::examples;
use webreft::ErrorKind;
use webreft::backend::{Backend, NoControl};
use webreft::engine::{Engine, Example, Input, Source};
use webreft::generate::{GenerateOptions, Persona};
use webreft::kernel::Hyper;
use webreft::reft::{Components, HeadConfig, Layers, Pooling, Reft, ReftConfig};
use webreft::train::{Task, TrainOptions, TrainStep, Trainer, reference};

fn engine() -> Engine {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf");
    support::load(&Backend::cpu(), path.as_ref())
}

fn config() -> ReftConfig {
    ReftConfig { layers: Layers::List(vec![1, 2]), rank: 2, ..ReftConfig::default() }
}

/// Trains to the end; the reports of all steps.
fn train(engine: &Engine, reft: &Reft, examples: &[Example], options: &TrainOptions) -> Vec<TrainStep> {
    let steps = support::train(engine, reft, examples, options);
    assert!(steps.iter().all(|step| step.loss.is_finite() && step.grad_norm > 0.0));
    let n_steps = engine.training(reft, examples, options).expect("a training").n_steps();
    assert!(steps.len() == n_steps || options.patience > 0);
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
    let head = HeadConfig { outputs: 3, bias: true, pooling: Pooling::Last, seed: 1 };
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

const LABELS: &str = r#"{"text": "the cat", "labels": [0, 2]}
    {"text": "a dog ran", "labels": []}
    {"text": "one house", "labels": [1]}"#;

#[test]
fn classes_that_hold_together_are_learned_by_a_head() {
    let engine = engine();
    for pooling in [Pooling::Last, Pooling::Mean] {
        let head = HeadConfig { outputs: 3, bias: true, pooling, seed: 1 };
        let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
        let steps = train(&engine, &reft, &examples(LABELS), &options(60));
        let last = steps.last().expect("steps");
        assert!(last.loss < 0.1 && last.accuracy == Some(1.0), "{last:?}");
        let file = block_on(reft.save(engine.model())).expect("a file");
        let again = engine.load_reft(&file).expect("the file loads, head and all");
        let texts = ["the cat", "a dog ran", "one house"].map(str::to_owned);
        let scores = block_on(engine.scores(&again, &texts)).expect("scores");
        let holds: Vec<Vec<bool>> = scores.iter().map(|of| of.iter().map(|s| *s > 0.0).collect()).collect();
        assert_eq!(holds, [[true, false, true], [false; 3], [false, true, false]], "{scores:?}");
        let head = HeadConfig { bias: false, ..head };
        let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
        let written = block_on(engine.export_reft(&reft, "pyreft"));
        assert_eq!(written.is_ok(), pooling == Pooling::Last, "Transformers' score reads the last token");
    }
}

/// Central differences of the loss along the steepest parameter of each part, and of the head, which reads edited states.
#[test]
fn gradients_through_a_head_are_right() {
    on_each_backend(|engine| {
        let model = engine.model();
        let numbers = r#"{"text": "the cat", "values": [1.5, -0.5, 0.25]}
            {"text": "a dog ran", "values": [-1.0, 0.25, 2.0]}"#;
        for (lines, task) in [(LABELS, Task::MultiLabel), (numbers, Task::Regression)] {
            for pooling in [Pooling::Last, Pooling::Mean] {
                let head = HeadConfig { outputs: 3, bias: true, pooling, seed: 1 };
                let config =
                    ReftConfig { kind: "nodireft".to_owned(), positions: "all".to_owned(), ..config() };
                let reft = Reft::with_head(model, &[config], Some(head)).expect("a reft");
                let sequences = engine.sequences(&reft, &examples(lines)).expect("sequences");
                let sequences: Vec<_> = sequences.iter().collect();
                let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
                trainer.task = task;
                trainer.step(model, &reft, &sequences, &Hyper::with_rate(0.0)).expect("a step");
                let gradient = block_on(trainer.gradients().theta.read().f32()).expect("a gradient");
                let theta = block_on(reft.theta.read().f32()).expect("parameters");
                let parts = reft.interventions.iter().flat_map(|it| it.parts()).map(|part| part.range);
                let w_at = reft.head.expect("a head").dense.w_at;
                for range in parts.chain([w_at..theta.len() - 3, theta.len() - 3..theta.len()]) {
                    let at = range.max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs()));
                    let at = at.expect("a part has numbers");
                    let mut beside = |steps: f32| {
                        let mut moved = theta.clone();
                        moved[at] += steps / 32.0;
                        reft.theta.write_f32(&moved);
                        let loss = trainer.evaluate(model, &reft, &sequences).expect("an evaluation");
                        block_on(loss.mean()).expect("a loss")
                    };
                    let (near, far) = (beside(1.0) - beside(-1.0), beside(2.0) - beside(-2.0));
                    let want = 32.0 * (8.0 * near - far) / 12.0;
                    let off = (f64::from(gradient[at]) - want).abs();
                    assert!(
                        off < 1e-2 * want.abs() + 1e-4,
                        "{pooling:?} {task:?} {at}: {} for {want}",
                        gradient[at]
                    );
                }
                reft.theta.write_f32(&theta);
            }
        }
    });
}

#[test]
fn numbers_are_learned_by_a_head() {
    let engine = engine();
    let lines = r#"{"text": "the cat", "values": [1.5, -0.5]}
        {"text": "a dog ran", "values": [-1.0, 0.25]}"#;
    let head = HeadConfig { outputs: 2, bias: false, pooling: Pooling::Last, seed: 1 };
    let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let steps = train(&engine, &reft, &examples(lines), &options(80));
    assert!(steps.last().expect("steps").loss < 0.02, "{:?}", steps.last());
}

#[test]
fn the_better_answer_gets_the_higher_reward() {
    let engine = engine();
    let lines = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat down"}
        {"prompt": "a dog", "chosen": "sat", "rejected": "flew away"}"#;
    let head = HeadConfig { outputs: 1, bias: false, pooling: Pooling::Last, seed: 1 };
    let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let steps = train(&engine, &reft, &examples(lines), &options(30));
    assert!(steps[0].loss > 0.3 && steps.last().expect("steps").loss < 0.05, "{steps:?}");
    assert_eq!(steps.last().expect("steps").accuracy, Some(1.0), "every pair is told apart");
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
    assert_eq!(steps.last().expect("steps").accuracy, Some(1.0));
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
    let head = HeadConfig { outputs: 3, bias: false, pooling: Pooling::Last, seed: 0 };
    let three = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let labelled = r#"{"text": "the cat", "label": 3}"#;
    let pair = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat"}"#;
    let mixed = r#"{"text": "the cat", "label": 0}
        {"prompt": "the cat", "completion": "ran"}"#;
    let wrong = [
        (&bare, labelled, "wants a head"),
        (&three, labelled, "Class(3) for a head of 3 outputs"),
        (&three, r#"{"text": "the cat", "labels": [0, 3]}"#, "Classes([0, 3]) for a head of 3 outputs"),
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
    support::on_each_machine("golden/llama/model-q8_0.gguf", check);
}

/// Trains to the end, and again and again with a checkpoint on the way.
fn check_resume(engine: &Engine, options: &TrainOptions, left_after: &[usize]) {
    let (model, pairs) = (engine.model(), examples(PAIRS));
    let whole = {
        let reft = Reft::new(model, &[config()]).expect("a reft");
        let steps = train(engine, &reft, &pairs, options);
        (steps, block_on(reft.save(model)).expect("a file"))
    };
    for &left_after in left_after {
        let mut steps = Vec::new();
        let file = {
            let reft = Reft::new(model, &[config()]).expect("a reft");
            let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
            let mut training = engine.training(&reft, &pairs, options).expect("a training");
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
}

#[test]
fn a_training_goes_on_from_its_checkpoint_bit_for_bit() {
    on_each_backend(|engine| {
        let options =
            TrainOptions { batch_size: 2, max_grad_norm: 1.0, schedule: "cosine".to_owned(), ..options(4) };
        check_resume(engine, &options, &[0, 1, 5, 7]);
    });
}

/// The loss in validation falls for some epochs of this training and then rises.
fn overdone() -> TrainOptions {
    TrainOptions {
        batch_size: 2,
        validation: 0.3,
        patience: 3,
        keep_best: true,
        learning_rate: 4e-2,
        seed: 1,
        ..options(30)
    }
}

#[test]
fn what_is_dropped_goes_on_from_a_checkpoint_too() {
    on_each_backend(|engine| {
        let options = TrainOptions { batch_size: 2, at_once: 1, dropout: 0.3, seed: 7, ..options(3) };
        check_resume(engine, &options, &[1, 4]);
    });
}

/// With the learning rate so small that nothing moves, a validation on what is learned says what a step without dropout says.
#[test]
fn only_steps_drop_anything() {
    on_each_backend(|engine| {
        let twice = [examples(PAIRS), examples(PAIRS)].concat();
        for kind in ["loreft", "consreft", "lora"] {
            let component = if kind == "lora" { "mlp_output" } else { "block_output" };
            let config = ReftConfig { kind: kind.to_owned(), component: component.into(), ..config() };
            let run = |dropout: f32| {
                let reft = Reft::new(engine.model(), std::slice::from_ref(&config)).expect("a reft");
                let mut theta = block_on(reft.theta.read().f32()).expect("parameters");
                theta.iter_mut().filter(|p| **p == 0.0).for_each(|p| *p = 0.1); // a LoRA starts as nothing
                if kind == "lora" {
                    reft.theta.write_f32(&theta);
                }
                let options = TrainOptions { validation: 5.0, dropout, learning_rate: 1e-30, ..options(2) };
                train(engine, &reft, &twice, &options)
            };
            let (plain, dropped) = (run(0.0), run(0.5));
            for (plain, dropped) in plain.iter().zip(&dropped) {
                assert_eq!(
                    plain.validation_loss,
                    dropped.validation_loss,
                    "{kind}, {}",
                    engine.info().device
                );
                assert!((plain.loss - dropped.loss).abs() > 1e-5, "{kind}: {} {}", plain.loss, dropped.loss);
            }
            assert_ne!(dropped[0].loss, dropped[1].loss, "each step drops others");
        }
    });
}

#[test]
fn a_dropout_that_cannot_be_is_refused() {
    let engine = engine();
    let reft = Reft::new(engine.model(), &[config()]).expect("a reft");
    let head = HeadConfig { outputs: 3, bias: false, pooling: Pooling::Last, seed: 1 };
    let zero = ReftConfig { kind: "zero".to_owned(), ..config() };
    let zero = Reft::with_head(engine.model(), &[zero], Some(head)).expect("a reft");
    for (reft, lines, dropout, part) in [
        (&reft, PAIRS, 1.0, "dropout 1: expected 0 or more, and below 1"),
        (&reft, PAIRS, -0.1, "dropout -0.1: expected 0 or more, and below 1"),
        (&reft, PAIRS, f32::NAN, "dropout NaN: expected 0 or more, and below 1"),
        (&zero, LABELS, 0.1, "no place for it"),
    ] {
        let options = TrainOptions { dropout, ..options(2) };
        let error = engine.training(reft, &examples(lines), &options).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn patience_and_the_best_parameters_go_on_from_a_checkpoint_too() {
    on_each_backend(|engine| check_resume(engine, &overdone(), &[1, 3, 4, 6, 7, 9, 10]));
}

/// The bits of all parameters.
fn parameters(reft: &Reft) -> Vec<u32> {
    let theta = block_on(reft.theta.read().words()).expect("the parameters are read");
    let turned = block_on(reft.rotations_tensor().read().words()).expect("the rotations are read");
    [theta, turned].concat()
}

#[test]
fn what_is_held_back_is_not_learned() {
    on_each_backend(|engine| {
        let run = |pairs: &[Example], options: &TrainOptions| {
            let reft = Reft::new(engine.model(), &[config()]).expect("a reft");
            let steps = train(engine, &reft, pairs, options);
            (steps, parameters(&reft))
        };
        let plain = TrainOptions { batch_size: 2, ..options(3) };
        let (with, without) = (
            run(&examples(PAIRS), &TrainOptions { validation: 2.0, ..plain.clone() }),
            run(&examples(PAIRS)[..3], &plain),
        );
        assert_eq!(with.1, without.1, "{}", engine.model().backend.name());
        for (with, without) in with.0.iter().zip(&without.0) {
            assert_eq!(with.validation_loss.is_some(), with.epoch_ends);
            let of_learning = TrainStep { validation_loss: None, validation_accuracy: None, ..*with };
            assert_eq!(of_learning, *without);
        }
        let share = TrainOptions { validation: 0.4, ..plain };
        let of_seed = |seed: u64| run(&examples(PAIRS), &TrainOptions { seed, ..share.clone() });
        assert_eq!(of_seed(1), of_seed(1));
        let held = |seed: u64| of_seed(seed).0[1].validation_loss.expect("an epoch ends");
        assert!((1..5).any(|seed| (held(seed) - held(0)).abs() > 1e-3), "another seed draws others");
    });
}

/// What is held back is once more what is learned: its loss after a step is the loss before the next.
#[test]
fn validation_asks_for_the_tasks_own_loss() {
    let answers = r#"{"prompt": "the cat", "completion": "ran away"}
        {"prompt": "a dog", "completion": "sat"}"#;
    let classes = r#"{"text": "the cat", "label": 0}
        {"text": "a dog ran", "label": 2}"#;
    let numbers = r#"{"text": "the cat", "values": [1.5, -0.5, 0.0]}
        {"text": "a dog ran", "values": [-1.0, 0.25, 1.0]}"#;
    let pairs = r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat down"}
        {"prompt": "a dog", "chosen": "sat", "rejected": "flew away"}"#;
    on_each_backend(|engine| {
        for (lines, outputs) in
            [(answers, 0), (classes, 3), (LABELS, 3), (numbers, 3), (pairs, 1), (pairs, 0)]
        {
            let head =
                (outputs > 0).then_some(HeadConfig { outputs, bias: true, pooling: Pooling::Last, seed: 1 });
            let once = examples(lines);
            let twice = [once.clone(), once.clone()].concat();
            for at_once in [0, 1] {
                let reft = Reft::with_head(engine.model(), &[config()], head).expect("a reft");
                let options = TrainOptions { validation: once.len() as f64, at_once, ..options(4) };
                let steps = train(engine, &reft, &twice, &options);
                for pair in steps.windows(2) {
                    let after = pair[0].validation_loss.expect("each step ends an epoch");
                    let off = (after - pair[1].loss).abs();
                    assert!(off < 1e-5, "{lines}: {after} for {}, {}", pair[1].loss, engine.info().device);
                    assert_eq!(pair[0].validation_accuracy, pair[1].accuracy, "{lines}");
                    assert_eq!(pair[0].accuracy.is_none(), lines == numbers);
                }
            }
        }
    });
}

/// The share of what is true.
fn share(right: &[bool]) -> Option<f64> {
    Some(right.iter().filter(|right| **right).count() as f64 / right.len() as f64)
}

fn likeliest(scores: &[f32]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).expect("there are scores")
}

#[test]
fn accuracy_is_the_share_of_right_classes() {
    let texts = ["the cat", "a dog ran", "one house", "some cats", "two dogs"].map(str::to_owned);
    on_each_backend(|engine| {
        let head = HeadConfig { outputs: 2, bias: false, pooling: Pooling::Last, seed: 1 };
        let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
        let scores = block_on(engine.scores(&reft, &texts)).expect("scores");
        let right: Vec<bool> = scores.iter().map(|scores| likeliest(scores) == 1).collect();
        assert!(right.contains(&true) && right.contains(&false), "{scores:?}");
        let lines = texts.each_ref().map(|text| format!(r#"{{"text": "{text}", "label": 1}}"#));
        let steps = train(engine, &reft, &examples(&lines.join("\n")), &options(1));
        assert_eq!(steps[0].accuracy, share(&right), "{}", engine.info().device);
    });
}

#[test]
fn accuracy_is_the_share_of_likeliest_tokens() {
    on_each_backend(|engine| {
        let (model, n_vocab) = (engine.model(), engine.info().n_vocab);
        let reft = Reft::new(model, &[config()]).expect("a reft");
        let mut sequences = engine.sequences(&reft, &examples(PAIRS)).expect("sequences");
        let mut right = Vec::new();
        for sequence in &mut sequences {
            let logits = support::logits(model, Some(&reft), &[sequence]);
            let foretold = |row: usize| likeliest(&logits[row * n_vocab..][..n_vocab]) as u32;
            sequence.labels[0].1 = foretold(sequence.labels[0].0); // a toy is seldom right by itself
            right.extend(sequence.labels.iter().map(|(row, id)| foretold(*row) == *id));
        }
        assert!(right.contains(&true) && right.contains(&false));
        let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
        let sequences: Vec<_> = sequences.iter().collect();
        let before = trainer.evaluate(model, &reft, &sequences).expect("an evaluation");
        let step = trainer.step(model, &reft, &sequences, &Hyper::with_rate(1e-2)).expect("a step");
        for loss in [before, step] {
            assert_eq!(block_on(loss.report()).expect("a report").accuracy, share(&right));
        }
    });
}

#[test]
fn patience_ends_a_training_and_the_best_parameters_stay() {
    on_each_backend(|engine| {
        let model = engine.model();
        let run = |options: &TrainOptions| {
            let reft = Reft::new(model, &[config()]).expect("a reft");
            let steps = train(engine, &reft, &examples(PAIRS), options);
            let losses: Vec<f64> = steps.iter().filter_map(|step| step.validation_loss).collect();
            (losses, parameters(&reft))
        };
        let options = overdone();
        let (losses, kept) = run(&options);
        let lowest = losses.iter().copied().fold(f64::MAX, f64::min);
        let best = losses.iter().position(|loss| *loss == lowest).expect("there is a lowest") + 1;
        assert!(best > 1 && losses.len() == best + options.patience, "{losses:?}, {}", engine.info().device);
        let till_then = TrainOptions { epochs: best, keep_best: false, ..options.clone() };
        assert_eq!(run(&till_then), (losses[..best].to_vec(), kept.clone()), "those of the best epoch");
        let (same, last) = run(&TrainOptions { keep_best: false, ..options });
        assert_eq!(same, losses);
        assert_ne!(last, kept, "without keeping, those of the last");
    });
}

#[test]
fn a_validation_that_cannot_be_is_refused() {
    let engine = engine();
    let reft = Reft::new(engine.model(), &[config()]).expect("a reft");
    let of = |validation: f64| TrainOptions { validation, ..options(2) };
    let wrong = [
        (of(-0.5), "a share below 1, or a count"),
        (of(f64::NAN), "a share below 1, or a count"),
        (of(1.5), "a share below 1, or a count"),
        (of(5.0), "of 5 examples none is left"),
        (of(0.95), "of 5 examples none is left"),
        (TrainOptions { patience: 2, ..options(2) }, "patience wants a validation"),
        (TrainOptions { keep_best: true, ..options(2) }, "keepBest wants a validation"),
    ];
    for (options, part) in wrong {
        let error = engine.training(&reft, &examples(PAIRS), &options).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
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
fn a_checkpoint_of_another_training_is_refused_with_all_differences() {
    let engine = engine();
    let reft = Reft::new(engine.model(), &[config()]).expect("a reft");
    let trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
    let pairs = examples(PAIRS);
    let mut training = engine.training(&reft, &pairs, &options(2)).expect("a training");
    let file = block_on(training.checkpoint(engine.model(), &reft, &trainer)).expect("a file");
    let asked = |config: ReftConfig, options: TrainOptions| json!({ "configs": [config], "head": Option::<HeadConfig>::None, "options": options });
    for same in [asked(config(), options(2)), json!({"options": {"epochs": 2, "validation": 0}})] {
        assert_eq!(engine.resume_as(&file, &pairs, &same).err(), None);
    }
    let mut others = pairs.clone();
    others.swap(1, 3);
    let other = ReftConfig { rank: 3, ..config() };
    let error = engine.resume_as(&file, &others, &asked(other, TrainOptions { seed: 5, ..options(7) }));
    let error = error.err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(
        error.to_string(),
        "the checkpoint is of another training: configs[0].rank is 2 in it, asked for is 3; \
         options.epochs is 2 in it, asked for is 7; options.seed is 0 in it, asked for is 5; \
         other examples have the numbers 2, 4; go on with the same, or begin without the checkpoint"
    );
}

/// The same texts with another class are other examples.
#[test]
fn a_checkpoint_knows_labels() {
    let engine = engine();
    let head = HeadConfig { outputs: 3, bias: true, pooling: Pooling::Last, seed: 1 };
    let reft = Reft::with_head(engine.model(), &[config()], Some(head)).expect("a reft");
    let trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
    let lines = |label: u32| examples(&format!(r#"{{"text": "the cat", "label": {label}}}"#));
    let mut training = engine.training(&reft, &lines(0), &options(2)).expect("a training");
    let file = block_on(training.checkpoint(engine.model(), &reft, &trainer)).expect("a file");
    let error = engine.resume(&file, &lines(1)).err().expect("an error");
    assert!(error.to_string().contains("other examples have the numbers 1"), "{error}");
}

#[test]
fn a_training_that_edits_nothing_is_refused() {
    let engine = engine();
    let with = |positions: &str| ReftConfig { positions: positions.to_owned(), ..config() };
    for (positions, word) in [("500", "500"), ("3:1", "3:1"), ("f1+-90", "-90")] {
        let reft = Reft::new(engine.model(), &[with("l1"), with(positions)]).expect("a reft");
        let error = engine.training(&reft, &examples(PAIRS), &options(2)).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::Input);
        let begin =
            format!("positions \"{word}\" in layer 1: no token of any example is edited, so that nothing");
        let end = "the prompts have 4 to 10 tokens, counted from 0";
        assert!(error.to_string().starts_with(&begin) && error.to_string().ends_with(end), "{error}");
    }
    let reft = Reft::new(engine.model(), &[with("2")]).expect("a reft");
    assert!(engine.training(&reft, &examples(PAIRS), &options(2)).is_ok(), "some prompts have a third token");
}

/// The one token is edited by the intervention of its first end alone.
#[test]
fn prompts_of_one_token_can_be_learned() {
    let engine = engine();
    let prompts = examples(r#"{"prompt": "", "completion": "cat"}"#);
    let refused = |positions: &str| {
        let config = ReftConfig { positions: positions.to_owned(), ..config() };
        let reft = Reft::new(engine.model(), &[config]).expect("a reft");
        engine.training(&reft, &prompts, &options(2)).err().map(|error| error.to_string())
    };
    assert_eq!(refused("f1+l1"), None);
    let error = refused("f1+-2").expect("an error");
    assert!(error.ends_with("the prompts have 1 tokens, counted from 0"), "{error}");
}

#[test]
fn what_is_frozen_is_not_computed_again_and_the_losses_are_the_same() {
    on_each_backend(|engine| {
        let model = engine.model();
        let choices =
            [("block_output", "f1+l1"), ("mlp_input", "f1+l1"), ("block_output", "l1"), ("mlp_input", "l2")];
        for (component, positions) in choices {
            let config =
                ReftConfig { component: component.into(), positions: positions.to_owned(), ..config() };
            let run = |keep: bool| {
                let reft = Reft::new(model, std::slice::from_ref(&config)).expect("a reft");
                let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
                let mut sequences = engine.sequences(&reft, &examples(PAIRS)).expect("sequences");
                if keep {
                    block_on(trainer.keep_states(model, &reft, &mut sequences, &NoControl))
                        .expect("they find room");
                    for kept in sequences.iter().map(|sequence| sequence.kept.expect("it is kept")) {
                        assert_eq!(kept.skipped > 0, positions.starts_with('l'), "{positions}: {kept:?}");
                    }
                }
                let sequences: Vec<_> = sequences.iter().collect();
                let step = |_| {
                    let loss = trainer.step(model, &reft, &sequences, &Hyper::with_rate(1e-2));
                    let loss = block_on(loss.expect("a step").report()).expect("a loss");
                    [loss.mean, loss.grad_norm]
                };
                let losses: Vec<[f64; 2]> = (0..5).map(step).collect();
                (losses, trainer.last_plan().expect("a plan").plan().steps().len())
            };
            let ((kept, n_kept), (again, n_again)) = (run(true), run(false));
            assert!(n_kept < n_again, "{n_kept} dispatches, {n_again} without");
            for (kept, again) in kept.as_flattened().iter().zip(again.as_flattened()) {
                let backend = model.backend.name();
                assert!((kept - again).abs() < 1e-5 * again.max(1.0), "{kept} for {again}, {backend}");
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
