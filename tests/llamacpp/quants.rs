//! Each weight format: ggml's blocks to the bit, and llama.cpp's logits.

use std::path::PathBuf;

use pollster::block_on;
use webreft::backend::Backend;
use webreft::engine::Engine;
use webreft::kernel::{Dropout, Hyper, embed};
use webreft::plan::{Matrix, Plan, Slab};
use webreft::quant::{FORMATS, Format, Q4_K};
use webreft::reft::{Layers, Reft, ReftConfig};
use webreft::train::Trainer;

use super::support::differences::{check_gradient, example};
use super::support::{Tensors, load_file, load_with, logits, plain_sequence};
use super::{assert_ran, folder, is_here, json, keys};

/// What the issue allows between logits.
const LOGITS: f32 = 2e-4;

fn gpu() -> Backend {
    block_on(Backend::gpu()).expect("an adapter: a software one will do")
}

/// The files of the manifest that are here, with their names.
fn files() -> Vec<(String, PathBuf)> {
    let folder = folder("quants");
    let manifest = json(&folder.join("manifest.json"));
    let files = keys(&manifest["files"]).map(|name| {
        let file = manifest["files"][name]["file"].as_str().expect("a name");
        (name.to_owned(), folder.join(file))
    });
    let here: Vec<_> = files.filter(|(_, path)| is_here(path)).collect();
    assert_ran("files of weight formats", here.len(), 13);
    here
}

/// A matrix of one slab.
fn matrix(backend: &Backend, format: &'static Format, bytes: &[u8], rows: usize) -> Matrix {
    let cols = bytes.len() / format.block_bytes * format.block_values / rows;
    let packed = format.repack(bytes);
    let tensor =
        |label, words: &[u32]| backend.tensor_of(label, &[words.len()], words).expect("a small tensor");
    let qs = tensor("qs", &packed.qs);
    let scales = (format.scale_bytes > 0).then(|| tensor("scales", &packed.scales));
    let slab = Slab { label: format.name.to_owned(), format, first_row: 0, rows, cols, qs, scales };
    Matrix { rows, cols, slabs: vec![slab] }
}

/// All rows of a matrix, as a machine decodes them.
fn rows(backend: &Backend, matrix: &Matrix) -> Vec<f32> {
    let mut plan = Plan::new("rows");
    let tokens: Vec<u32> = (0..matrix.rows as u32).collect();
    let tokens = backend.tensor_of("tokens", &[tokens.len()], &tokens).expect("a small tensor");
    let tokens = plan.tensor(&tokens);
    let out = embed(&mut plan, tokens, matrix, 1.0);
    plan.keep(out);
    let prepared = backend.prepare(plan).expect("a small plan");
    prepared.run().expect("it runs");
    block_on(prepared.tensor(out).read().f32()).expect("rows are read")
}

fn differing(got: &[f32], want: &[f32]) -> Option<String> {
    assert_eq!(got.len(), want.len());
    let at = got.iter().zip(want).position(|(got, want)| got.to_bits() != want.to_bits())?;
    Some(format!("value {at} is {:e}, not {:e}", got[at], want[at]))
}

#[test]
fn every_block_is_ggmls_to_the_bit() {
    let blocks = Tensors::open(folder("quants").join("blocks.safetensors"));
    let manifest = json(&folder("quants").join("manifest.json"));
    let gpu = gpu();
    assert_ran("formats of blocks", keys(&manifest["blocks"]).count(), 14);
    for name in keys(&manifest["blocks"]) {
        let format = FORMATS.into_iter().find(|format| format.name == name).expect("a format of this name");
        let (raw, want) = (blocks.u8(&format!("{name}.raw")), blocks.f32(&format!("{name}.f32")));
        let mut got = vec![0.0; want.len()];
        format.decode(&raw, &mut got);
        assert_eq!(differing(&got, &want), None, "{name}, decoded");
        for backend in [&Backend::cpu(), &gpu] {
            let got = rows(backend, &matrix(backend, format, &raw, 64));
            assert_eq!(differing(&got, &want), None, "{name}, on {}", backend.name());
        }
    }
}

