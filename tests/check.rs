//! The check of a GPU against the CPU notices every shader that the model uses and that is broken, and llvmpipe at a large vocabulary.

mod common;
mod support;

use common::Random;
use pollster::block_on;
use std::collections::BTreeSet;
use webreft::backend::{Backend, Gpu};
use webreft::engine::{Engine, Input};
use webreft::files::ModelFiles;
use webreft::generate::GenerateOptions;
use webreft::gguf::{ALIGNMENT, Writer};
use webreft::kernel::Hyper;
use webreft::model::{LoadOptions, Model, Verdict, check};
use webreft::quant::{F32, Format, Q8_0};
use webreft::reft::ReftConfig;
use webreft::train::{Sequence, Trainer};

fn gpu() -> Backend {
    block_on(Backend::gpu()).expect("an adapter: a software one will do")
}

fn device(backend: &Backend) -> &Gpu {
    let Backend::Gpu(gpu) = backend else { unreachable!("it is a GPU") };
    gpu
}

fn engine(backend: &Backend) -> Engine {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q4_0.gguf"));
    support::load_file(backend, file.expect("the traces"), Some(64)).expect("a sound file")
}

fn verdict(engine: &Engine) -> Verdict {
    block_on(check(engine.model())).expect("the device is there")
}

/// What interventions bring along: they are not the model's.
const OF_REFT: [&str; 7] = [
    "grad_norm",
    "lowrank_edit",
    "lowrank_edit_backward",
    "lowrank_edit_params",
    "optimizer",
    "rotation",
    "rotation_backward",
];

/// A shader, what stands in it, and what stands there when it is broken.
const BROKEN: [(&str, &str, &str); 18] = [
    ("add", "a[i] + b[i]", "a[i] - b[i]"),
    ("add_rms_norm", "x[start + i] + d[start + i]", "x[start + i] - d[start + i]"),
    ("attention", "sum += share[j]", "sum -= share[j]"),
    ("attention_backward_kv", "dk_sums[part] += share", "dk_sums[part] -= share"),
    ("attention_backward_q", "sums[part] += share", "sums[part] -= share"),
    ("cross_entropy", "p - weight[at]", "p + weight[at]"),
    ("embed", "params.scale * weight4", "-params.scale * weight4"),
    ("gather_rows", "value = x[from_row * width + i]", "value = x[i]"),
    ("glu", "up * activate4", "up + activate4"),
    ("glu_backward", "= d * up *", "= d + up *"),
    ("matmul", "sums[j] += x4[j] * w4", "sums[j] -= x4[j] * w4"),
    ("matmul_backward", "sums[j] += d4[j] * w", "sums[j] -= d4[j] * w"),
    ("matvec", "sums[t] += x[t * width + far]", "sums[t] -= x[t * width + far]"),
    ("rms_norm", "w[i] * x[start + i]", "w[i] + x[start + i]"),
    ("rms_norm_backward", "x[start + i] * pull", "x[start + i] / pull"),
    ("rope_qkv", "value.x * angle.y + value.y", "value.x * angle.y - value.y"),
    ("rope_qkv_backward", "value.x * angle.x + value.y", "value.x * angle.x - value.y"),
    ("sample", "before <= aim", "before > aim"),
];

/// The kernels of a decode step, of a prefill and of a training step.
fn used(engine: &Engine) -> BTreeSet<&'static str> {
    let prompt = engine.prompt(&Input::Text("a cat sat".to_owned()), vec![]).expect("a prompt");
    let prefill = webreft::generate::prefill_plan(engine.model(), &prompt).expect("a plan");
    let generation = engine.generate(&[prompt], &GenerateOptions::default()).expect("a generation");
    let reft = engine.reft(&[ReftConfig::default()]).expect("interventions");
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("a trainer");
    let sequence = Sequence::new(&reft, (1..30).collect(), 9, 64).expect("a sequence");
    trainer.step(engine.model(), &reft, &[&sequence], &Hyper::with_rate(1e-3)).expect("a step");
    let plans = [&prefill, generation.step_plan(), trainer.last_plan().expect("a step was made")];
    let steps = plans.into_iter().flat_map(|prepared| prepared.plan().steps());
    steps.map(|step| step.kernel.name).filter(|name| !OF_REFT.contains(name)).collect()
}

