//! Machines that are missing, wrong or lost: the CPU computes where the choice is `auto`, and `gpu` is a typed error. Nothing stays behind, and a
//! training goes on from its last step.

use std::cell::Cell;
use std::process::{Command, Output};
use std::rc::Rc;

use pollster::block_on;
use webreft::backend::{Backend, Control, Gpu, Machine};
use webreft::engine::{Engine, Example, Input, MachineOptions};
use webreft::files::ModelFiles;
use webreft::generate::GenerateOptions;
use webreft::kernel::Hyper;
use webreft::model::{LoadOptions, LoadPhase, LoadProgress};
use webreft::reft::ReftConfig;
use webreft::train::{Sequence, TrainOptions, TrainStep, Trainer};
use webreft::{Error, ErrorKind, Result};

use crate::support;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q4_0.gguf");

fn gpu() -> Backend {
    block_on(Backend::gpu()).expect("an adapter: a software one will do")
}

fn device(backend: &Backend) -> &Gpu {
    let Backend::Gpu(gpu) = backend else { unreachable!("it is a GPU") };
    gpu
}

fn engine(backend: &Backend) -> Engine {
    support::load_with(backend, MODEL.as_ref(), 64)
}

/// Opens the model on a GPU that is open already, and tells `heard` where loading stands. Also what is known to be sound then.
fn open_on(gpu: &Backend, machine: Machine, heard: &mut dyn FnMut(LoadProgress)) -> (Result<Engine>, usize) {
    let mut options = MachineOptions { machine, threads: 1, ..MachineOptions::default() };
    let load = LoadOptions { n_ctx: Some(64), ..LoadOptions::default() };
    let file = std::fs::read(MODEL).expect("the traces");
    let engine = block_on(async {
        let files = ModelFiles::gguf(file).await?;
        Engine::open_on((gpu.clone(), None), &mut options, &files, &load, heard).await
    });
    (engine, options.sound.len())
}

/// An engine on the CPU that works, and a warning with these parts.
fn assert_on_cpu(engine: &Engine, parts: &[&str]) {
    assert_eq!(engine.info().backend, "cpu");
    let [warning] = engine.warnings() else { panic!("expected one warning, got {:?}", engine.warnings()) };
    for part in parts {
        assert!(warning.contains(part), "no {part:?} in {warning:?}");
    }
    assert_eq!(answer(engine).expect("the CPU answers").len(), 4);
}

#[track_caller]
fn assert_lost(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    assert!(error.to_string().contains("lost"), "{error}");
}

fn answer(engine: &Engine) -> Result<Vec<u32>> {
    let prompt = engine.prompt(&Input::Text("a cat and a dog sat".to_owned()), vec![])?;
    let options = GenerateOptions { max_tokens: 4, ..GenerateOptions::default() };
    let mut generation = engine.generate(&[prompt], &options)?;
    let mut ids = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer()))? {
        ids.extend(pieces.iter().map(|piece| piece.id));
    }
    Ok(ids)
}

/// The command line where no driver is loaded: OpenGL is built in nowhere.
fn without_adapter(machine: Machine) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webreft"));
    command.args(["generate", "--model", MODEL, "--prompt", "a cat", "--max-tokens", "2", "--context", "64"]);
    command.args(["--backend", machine.name()]).env("WGPU_BACKEND", "gl");
    command.output().expect("the command line starts")
}

#[test]
fn without_an_adapter_auto_takes_the_cpu_and_gpu_is_an_error() {
    for (machine, works, told) in [
        (Machine::Auto, true, "webreft: The CPU computes: no WebGPU adapter"),
        (Machine::Gpu, false, "webreft: no WebGPU adapter"),
        (Machine::Cpu, true, ""),
    ] {
        let Output { status, stdout, stderr } = without_adapter(machine);
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!((status.success(), !stdout.is_empty()), (works, works), "{machine}: {stderr}");
        assert!(stderr.starts_with(told) && stderr.is_empty() == told.is_empty(), "{machine}: {stderr}");
    }
}

