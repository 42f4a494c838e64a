//! A call that its caller ends: it fails with `Aborted`, the engine goes on, and a training stands where its last whole step left it.

mod support;

use pollster::block_on;
use std::cell::{Cell, RefCell};
use webreft::ErrorKind;
use webreft::backend::{Backend, Control, NoControl};
use webreft::engine::{Engine, Example, Input};
use webreft::generate::GenerateOptions;
use webreft::reft::ReftConfig;
use webreft::train::{StepProgress, TrainOptions, TrainStep, Trainer, Watch};

fn engine(backend: &Backend) -> Engine {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q4_0.gguf"));
    support::load_file(backend, file.expect("the traces"), Some(64)).expect("a sound file")
}

/// The CPU with steps of few rows, and the GPU with submits of few steps.
fn machines() -> [Backend; 2] {
    let cpu = Backend::cpu_with(1);
    let Backend::Cpu(program) = &cpu else { unreachable!("it is the CPU") };
    program.cut(1000);
    let gpu = block_on(Backend::gpu()).expect("an adapter: a software one will do");
    let Backend::Gpu(device) = &gpu else { unreachable!("it is a GPU") };
    device.believe(1e3);
    [cpu, gpu]
}

/// Ends a call when it has asked so often, and hears the shares.
#[derive(Default)]
struct EndsAt {
    ask: Option<usize>,
    asked: Cell<usize>,
    shares: RefCell<Vec<f64>>,
}

impl EndsAt {
    fn ask(ask: usize) -> EndsAt {
        EndsAt { ask: Some(ask), ..EndsAt::default() }
    }
}

impl EndsAt {
    fn is_time(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.ask.is_some_and(|ask| self.asked.get() > ask)
    }
}

impl Control for EndsAt {
    fn cancelled(&self) -> bool {
        self.is_time()
    }

    fn progress(&self, share: f64) {
        self.shares.borrow_mut().push(share);
    }
}

impl Watch for EndsAt {
    fn cancelled(&self) -> bool {
        self.is_time()
    }

    fn progress(&self, progress: &StepProgress) {
        assert!((1..=progress.steps).contains(&progress.step), "{progress:?}");
        self.shares.borrow_mut().push(progress.share);
    }
}

fn answer(engine: &Engine, control: &dyn Control) -> webreft::Result<Vec<u32>> {
    let prompt = engine.prompt(&Input::Text("a cat and a dog sat".to_owned()), vec![]).expect("a prompt");
    let options = GenerateOptions { max_tokens: 6, ..GenerateOptions::default() };
    let mut generation = block_on(engine.generate_with(&[prompt], &options, control))?;
    let mut ids = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer()))? {
        ids.extend(pieces.iter().map(|piece| piece.id));
    }
    Ok(ids)
}

#[test]
fn an_aborted_prefill_leaves_the_engine_usable() {
    for backend in machines() {
        let engine = engine(&backend);
        let watching = EndsAt::default();
        let whole = answer(&engine, &watching).expect("nobody ends it");
        let shares = watching.shares.borrow();
        assert!(shares.len() > 3 && shares.is_sorted() && shares[0] == 0.0, "{}: {shares:?}", backend.name());
        assert!(*shares.last().expect("it was told") > 0.5 && shares.iter().all(|share| *share <= 1.0));
        for ask in [0, 1, 3] {
            if let Backend::Gpu(gpu) = &backend {
                gpu.believe(1e3);
            }
            let error = answer(&engine, &EndsAt::ask(ask)).expect_err("it is ended");
            assert_eq!(error.kind(), ErrorKind::Aborted, "{}: {error}", backend.name());
            assert_eq!(answer(&engine, &NoControl).expect("a new answer"), whole, "{}", backend.name());
        }
    }
}

/// All reports of a training and its parameters, whoever ends its calls in between; and how often somebody did.
fn train(engine: &Engine, mut ends: impl FnMut() -> EndsAt) -> (Vec<TrainStep>, Vec<f32>, usize) {
    let reft = engine.reft(&[ReftConfig::default()]).expect("interventions");
    let examples = ["a cat", "a dog", "a bird"].map(|prompt| Example::answer(prompt, " sat on a mat"));
    let options = TrainOptions {
        epochs: 3,
        batch_size: 1,
        at_once: 1,
        validation: 1.0,
        seed: 3,
        ..TrainOptions::default()
    };
    let mut training = engine.training(&reft, &examples, &options).expect("a training");
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("a trainer");
    let (mut steps, mut n_ended) = (Vec::new(), 0);
    loop {
        match block_on(training.next_with(engine.model(), &reft, &mut trainer, &ends())) {
            Ok(Some(step)) => {
                let time = training.step_time().expect("it was timed");
                assert!(time.seconds > 1e-5 && time.seconds < 60.0, "{time:?}");
                steps.push(step);
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
                n_ended += 1;
            }
        }
    }
    (steps, block_on(reft.theta.read().f32()).expect("the parameters are read"), n_ended)
}

#[test]
fn a_training_resumes_bit_for_bit_wherever_it_is_aborted() {
    for backend in machines() {
        let engine = engine(&backend);
        let (steps, theta, _) = train(&engine, EndsAt::default);
        assert_eq!(steps.len(), 6);
        let mut calls = 0;
        let mut ends = || {
            calls += 1;
            if let Backend::Gpu(gpu) = &backend {
                gpu.believe(1e3);
            }
            // Two calls of three are ended, each a little later than the last.
            if calls % 3 == 0 || calls > 60 { EndsAt::default() } else { EndsAt::ask(3 * calls) }
        };
        let (again, theta_again, n_ended) = train(&engine, &mut ends);
        assert!(n_ended >= 3, "{}: ended {n_ended} times", backend.name());
        assert_eq!(again, steps, "{}", backend.name());
        assert_eq!(theta_again, theta, "{}", backend.name());
    }
}

#[test]
fn a_cpu_computes_the_same_in_pieces() {
    let run = |piece: u64| {
        let backend = Backend::cpu_with(1);
        let Backend::Cpu(cpu) = &backend else { unreachable!("it is the CPU") };
        cpu.cut(piece);
        let engine = engine(&backend);
        let reft = engine.reft(&[ReftConfig::default()]).expect("interventions");
        let long = |word: &str| format!("{word} ").repeat(6);
        let examples: Vec<Example> =
            (0..40).map(|i| Example::answer(long("a cat") + &"b ".repeat(i % 3), "sat")).collect();
        let options = TrainOptions { epochs: 2, ..TrainOptions::default() };
        let mut training = engine.training(&reft, &examples, &options).expect("a training");
        let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("a trainer");
        let watching = EndsAt::default();
        let mut steps = Vec::new();
        while let Some(step) = block_on(training.next_with(engine.model(), &reft, &mut trainer, &watching))
            .expect("nobody ends it")
        {
            assert!(step.tokens > 512, "{step:?}: products have rows for two pieces");
            steps.push(step);
        }
        (steps, block_on(reft.theta.read().f32()).expect("the parameters are read"), watching.asked.get())
    };
    let (steps, theta, asked) = run(u64::MAX);
    let (steps_in_pieces, theta_in_pieces, asked_in_pieces) = run(1000);
    assert!(asked_in_pieces > 2 * asked, "asked {asked} times, in pieces {asked_in_pieces}");
    assert_eq!(steps_in_pieces, steps);
    assert_eq!(theta_in_pieces, theta);
}