#[test]
fn a_sound_device_passes_and_every_kernel_of_the_model_is_compared() {
    let engine = engine(&gpu());
    let verdict = verdict(&engine);
    assert!(verdict.is_sound(), "{:?}", verdict.faults);
    let used = used(&engine);
    let missing: Vec<_> = used.iter().filter(|name| !verdict.kernels.contains(name)).collect();
    assert!(used.len() > 12 && missing.is_empty(), "not compared: {missing:?}");
    let unbroken: Vec<_> =
        used.iter().filter(|name| !BROKEN.iter().any(|(broken, ..)| broken == *name)).collect();
    assert!(unbroken.is_empty(), "no broken form of {unbroken:?}");
    assert!(verdict.operations > 0 && engine.model().check_key().contains("Q4_0"));
}

#[test]
fn every_broken_shader_is_noticed() {
    let backend = gpu();
    let engine = engine(&backend);
    let mut unnoticed = Vec::new();
    for (kernel, from, to) in BROKEN {
        device(&backend).break_kernel(kernel, from, to);
        let faults = verdict(&engine).faults;
        if !faults.iter().any(|fault| fault.kernel == kernel && !fault.place.is_empty()) {
            unnoticed.push((kernel, faults));
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

/// A narrow model of one layer with random weights and so many tokens.
fn model_with(n_vocab: usize) -> Vec<u8> {
    let (n_embd, n_ff) = (64, 64);
    let matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let mut tensors: Vec<(String, usize, &Format)> =
        matrices.map(|stem| (format!("blk.0.{stem}.weight"), n_embd, &Q8_0)).into();
    tensors.push(("token_embd.weight".to_owned(), n_vocab, &Q8_0));
    let norms = ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"];
    tensors.extend(norms.map(|name| (name.to_owned(), 1, &F32)));
    let mut writer = Writer::default()
        .str("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", n_embd as u32)
        .u32("llama.feed_forward_length", n_ff as u32)
        .u32("llama.attention.head_count", 1)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-6);
    let (mut random, mut data) = (Random::new(3), Vec::new());
    for (name, rows, format) in tensors {
        let ne: Vec<u64> = if rows == 1 { vec![n_embd as u64] } else { vec![n_embd as u64, rows as u64] };
        let id = if format.name == "F32" { 0 } else { 8 };
        writer = writer.tensor(&name, &ne, id, data.len() as u64);
        data.extend(random.blocks(format, rows * n_embd));
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    [writer.head(), data].concat()
}

/// llvmpipe ends a shader after 65,535 turns of its loops, and says nothing. `matmul_backward` makes 37 for each 32 rows of a matrix, as
/// llvmpipe unrolls it: above 56,681 rows the last ones have no part in the gradient.
#[test]
fn llvmpipe_is_caught_at_a_large_vocabulary() {
    let backend = gpu();
    for n_vocab in [49_152, 62_000] {
        let file = model_with(n_vocab);
        let model = block_on(async {
            let files = ModelFiles::gguf(file).await.expect("a header");
            let options = LoadOptions::default();
            Model::load(&backend, &files.header, &files.sources, &options, &mut |_| ()).await
        });
        let model = model.expect("a sound file");
        let verdict = block_on(check(&model)).expect("the device is there");
        let is_faulty = n_vocab > 56_681 && backend.name().contains("llvmpipe");
        assert_eq!(verdict.is_sound(), !is_faulty, "{}: {:?}", backend.name(), verdict.faults);
        if is_faulty {
            let fault = verdict.faults.iter().find(|fault| fault.kernel == "matmul_backward");
            assert!(fault.is_some_and(|fault| fault.place == "Q8_0 [62000, 64]"), "{:?}", verdict.faults);
        }
    }
}