#[test]
fn a_program_in_place_of_a_gpu_is_taken_only_when_asked_for() {
    let (backend, warning) = block_on(Machine::Auto.open(1)).expect("auto never fails");
    let program = gpu().is_software();
    assert_eq!(matches!(backend, Backend::Cpu(_)), program, "{}", backend.name());
    assert_eq!(warning.is_some_and(|it| it.contains("is a program in place of a GPU")), program);
    let (backend, warning) = block_on(Machine::Gpu.open(1)).expect("there is an adapter");
    assert!(matches!(backend, Backend::Gpu(_)) && warning.is_none());
}

#[test]
fn a_gpu_that_computes_rightly_is_taken_and_remembered() {
    let (engine, n_sound) = open_on(&gpu(), Machine::Auto, &mut |_| ());
    let engine = engine.expect("it is sound");
    assert_eq!((engine.info().backend, engine.warnings().len(), n_sound), ("gpu", 0, 1));
}

#[test]
fn a_gpu_that_computes_wrong_values_is_left() {
    let wrong = gpu();
    device(&wrong).break_kernel("glu", "up * activate4", "up + activate4");
    let parts = ["computes wrong values", "glu"];
    let (engine, n_sound) = open_on(&wrong, Machine::Auto, &mut |_| ());
    assert_on_cpu(&engine.expect("the CPU computes"), &parts);
    let (refused, n_sound_of_gpu) = open_on(&wrong, Machine::Gpu, &mut |_| ());
    let error = refused.err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    assert_eq!([n_sound, n_sound_of_gpu], [0, 0], "a wrong GPU is remembered as sound");
    assert_eq!(wrong.memory(), 0, "the model stays on the GPU that is left");
}

#[test]
fn a_gpu_lost_in_the_check_is_left() {
    for machine in [Machine::Auto, Machine::Gpu] {
        let gpu = gpu();
        let mut lose = |progress: LoadProgress| {
            if matches!(progress.phase, LoadPhase::Check) && progress.loaded >= 500 {
                device(&gpu).lose();
            }
        };
        let (engine, n_sound) = open_on(&gpu, machine, &mut lose);
        match machine {
            Machine::Auto => assert_on_cpu(&engine.expect("the CPU computes"), &["lost"]),
            _ => assert_lost(&engine.err().expect("an error")),
        }
        assert_eq!((n_sound, gpu.memory()), (0, 0), "{machine}: something stays behind");
    }
}

#[test]
fn a_gpu_lost_between_two_tokens_ends_the_answer() {
    let gpu = gpu();
    let engine = engine(&gpu);
    let prompt = engine.prompt(&Input::Text("a cat".to_owned()), vec![]).expect("a prompt");
    let mut generation = engine.generate(&[prompt], &GenerateOptions::default()).expect("a generation");
    block_on(generation.next(engine.tokenizer())).expect("the first token");
    device(&gpu).lose();
    // Tokens that were computed before may still come.
    let lost = (0..64).find_map(|_| block_on(generation.next(engine.tokenizer())).err());
    assert_lost(&lost.expect("the answer ends in an error"));
    assert_lost(&answer(&engine).expect_err("the device is lost"));
    drop((generation, engine));
    assert_eq!(gpu.memory(), 0, "something stays behind");
}

/// Loses a GPU when it is told of progress for the second time: the first submit is made then, and the last is not.
struct LosesBetweenSubmits<'a> {
    gpu: &'a Gpu,
    told: Cell<usize>,
}

impl Control for LosesBetweenSubmits<'_> {
    fn progress(&self, _share: f64) {
        self.gpu.believe(1e3); // each step of the plan is a submit of its own
        self.told.set(self.told.get() + 1);
        if self.told.get() == 2 {
            self.gpu.lose();
        }
    }
}

