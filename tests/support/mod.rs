//! What several tests want: the traces' directory, models, files of tensors, and passes with their states.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub(crate) mod differences;
pub(crate) mod repository;

use std::path::{Path, PathBuf};

use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use webreft::backend::{Backend, Prepared};
use webreft::bytes::{ByteSource, FileSource};
use webreft::engine::{Engine, Example};
use webreft::files::ModelFiles;
use webreft::kernel;
use webreft::model::{self, Component, Hooks, Inputs, LoadOptions, Model, NoHooks, Pass, Place};
use webreft::plan::{Buf, Plan};
use webreft::reft::{EditBufs, Edits, Reft};
use webreft::train::{Batch, Sequence, TrainOptions, TrainStep, Trainer};

/// Where the traces are: `WEBREFT_GOLDEN`, or those of this repository.
pub(crate) fn golden_dir() -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    std::env::var_os("WEBREFT_GOLDEN").map_or_else(|| own.into(), PathBuf::from)
}

/// A model and its tokenizer from a file.
pub(crate) fn load(backend: &Backend, path: &Path) -> Engine {
    load_for(backend, path, None)
}

/// Runs a check with a model of this folder on the CPU, and on a GPU or a driver that plays one.
pub(crate) fn on_each_machine(model: &str, check: impl Fn(&Engine)) {
    let gpu = pollster::block_on(Backend::gpu()).expect("this test needs a GPU, or a driver that plays one");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(model);
    [Backend::cpu(), gpu].iter().for_each(|backend| check(&load(backend, &path)));
}

/// Examples, one on each line of JSON.
pub(crate) fn examples(lines: &str) -> Vec<Example> {
    lines.lines().map(|line| serde_json::from_str(line.trim()).expect("an example")).collect()
}

/// Trains to the end; the reports of all steps.
pub(crate) fn train(
    engine: &Engine,
    reft: &Reft,
    examples: &[Example],
    options: &TrainOptions,
) -> Vec<TrainStep> {
    let mut trainer = Trainer::new(&engine.model().backend, reft).expect("the state fits");
    let mut training = engine.training(reft, examples, options).expect("a training");
    let next = || block_on(training.next(engine.model(), reft, &mut trainer)).expect("a step");
    std::iter::from_fn(next).collect()
}

/// A model and its tokenizer from a file, ready for a context of so many tokens.
pub(crate) fn load_with(backend: &Backend, path: &Path, context: usize) -> Engine {
    load_for(backend, path, Some(context))
}