fn check_logits(backend: &Backend) {
    for (name, path) in files() {
        let expected = Tensors::open(path.with_file_name(format!("expected-{name}.safetensors")));
        let engine = load_with(backend, &path, 512);
        let (ids, want) = (expected.i32("input_ids"), expected.f32("logits"));
        let prompts = ids.chunks_exact(24).zip(want.chunks_exact(want.len() / 2));
        for (number, (ids, want)) in prompts.enumerate() {
            let tokens: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
            let got = logits(engine.model(), None, &[&plain_sequence(&tokens)]);
            let worst = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
            println!("{name}, prompt {number}: logits off by {worst:.1e}");
            assert!(worst <= LOGITS, "{name}, prompt {number}: logits off by {worst}");
        }
    }
}

#[test]
fn the_twins_answer_as_llama_cpp_does_in_every_format() {
    check_logits(&Backend::cpu());
}

#[test]
fn the_gpu_answers_as_llama_cpp_does_in_every_format() {
    check_logits(&gpu());
}

/// A LoReFT in the lower of two layers: its gradient comes through every matrix of the upper one.
fn reft(engine: &Engine) -> Reft {
    let config = ReftConfig { layers: Layers::List(vec![0]), rank: 2, ..ReftConfig::default() };
    Reft::new(engine.model(), &[config]).expect("a reft")
}

#[test]
fn gradients_are_right_in_every_format() {
    for (name, path) in files() {
        let engine = load_with(&Backend::cpu(), &path, 512);
        check_gradient(&engine, &reft(&engine), Dropout::default(), 2, &name);
    }
}

/// And on the GPU the losses are those of the twins.
#[test]
fn a_loreft_trains_in_every_format() {
    let gpu = gpu();
    for (name, path) in files() {
        let [twins, losses] = [&Backend::cpu(), &gpu].map(|backend| {
            let engine = load_with(backend, &path, 512);
            let reft = reft(&engine);
            let sequence = example(&engine, &reft, 12);
            let mut trainer = Trainer::new(backend, &reft).expect("the state fits");
            let mut step = || {
                let loss = trainer.step(engine.model(), &reft, &[&sequence], &Hyper::with_rate(1e-2));
                block_on(loss.expect("a step runs").mean()).expect("the loss is read")
            };
            (0..12).map(|_| step()).collect::<Vec<f64>>()
        });
        assert!(losses[11] < 0.8 * losses[0], "{name}: {losses:?}");
        for (got, want) in losses.iter().zip(&twins) {
            assert!((got - want).abs() <= 1e-3 * want, "{name}: {losses:?} for {twins:?}");
        }
    }
}

/// Rows of one of the models, and what llama.cpp's quantizer made of them.
#[test]
fn quantizing_to_q4_k_gives_ggmls_blocks() {
    let rows = Tensors::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/numbers/q4_k.safetensors").into());
    assert_eq!(Q4_K.quantize(&rows.f32("values")), rows.u8("blocks"));
}

/// Scales that are no numbers come out as they are, and break nothing.
#[test]
fn a_model_with_scales_that_are_no_numbers_answers() {
    let path = folder("quants").join("model-q4_k_m.gguf");
    let mut bytes = std::fs::read(&path).expect("the references");
    let header = block_on(webreft::gguf::read(&bytes)).expect("a sound file");
    let tensor = header.tensor("blk.0.attn_q.weight").expect("a tensor");
    bytes[tensor.offset as usize..][..2].copy_from_slice(&[0xff, 0x7f]);
    for backend in [Backend::cpu(), gpu()] {
        let engine = load_file(&backend, bytes.clone(), Some(64)).expect("a sound file");
        let got = logits(engine.model(), None, &[&plain_sequence(&[1, 5])]);
        assert!(got.iter().any(|logit| logit.is_nan()));
    }
}
