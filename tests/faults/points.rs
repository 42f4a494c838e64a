//! The k-th operation fails, for every k: allocations, steps and readbacks of the machine, and reads of the file, from loading a model over an
//! answer and three training steps to saving and loading what was learned.
//!
//! Each point ends in a typed error; the next call on the same engine gives what an unbroken one gives, and nothing stays behind. Every
//! k is tried with `WEBREFT_FAULTS=all`, else some, of which `WEBREFT_SEED` moves the first.

use std::cell::Cell;
use std::env;
use std::rc::Rc;

use pollster::block_on;
use webreft::backend::{Backend, Cpu};
use webreft::bytes::ByteSource;
use webreft::engine::{Engine, Example, Input};
use webreft::files::ModelFiles;
use webreft::generate::{GenerateOptions, Persona};
use webreft::model::LoadOptions;
use webreft::reft::ReftConfig;
use webreft::train::{TrainOptions, Trainer};
use webreft::{Error, ErrorKind, Result};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q4_0.gguf");

/// From one point that is tried to the next, where not all are.
const STRIDE: u64 = 13;

/// The first point, and the distance to the next.
fn schedule() -> (u64, u64) {
    let all = env::var("WEBREFT_FAULTS").is_ok_and(|which| which == "all");
    let seed: u64 = env::var("WEBREFT_SEED").map_or(0, |seed| seed.parse().expect("WEBREFT_SEED: a number"));
    if all { (1, 1) } else { (1 + seed % STRIDE, STRIDE) }
}

/// What a person does with a model.
struct Journey {
    config: ReftConfig,
    options: TrainOptions,
    /// Operations that the CPU computes at a time: steps are cut by rows.
    cut: Option<u64>,
}

/// What comes of it, to the bit.
#[derive(Debug, PartialEq)]
struct Outcome {
    bare: Vec<u32>,
    losses: Vec<u64>,
    file: Vec<u8>,
    edited: Vec<u32>,
}

impl Journey {
    fn new(kind: &str, options: TrainOptions) -> Journey {
        let config = ReftConfig { kind: kind.to_owned(), rank: 2, ..ReftConfig::default() };
        let options = TrainOptions { epochs: 1, batch_size: 1, learning_rate: 0.02, seed: 3, ..options };
        Journey { config, options, cut: None }
    }

    fn machine(&self) -> (Backend, Cpu) {
        let backend = Backend::cpu_with(1);
        let Backend::Cpu(cpu) = &backend else { unreachable!("it is the CPU") };
        let cpu = cpu.clone();
        self.cut.iter().for_each(|operations| cpu.cut(*operations));
        (backend, cpu)
    }

    fn run(&self, engine: &Engine) -> Result<Outcome> {
        let model = engine.model();
        let bare = answer(engine, vec![])?;
        let reft = engine.reft(std::slice::from_ref(&self.config))?;
        let examples = ["a cat", "a dog", "a bird"].map(|prompt| Example::answer(prompt, " sat on a mat"));
        let mut training = engine.training(&reft, &examples, &self.options)?;
        let mut trainer = Trainer::new(&model.backend, &reft)?;
        let mut losses = Vec::new();
        while let Some(step) = block_on(training.next(model, &reft, &mut trainer))? {
            losses.push(step.loss.to_bits());
        }
        let file = block_on(reft.save(model))?;
        drop((training, trainer, reft));
        let reft = Rc::new(engine.load_reft(&file)?);
        let edited = answer(engine, vec![Persona::new(reft)])?;
        Ok(Outcome { bare, losses, file, edited })
    }
}

fn answer(engine: &Engine, personas: Vec<Persona>) -> Result<Vec<u32>> {
    let prompt = engine.prompt(&Input::Text("a cat and a dog sat".to_owned()), personas)?;
    let options = GenerateOptions { max_tokens: 6, temperature: 0.7, ..GenerateOptions::default() };
    let mut generation = engine.generate(&[prompt], &options)?;
    let mut ids = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer()))? {
        ids.extend(pieces.iter().map(|piece| piece.id));
    }
    Ok(ids)
}

fn load(backend: &Backend, file: impl ByteSource) -> Result<Engine> {
    let options = LoadOptions { n_ctx: Some(64), ..LoadOptions::default() };
    block_on(async { Engine::load(backend, &ModelFiles::gguf(file).await?, &options, &mut |_| ()).await })
}

fn model() -> Vec<u8> {
    std::fs::read(MODEL).expect("the traces")
}

#[track_caller]
fn assert_on_purpose(error: &Error, kind: ErrorKind, point: &str) {
    assert_eq!(error.kind(), kind, "{point}: {error}");
    assert!(error.to_string().contains("a fault on purpose"), "{point}: {error}");
}

/// Fails the machine's operations one after the other; returns how many points were tried.
fn fail_operations(journey: &Journey) -> u64 {
    let (first, stride) = schedule();
    let file = model();
    let whole = journey.run(&load(&journey.machine().0, &file).expect("the model loads")).expect("it works");
    for k in (first..).step_by(stride as usize) {
        let point = format!("{} {:?}: operation {k}", journey.config.kind, journey.cut);
        let (backend, cpu) = journey.machine();
        cpu.fail_at(k);
        let loaded = load(&backend, &file);
        let broken = loaded.as_ref().map_err(Clone::clone).and_then(|engine| journey.run(engine));
        if cpu.fail_at(0) > 0 {
            assert_eq!(broken.expect("nothing failed"), whole, "{point}");
            return (k - first) / stride;
        }
        assert_on_purpose(&broken.expect_err("it failed"), ErrorKind::Device, &point);
        let engine = loaded.or_else(|_| load(&backend, &file)).expect("nothing fails any more");
        assert_eq!(journey.run(&engine).expect("the next call works"), whole, "{point}");
        drop(engine);
        assert_eq!(backend.memory(), 0, "{point}: something stays behind");
    }
    unreachable!("the points end")
}

#[test]
fn any_operation_of_the_machine_may_fail() {
    let validated = TrainOptions { validation: 0.25, keep_best: true, ..TrainOptions::default() };
    let mut n_points = 0;
    for mut journey in [
        Journey::new("loreft", TrainOptions::default()),
        Journey::new("lora", validated),
        Journey::new("dora", TrainOptions { dropout: 0.1, ..TrainOptions::default() }),
        Journey::new("prefix_tuning", TrainOptions::default()),
    ] {
        for cut in [None, Some(10_000)] {
            journey.cut = cut;
            n_points += fail_operations(&journey);
        }
    }
    println!("operations that failed: {n_points}; {:?}", schedule());
    assert!(n_points * schedule().1 > 3_000, "{n_points} points");
}

/// A file in memory, the k-th read of which fails.
struct Failing {
    bytes: Vec<u8>,
    left: Cell<u64>,
}

impl ByteSource for &Failing {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        if left == 1 { Err(Error::file("a fault on purpose")) } else { self.bytes.read(offset, buf).await }
    }
}

#[test]
fn any_read_of_the_file_may_fail() {
    let (file, backend) = (Failing { bytes: model(), left: Cell::new(0) }, Backend::cpu_with(1));
    let mut n_points = 0;
    for k in 1.. {
        file.left.set(k);
        let loaded = load(&backend, &file);
        if file.left.get() > 0 {
            loaded.expect("nothing failed");
            break;
        }
        assert_on_purpose(&loaded.err().expect("it failed"), ErrorKind::File, &format!("read {k}"));
        assert_eq!(backend.memory(), 0, "read {k}: something stays behind");
        n_points += 1;
    }
    println!("reads that failed: {n_points}");
    assert!(n_points > 10, "{n_points} points");
}