fn load_for(backend: &Backend, path: &Path, context: Option<usize>) -> Engine {
    let loaded = FileSource::open(path).and_then(|file| load_file(backend, file, context));
    loaded.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A model of one GGUF file.
pub(crate) fn load_file(
    backend: &Backend,
    file: impl ByteSource,
    n_ctx: Option<usize>,
) -> webreft::Result<Engine> {
    let options = LoadOptions { n_ctx, ..LoadOptions::default() };
    block_on(async { Engine::load(backend, &ModelFiles::gguf(file).await?, &options, &mut |_| ()).await })
}

/// A safetensors file.
pub(crate) struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Tensors {
    pub(crate) fn open(path: PathBuf) -> Tensors {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Tensors { path, bytes }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// What its metadata says under this key, which is JSON.
    pub(crate) fn about(&self, key: &str) -> Value {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        let text = metadata.metadata().as_ref().and_then(|about| about.get(key));
        let text = text.unwrap_or_else(|| panic!("{}: no {key}", self.path.display()));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.file().names().into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.file().tensor(name).is_ok()
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.read(name, None).0
    }

    pub(crate) fn f32(&self, name: &str) -> Vec<f32> {
        bytemuck::pod_collect_to_vec(&self.read(name, Some(Dtype::F32)).1)
    }

    /// F64 values, rounded.
    pub(crate) fn f64(&self, name: &str) -> Vec<f32> {
        let values: Vec<f64> = bytemuck::pod_collect_to_vec(&self.read(name, Some(Dtype::F64)).1);
        values.into_iter().map(|value| value as f32).collect()
    }

    pub(crate) fn i32(&self, name: &str) -> Vec<i32> {
        bytemuck::pod_collect_to_vec(&self.read(name, Some(Dtype::I32)).1)
    }

    pub(crate) fn u8(&self, name: &str) -> Vec<u8> {
        self.read(name, Some(Dtype::U8)).1
    }

    fn read(&self, name: &str, dtype: Option<Dtype>) -> (Vec<usize>, Vec<u8>) {
        let file = self.file();
        let view = file.tensor(name);
        let view = view.unwrap_or_else(|error| panic!("{}: {name}: {error}", self.path.display()));
        if let Some(dtype) = dtype {
            assert_eq!(view.dtype(), dtype, "{}: {name}", self.path.display());
        }
        (view.shape().to_vec(), view.data().to_vec())
    }
}

/// [C, R] from [R, C].
pub(crate) fn transposed(values: &[f32], n_cols: usize) -> Vec<f32> {
    (0..n_cols).flat_map(|col| values.iter().skip(col).step_by(n_cols).copied()).collect()
}

/// A sequence in which every token foretells the next, and nothing is edited.
pub(crate) fn plain_sequence(tokens: &[u32]) -> Sequence {
    let labels = tokens.iter().skip(1).copied().enumerate().collect();
    Sequence { tokens: tokens.to_vec(), labels, ..Sequence::default() }
}

/// Hidden states of a pass, [T, D] or [T, V] each, T the tokens of all sequences.
pub(crate) struct States {
    pub(crate) embed: Vec<f32>,
    /// After each layer.
    pub(crate) hidden: Vec<Vec<f32>>,
    pub(crate) final_norm: Vec<f32>,
    pub(crate) logits: Vec<f32>,
}

/// All states of a pass over packed sequences, edited as they say.
pub(crate) fn states(model: &Model, reft: Option<&Reft>, sequences: &[&Sequence]) -> States {
    let (batch, mut plan, pass) = packed(sequences);
    let embed = model::embed(&mut plan, model, pass.tokens);
    let edits = reft.map(|reft| Edits::new(&mut plan, &[(reft, batch.shape().n_edits)]));
    let edit_bufs = edits.as_ref().map_or_else(Vec::new, Edits::bufs);
    let mut watch = Watch { edits, hidden: Vec::new() };
    let h = model::forward(&mut plan, model, &pass, None, &mut watch);
    let (rows, logits) = all_logits(&mut plan, model, h, batch.tokens.len());
    let normed = plan.steps().iter().find(|step| step.place == "head" && step.kernel.name == "rms_norm");
    let final_norm = normed.expect("the head has a norm").arg("y");
    let kept = [&[embed, final_norm, logits], watch.hidden.as_slice()].concat();
    let mut read = run(model, plan, &batch, &pass, &edit_bufs, rows, &kept).into_iter();
    let mut next = || read.next().expect("as many as kept");
    States { embed: next(), final_norm: next(), logits: next(), hidden: read.collect() }
}

/// The logits [T, V] of a pass over packed sequences, by the plan that generating and training use.
pub(crate) fn logits(model: &Model, reft: Option<&Reft>, sequences: &[&Sequence]) -> Vec<f32> {
    let (batch, mut plan, pass) = packed(sequences);
    let mut edits = reft.map(|reft| Edits::new(&mut plan, &[(reft, batch.shape().n_edits)]));
    let edit_bufs = edits.as_ref().map_or_else(Vec::new, Edits::bufs);
    let h = match &mut edits {
        Some(edits) => model::forward(&mut plan, model, &pass, None, edits),
        None => model::forward(&mut plan, model, &pass, None, &mut NoHooks),
    };
    let (rows, logits) = all_logits(&mut plan, model, h, batch.tokens.len());
    run(model, plan, &batch, &pass, &edit_bufs, rows, &[logits]).remove(0)
}

fn packed(sequences: &[&Sequence]) -> (Batch, Plan, Pass) {
    let batch = Batch::pack(sequences);
    let mut plan = Plan::new("forward");
    let pass = Pass::new(&mut plan, batch.tokens.len());
    (batch, plan, pass)
}

fn all_logits(plan: &mut Plan, model: &Model, h: Buf, n_tokens: usize) -> (Buf, Buf) {
    let rows = plan.kept("rows", &[n_tokens]);
    (rows, model.logits(plan, h, rows))
}

/// Runs a plan on a batch and reads the buffers `kept`.
fn run(
    model: &Model,
    mut plan: Plan,
    batch: &Batch,
    pass: &Pass,
    edit_bufs: &[EditBufs],
    rows: Buf,
    kept: &[Buf],
) -> Vec<Vec<f32>> {
    kept.iter().for_each(|buf| plan.keep(*buf));
    let prepared = model.backend.prepare(plan).expect("the plan fits the device");
    batch.write(&prepared, pass, edit_bufs);
    prepared.tensor(rows).write(0, &(0..batch.tokens.len() as u32).collect::<Vec<_>>());
    prepared.run().expect("the plan runs");
    kept.iter().map(|buf| read(&prepared, *buf)).collect()
}

fn read(prepared: &Prepared, buf: Buf) -> Vec<f32> {
    block_on(prepared.tensor(buf).read().f32()).expect("the device answers")
}

/// Keeps a copy of the residual stream after every layer, and lets the edits be done.
struct Watch<'a> {
    edits: Option<Edits<'a>>,
    hidden: Vec<Buf>,
}

impl Hooks for Watch<'_> {
    fn stands_at(&self, place: Place) -> bool {
        place.component == Component::BlockOutput
            || self.edits.as_ref().is_some_and(|edits| edits.stands_at(place))
    }

    fn edit(&mut self, plan: &mut Plan, place: Place, h: Buf, inputs: Inputs) {
        if let Some(edits) = &mut self.edits {
            edits.edit(plan, place, h, inputs);
        }
        if place.component == Component::BlockOutput {
            self.hidden.push(kernel::copy(plan, "hidden", h));
        }
    }
}
