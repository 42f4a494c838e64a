//! A training that stops being finite ends with an error, and what it leaves can be used.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use webreft::engine::{Engine, Example};
use webreft::reft::{HeadConfig, Layers, Pooling, Reft, ReftConfig};
use webreft::train::{TrainOptions, TrainStep, Trainer};
use webreft::{Error, ErrorKind};

/// The small model on the CPU and on a GPU.
fn on_each(check: impl Fn(&Engine)) {
    support::on_each_machine("golden/llama/model-q8_0.gguf", check);
}

fn reft(engine: &Engine) -> Reft {
    let config = ReftConfig { layers: Layers::List(vec![1, 2]), rank: 2, ..ReftConfig::default() };
    engine.reft(&[config]).expect("interventions")
}

fn examples() -> Vec<Example> {
    vec![Example::answer("the cat", "sat on it"), Example::answer("a dog ran", "to the house")]
}

fn values(reft: &Reft) -> Vec<u32> {
    let theta = block_on(reft.theta.read().f32()).expect("the parameters are read");
    assert!(theta.iter().all(|value| value.is_finite()), "a parameter is not finite");
    theta.iter().map(|value| value.to_bits()).collect()
}

/// What a training reports until it ends with an error.
struct Ended {
    steps: Vec<TrainStep>,
    /// The parameters at its start, and after each report.
    values: Vec<Vec<u32>>,
    error: Error,
}

fn train(engine: &Engine, reft: &Reft, examples: &[Example], options: &TrainOptions) -> Ended {
    let model = engine.model();
    let mut trainer = Trainer::new(&model.backend, reft).expect("the state fits");
    let mut training = engine.training(reft, examples, options).expect("a training");
    let (mut steps, mut after) = (Vec::new(), vec![values(reft)]);
    let error = loop {
        match block_on(training.next(model, reft, &mut trainer)) {
            Ok(step) => {
                let step = step.expect("an error before the end");
                assert!(step.loss.is_finite() && step.grad_norm.is_finite());
                steps.push(step);
                if step.step < step.steps {
                    after.push(values(reft)); // those after the last step may be infinite
                }
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Input);
    let again = block_on(training.next(model, reft, &mut trainer)).expect_err("it has ended");
    let checkpoint = block_on(training.checkpoint(model, reft, &trainer)).expect_err("it has ended");
    assert_eq!([&again, &checkpoint], [&error, &error]);
    Ended { steps, values: after, error }
}

/// What a training left is saved, and learns with a lower rate.
fn check_usable(engine: &Engine, reft: &Reft) {
    values(reft);
    block_on(reft.save(engine.model())).expect("it is saved");
    let options = TrainOptions { epochs: 3, learning_rate: 1e-3, ..TrainOptions::default() };
    let mut trainer = Trainer::new(&engine.model().backend, reft).expect("the state fits");
    let mut training = engine.training(reft, &examples(), &options).expect("a training");
    while let Some(step) = block_on(training.next(engine.model(), reft, &mut trainer)).expect("a step") {
        assert!(step.loss.is_finite(), "{step:?}");
    }
}

#[test]
fn a_loss_that_is_not_finite_gives_back_the_parameters_before() {
    on_each(|engine| {
        let reft = reft(engine);
        let options = TrainOptions { epochs: 30, learning_rate: 1e30, ..TrainOptions::default() };
        let Ended { steps, values: after, error } = train(engine, &reft, &examples(), &options);
        let (n, error) = (steps.len() + 1, error.to_string());
        let begin = format!("step {n} of 30: the ");
        let end = format!("the interventions have the parameters from before step {}", n - 1);
        assert!(error.starts_with(&begin) && error.ends_with(&end), "{error}");
        assert!(error.contains("a lower rate, 1"), "{error}");
        assert_eq!(values(&reft), after[n - 2], "{}", engine.info().device);
        check_usable(engine, &reft);
    });
}

#[test]
fn the_best_parameters_are_given_back_where_they_are_kept() {
    on_each(|engine| {
        let reft = reft(engine);
        let (epochs, warmup_steps) = (8, 4);
        let options = TrainOptions { epochs, warmup_steps, learning_rate: 1e30, ..TrainOptions::default() };
        let options = TrainOptions { validation: 1.0, keep_best: true, ..options };
        let Ended { steps, values: after, error } = train(engine, &reft, &examples(), &options);
        let losses: Vec<f64> = steps.iter().map(|step| step.validation_loss.expect("a validation")).collect();
        let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b]));
        let best = best.unwrap_or_else(|| panic!("no step before {error}"));
        assert!(error.to_string().ends_with("the parameters of the lowest validation loss"), "{error}");
        assert_eq!(values(&reft), after[best + 1]);
        check_usable(engine, &reft);
    });
}

