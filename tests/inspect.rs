//! What a model would take, told from its header, against what it takes.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::path::Path;

use pollster::block_on;
use webreft::backend::Backend;
use webreft::bytes::{ByteSource, FileSource};
use webreft::engine::Engine;
use webreft::error::{Error, Result};
use webreft::files::ModelFiles;
use webreft::generate::{GenerateOptions, Prompt};
use webreft::inspect::{InspectOptions, Inspection, inspect};
use webreft::kernel::Hyper;
use webreft::model::LoadOptions;
use webreft::reft::ReftConfig;
use webreft::train::{Sequence, Trainer};

/// A file of which nothing may be read behind its header.
struct HeaderOnly {
    file: FileSource,
    data_start: u64,
}

impl ByteSource for HeaderOnly {
    fn len(&self) -> u64 {
        self.file.len()
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self.data_start.checked_sub(offset) {
            Some(_) => self.file.read(offset, buf).await,
            None => {
                Err(Error::file(format!("byte {offset} was read, the header ends at {}", self.data_start)))
            }
        }
    }
}

fn files(path: &Path) -> ModelFiles<HeaderOnly> {
    let data_start = |file| {
        let files = block_on(ModelFiles::gguf(file)).expect("a sound file");
        files.header.tensors.iter().map(|tensor| tensor.offset).min().expect("tensors")
    };
    let file = || FileSource::open(path).expect("the references");
    let source = HeaderOnly { data_start: data_start(file()), file: file() };
    block_on(ModelFiles::gguf(source)).expect("a sound file")
}

fn inspected(backend: &Backend, path: &Path, options: &InspectOptions) -> Inspection {
    block_on(inspect(backend, &files(path), options)).expect("the device is there")
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

#[test]
fn what_a_header_promises_is_what_is_taken() {
    for (name, n_ctx) in
        [("golden/llama/model-q4_0.gguf", 100), ("llamacpp/data/archs/gemma3-q8_0.gguf", 600)]
    {
        let gpu = block_on(Backend::gpu()).expect("an adapter: a software one will do");
        let load = LoadOptions { n_ctx: Some(n_ctx), ..LoadOptions::default() };
        let options = InspectOptions { load, train_tokens: 40, train_batch: 3 };
        let inspection = inspected(&gpu, &path(name), &options);
        assert_eq!(gpu.memory(), 0, "nothing stays");
        let needs = inspection.needs.unwrap_or_else(|| panic!("{:?}", inspection.problem));
        assert_eq!((needs.context_length, needs.train_tokens, needs.train_batch), (n_ctx, 40, 3));
        assert!(needs.load.fits && needs.generate.fits && needs.train.fits);

        let engine = support::load_file(&gpu, FileSource::open(path(name)).unwrap(), Some(n_ctx)).unwrap();
        assert_eq!(gpu.memory(), needs.load.bytes, "{name}: loading");
        assert_eq!(inspection.bytes, engine.info().bytes);
        gpu.restart_peak();
        answer(&engine, n_ctx);
        assert_eq!(gpu.peak(), needs.generate.bytes, "{name}: generating");
        gpu.restart_peak();
        train(&engine, 40, 3);
        assert_eq!(gpu.peak(), needs.train.bytes, "{name}: training");
    }
}

fn answer(engine: &Engine, n_ctx: usize) {
    let n_prompt = 256.min(n_ctx / 2);
    let prompt = Prompt { tokens: vec![5; n_prompt], personas: vec![] };
    let options = GenerateOptions { max_tokens: n_ctx - n_prompt, ..GenerateOptions::default() };
    let mut generation = engine.generate(&[prompt], &options).expect("room for an answer");
    block_on(generation.next(engine.tokenizer())).expect("a token");
}

fn train(engine: &Engine, n_tokens: usize, n_sequences: usize) {
    let reft = engine.reft(&[ReftConfig::default()]).expect("a reft");
    let sequence =
        Sequence::new(&reft, vec![5; n_tokens], n_tokens / 2, engine.model().n_ctx).expect("an example");
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("room");
    let batch = vec![&sequence; n_sequences];
    let step = trainer.step(engine.model(), &reft, &batch, &Hyper::with_rate(1e-3)).expect("a step");
    assert!(block_on(step.mean()).expect("a loss").is_finite());
}

#[test]
fn a_header_tells_what_the_model_is() {
    let inspection =
        inspected(&Backend::cpu(), &path("golden/llama/model-q4_0.gguf"), &InspectOptions::default());
    assert_eq!(inspection.architecture.as_deref(), Some("llama"));
    assert_eq!((inspection.n_layer, inspection.n_embd, inspection.n_vocab), (Some(4), Some(64), Some(320)));
    assert_eq!(inspection.formats, ["Q4_0", "Q8_0", "F32"]);
    assert_eq!(inspection.problem, None);
}

#[test]
fn a_model_that_would_not_load_tells_why() {
    let path = path("golden/llama/model-q4_0.gguf");
    let load = LoadOptions { n_ctx: Some(1 << 20), ..LoadOptions::default() };
    let inspection = inspected(&Backend::cpu(), &path, &InspectOptions { load, ..InspectOptions::default() });
    assert_eq!(
        inspection.problem.as_deref(),
        Some("context of 1048576 tokens: expected 1 to 128, the model's own")
    );
    assert_eq!((inspection.needs, inspection.n_layer), (None, Some(4)));
}

#[test]
fn asking_for_room_leaves_the_device_usable() {
    let gpu = block_on(Backend::gpu()).expect("an adapter: a software one will do");
    assert!(block_on(gpu.has_room(1 << 20)).unwrap());
    assert!(!block_on(gpu.has_room(1 << 46)).unwrap());
    assert_eq!(gpu.memory(), 0);
    assert!(gpu.tensor("still usable", &[16]).is_ok());
}