#[test]
fn a_gpu_lost_between_two_submits_ends_the_step() {
    let gpu = gpu();
    let engine = engine(&gpu);
    let reft = engine.reft(&[ReftConfig::default()]).expect("interventions");
    let mut trainer = Trainer::new(&gpu, &reft).expect("a trainer");
    let sequence = Sequence::new(&reft, (1..30).collect(), 9, 64).expect("a sequence");
    let control = LosesBetweenSubmits { gpu: device(&gpu), told: Cell::new(0) };
    let hyper = Hyper::with_rate(1e-3);
    let step = block_on(trainer.step_with(engine.model(), &reft, &[&sequence], &hyper, &control));
    assert_lost(&step.err().expect("the step ends in an error"));
    assert_eq!(control.told.get(), 2, "the step goes on after the loss");
    drop((trainer, reft, engine));
    assert_eq!(gpu.memory(), 0, "something stays behind");
}

/// A training as far as it goes, with a checkpoint after each step; the device may be lost when a step is done.
struct Trained {
    steps: Vec<TrainStep>,
    checkpoints: Vec<Vec<u8>>,
    ends_in: Option<Error>,
}

fn examples() -> [Example; 3] {
    ["a cat", "a dog", "a bird"].map(|prompt| Example::answer(prompt, " sat on a mat"))
}

fn train(engine: &Engine, from: Option<&[u8]>, lost_after: Option<usize>) -> Trained {
    let backend = &engine.model().backend;
    let (reft, mut trainer, mut training) = match from {
        Some(checkpoint) => engine.resume(checkpoint, &examples()).expect("a checkpoint of this training"),
        None => {
            let reft = engine.reft(&[ReftConfig::default()]).expect("interventions");
            let options = TrainOptions { epochs: 2, batch_size: 1, seed: 3, ..TrainOptions::default() };
            let training = engine.training(&reft, &examples(), &options).expect("a training");
            let trainer = Trainer::new(backend, &reft).expect("a trainer");
            (reft, trainer, training)
        }
    };
    let mut trained = Trained { steps: Vec::new(), checkpoints: Vec::new(), ends_in: None };
    loop {
        match block_on(training.next(engine.model(), &reft, &mut trainer)) {
            Ok(Some(step)) => match block_on(training.checkpoint(engine.model(), &reft, &trainer)) {
                Ok(checkpoint) => {
                    trained.steps.push(step);
                    trained.checkpoints.push(checkpoint);
                }
                Err(error) => return Trained { ends_in: Some(error), ..trained },
            },
            Ok(None) => return trained,
            Err(error) => return Trained { ends_in: Some(error), ..trained },
        }
        if lost_after == Some(trained.steps.len()) {
            device(backend).lose();
        }
    }
}

#[test]
fn a_training_goes_on_from_its_last_step_when_the_gpu_is_lost() {
    let whole = train(&engine(&gpu()), None, None).steps;
    assert_eq!(whole.len(), 6);
    let lost = gpu();
    let Trained { steps, checkpoints, ends_in } = train(&engine(&lost), None, Some(3));
    assert_lost(&ends_in.expect("the training ends in an error"));
    assert_eq!(lost.memory(), 0, "something stays behind");
    assert_eq!(steps[..], whole[..3]);
    let last = checkpoints.last().expect("a checkpoint for each step");
    let on_gpu = train(&engine(&gpu()), Some(last), None).steps;
    assert_eq!(on_gpu[..], whole[steps.len()..], "on another GPU of the same kind");
    let on_cpu = train(&engine(&Backend::cpu_with(1)), Some(last), None).steps;
    for (step, want) in on_cpu.iter().zip(&whole[steps.len()..]) {
        assert!((step.loss - want.loss).abs() < 1e-4, "on the CPU: {} for {}", step.loss, want.loss);
    }
    assert_eq!(on_cpu.len(), on_gpu.len());
}

#[test]
fn interventions_of_a_lost_gpu_are_a_device_error_and_others_load() {
    let gpu = gpu();
    let lost = engine(&gpu);
    let reft = Rc::new(lost.reft(&[ReftConfig::default()]).expect("interventions"));
    let saved = block_on(reft.save(lost.model())).expect("a file");
    device(&gpu).lose();
    assert_lost(&block_on(reft.save(lost.model())).expect_err("the device is lost"));
    engine(&Backend::cpu_with(1)).load_reft(&saved).expect("the same model on the CPU");
}