#[test]
fn parameters_that_the_last_step_made_infinite_are_not_saved() {
    on_each(|engine| {
        let reft = reft(engine);
        let options = TrainOptions { epochs: 1, learning_rate: 1e39, ..TrainOptions::default() };
        let Ended { steps, values: after, error } = train(engine, &reft, &examples(), &options);
        assert_eq!(steps.len(), 1);
        assert!(error.to_string().starts_with("step 1 of 1: a parameter is "), "{error}");
        assert_eq!(values(&reft), after[0]);
        check_usable(engine, &reft);
    });
}

/// A step that is submitted ahead may diverge before it is reported.
#[test]
fn a_checkpoint_can_be_resumed_or_is_refused_whatever_the_step_after_it_does() {
    on_each(|engine| {
        let (model, reft) = (engine.model(), reft(engine));
        let options =
            TrainOptions { epochs: 9, warmup_steps: 4, learning_rate: 1e30, ..TrainOptions::default() };
        let mut trainer = Trainer::new(&model.backend, &reft).expect("the state fits");
        let mut training = engine.training(&reft, &examples(), &options).expect("a training");
        let mut refused = None;
        let error = loop {
            match block_on(training.next(model, &reft, &mut trainer)) {
                Ok(step) => assert!(step.expect("an error before the end").loss.is_finite()),
                Err(error) => break error,
            }
            match block_on(training.checkpoint(model, &reft, &trainer)) {
                Ok(file) => drop(engine.resume(&file, &examples()).expect("it can be resumed")),
                Err(error) => refused = Some(error),
            }
        };
        assert!(refused.is_none_or(|refused| refused == error), "{error}");
        check_usable(engine, &reft);
    });
}

#[test]
fn infinite_parameters_are_not_saved() {
    on_each(|engine| {
        let reft = reft(engine);
        reft.theta.write(3, &[f32::NAN.to_bits()]);
        let error = block_on(reft.save(engine.model())).expect_err("nothing is saved");
        assert_eq!(error.to_string(), "parameters: expected finite numbers, got NaN");
        let error = block_on(engine.export_reft(&reft, "pyreft")).expect_err("nothing is exported");
        assert_eq!(error.kind(), ErrorKind::Input);
    });
}

#[test]
fn examples_without_a_finite_loss_are_not_a_matter_of_the_rate() {
    on_each(|engine| {
        let config = ReftConfig { layers: Layers::List(vec![1]), ..ReftConfig::default() };
        let head = HeadConfig { outputs: 1, bias: true, pooling: Pooling::Last, seed: 1 };
        let reft = Reft::with_head(engine.model(), &[config], Some(head)).expect("a head");
        let lines = r#"{"text": "the cat", "values": [3e38]}"#;
        let lines = [serde_json::from_str(lines).expect("an example")];
        let Ended { steps, values: after, error } = train(engine, &reft, &lines, &TrainOptions::default());
        assert!(steps.is_empty());
        let end = "the model gives no finite numbers for these examples; the interventions are as they were before it";
        assert!(error.to_string().ends_with(end), "{error}");
        assert_eq!(values(&reft), after[0]);
    });
}
