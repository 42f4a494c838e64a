//! The check of a GPU against the CPU notices every shader that a model uses and that is broken, and llvmpipe at a large vocabulary.

mod common;
mod support;

use common::Random;
use pollster::block_on;
use std::collections::BTreeSet;
use std::rc::Rc;
use webreft::backend::{Backend, Gpu};
use webreft::engine::{Engine, Input};
use webreft::files::ModelFiles;
use webreft::generate::{GenerateOptions, Persona};
use webreft::gguf::{ALIGNMENT, Writer};
use webreft::kernel::{Hyper, KERNELS};
use webreft::model::{Fault, LoadOptions, Model, Verdict, check};
use webreft::quant::{F32, Format, Q4_K, Q6_K, Q8_0};
use webreft::reft::ReftConfig;
use webreft::train::{Sequence, Trainer};

fn gpu() -> Backend {
    block_on(Backend::gpu()).expect("an adapter: a software one will do")
}

fn device(backend: &Backend) -> &Gpu {
    let Backend::Gpu(gpu) = backend else { unreachable!("it is a GPU") };
    gpu
}

/// A part of a kernel's shader, and what stands there when it is broken.
type Change = (&'static str, &'static str, &'static str);

/// A model, and changes that matter to it alone.
struct Case {
    file: &'static str,
    /// In what a format's codes stand for, in every kernel that reads them.
    formats: &'static [(&'static str, &'static str)],
    /// In what other architectures do not have.
    own: &'static [Change],
}

/// Families of formats, and what architectures have: biases, norms of queries and keys, norms after, windows, caps.
const CASES: [Case; 6] = [
    Case { file: "golden/llama/model-q4_0.gguf", formats: &[("- 8.0", "- 7.0")], own: &[] },
    Case {
        file: "golden/llama/model-f16.gguf",
        formats: &[("unpack2x16float(pairs.y)", "unpack2x16float(pairs.x)")],
        own: &[],
    },
    Case {
        file: "llamacpp/data/archs/llama_odd-q4_k_m.gguf",
        formats: &[("scale * (codes - 16.0)", "scale * (codes - 15.0)")],
        own: &[],
    },
    Case {
        file: "llamacpp/data/archs/qwen2-q8_0.gguf",
        formats: &[("scale * vec4<f32>(unpack4xI8(quants))", "-scale * vec4<f32>(unpack4xI8(quants))")],
        own: &[],
    },
    Case { file: "llamacpp/data/archs/gemma3-q4_0.gguf", formats: &[], own: &WINDOWS },
    Case { file: "llamacpp/data/archs/gemma2-q8_0.gguf", formats: &[], own: &CAPS },
];

const WINDOWS: [Change; 3] = [
    ("attention", "end - min(params.window, end)", "0u"),
    ("attention_backward_q", "end - min(params.window, end)", "0u"),
    ("attention_backward_kv", "min(params.window, reach[line].y - first)", "reach[line].y - first"),
];

const CAPS: [Change; 7] = [
    ("attention", "capped(sum, params.cap)", "sum"),
    ("attention_backward_q", "capped(params.scale * s, params.cap)", "params.scale * s"),
    ("attention_backward_q", "* cap_slope(s, params.cap)", ""),
    ("attention_backward_kv", "capped(params.scale * s, params.cap)", "params.scale * s"),
    ("attention_backward_kv", "* cap_slope(s, params.cap)", ""),
    ("cap", "capped(logits[i], params.cap)", "logits[i]"),
    ("cross_entropy", "* cap_slope(logits[start + i], params.cap)", ""),
];

/// A change for every kernel that a model uses.
const BROKEN: [Change; 30] = [
    ("accumulate", "sum[i] += x[i]", "sum[i] -= x[i]"),
    ("add", "a[i] + b[i]", "a[i] - b[i]"),
    ("add_rms_norm", "x[start + i] + d[start + i]", "x[start + i] - d[start + i]"),
    ("attention", "sum += share[j]", "sum -= share[j]"),
    ("attention_backward_kv", "dk_sums[part] += share", "dk_sums[part] -= share"),
    ("attention_backward_q", "sums[part] += share", "sums[part] -= share"),
    ("broadcast_row", "= x[i]", "= -x[i]"),
    ("cap", "params.cap);", "params.cap) + 1.0;"),
    ("cross_entropy", "p - weight[at]", "p + weight[at]"),
    ("embed", "params.scale * weight4", "-params.scale * weight4"),
    ("gather_rows", "value = x[from_row * width + i]", "value = x[i]"),
    ("glu", "up * activate4", "up + activate4"),
    ("glu_backward", "= d * up *", "= d + up *"),
    ("grad_norm", "sum += grad[i] * grad[i]", "sum += grad[i]"),
    ("lowrank_edit", "sums.x + bias", "sums.x - bias"),
    ("lowrank_edit_backward", "sum -= proj", "sum += proj"),
    ("lowrank_edit_params", "sum -= du * before", "sum += du * before"),
    ("matmul", "sums[j] += x4[j] * w4", "sums[j] -= x4[j] * w4"),
    ("matmul_backward", "sums[j] += d4[j] * w", "sums[j] -= d4[j] * w"),
    ("matvec", "sums[t] += x[t * width + far]", "sums[t] -= x[t * width + far]"),
    ("optimizer", "p[i] * kept - hyper", "p[i] * kept + hyper"),
    ("qk_norm", "* qkv[row + group.start + i] * s", "* qkv[row + group.start + i]"),
    ("qk_norm_backward", "- qkv[start + i] * pull", "+ qkv[start + i] * pull"),
    ("rms_norm", "w[i] * x[start + i]", "w[i] + x[start + i]"),
    ("rms_norm_backward", "x[start + i] * pull", "x[start + i] / pull"),
    ("rope_qkv", "value.x * angle.y + value.y", "value.x * angle.y - value.y"),
    ("rope_qkv_backward", "value.x * angle.x + value.y", "value.x * angle.x - value.y"),
    ("rotation", "rot[row + d] -= pull * base", "rot[row + d] += pull * base"),
    ("rotation_backward", "work[g_at + d] -= pull * base", "work[g_at + d] += pull * base"),
    ("sample", "before <= aim", "before > aim"),
];

fn engine(backend: &Backend, file: &str) -> Engine {
    let path = format!("{}/tests/{file}", env!("CARGO_MANIFEST_DIR"));
    support::load_with(backend, path.as_ref(), 64)
}

fn verdict(engine: &Engine) -> Verdict {
    block_on(check(engine.model())).expect("the device is there")
}

/// The kernels of a prefill, of a decode step with interventions, and of a training step on two sequences, one after the other.
fn used(engine: &Engine) -> BTreeSet<&'static str> {
    let reft = Rc::new(engine.reft(&[ReftConfig::default()]).expect("interventions"));
    let persona = vec![Persona::new(reft.clone())];
    let prompt = engine.prompt(&Input::Text("a cat sat".to_owned()), persona).expect("a prompt");
    let prefill = webreft::generate::prefill_plan(engine.model(), &prompt).expect("a plan");
    let generation = engine.generate(&[prompt], &GenerateOptions::default()).expect("a generation");
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("a trainer");
    trainer.at_once = 1;
    let sequence = Sequence::new(&reft, (1..30).collect(), 9, 64).expect("a sequence");
    let sequences = [&sequence, &sequence];
    trainer.step(engine.model(), &reft, &sequences, &Hyper::with_rate(1e-3)).expect("a step");
    let plans = [&prefill, generation.step_plan(), trainer.last_plan().expect("a step was made")];
    plans.into_iter().flat_map(|prepared| prepared.plan().steps()).map(|step| step.kernel.name).collect()
}

/// The changes to a model's shaders: at least one to each that its plans use.
fn changes(case: &Case, used: &BTreeSet<&'static str>) -> Vec<Change> {
    let of_weights = KERNELS.iter().map(|operation| &operation.kernel).filter(|kernel| kernel.weight);
    let formats =
        of_weights.flat_map(|kernel| case.formats.iter().map(|(from, to)| (kernel.name, *from, *to)));
    let all = BROKEN.into_iter().chain(formats).chain(case.own.iter().copied());
    all.filter(|(kernel, ..)| used.contains(kernel)).collect()
}

/// What is the same in every model is broken under the first that uses it.
#[test]
fn every_broken_shader_of_every_kind_of_model_is_noticed() {
    let backend = gpu();
    let models: Vec<(&Case, Engine, Vec<Change>)> =
        CASES.iter().map(|case| sound(case, engine(&backend, case.file))).collect();
    let (mut broken, mut unnoticed) = (BTreeSet::new(), Vec::new());
    for (case, engine, changes) in &models {
        for change in changes.iter().filter(|change| broken.insert(**change)) {
            let (kernel, from, to) = *change;
            device(&backend).break_kernel(kernel, from, to);
            let faults = verdict(engine).faults;
            if !faults.iter().any(|fault| fault.kernel == kernel && !fault.place.is_empty()) {
                unnoticed.push(format!("{}: {to:?} in {kernel}: {faults:?}", case.file));
            }
        }
    }
    assert!(unnoticed.is_empty(), "of {} changes unnoticed:\n{}", broken.len(), unnoticed.join("\n"));
}

/// A model of which nothing is broken, with changes to each kernel that it uses, all of which are compared.
fn sound(case: &Case, engine: Engine) -> (&Case, Engine, Vec<Change>) {
    let (verdict, used) = (verdict(&engine), used(&engine));
    assert!(verdict.is_sound() && verdict.operations > 0, "{}: {:?}", case.file, verdict.faults);
    let changes = changes(case, &used);
    for kernel in &used {
        assert!(verdict.kernels.contains(kernel), "{}: {kernel} is not compared", case.file);
        assert!(
            changes.iter().any(|change| change.0 == *kernel),
            "{}: no broken form of {kernel}",
            case.file
        );
    }
    (case, engine, changes)
}

#[test]
fn a_verdict_holds_for_a_device_a_version_and_shapes() {
    let key = engine(&gpu(), CASES[0].file).model().check_key();
    for part in [env!("CARGO_PKG_VERSION"), "Q4_0 [", "context 64", "n_vocab: "] {
        assert!(key.contains(part), "no {part:?} in {key:?}");
    }
}

/// A model of one layer with random weights and so many tokens; the second format is that of its embeddings.
fn model_with(n_vocab: usize, n_embd: usize, [matrix, embedding]: [&'static Format; 2]) -> Vec<u8> {
    let n_ff = n_embd;
    let matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let mut tensors: Vec<(String, usize, &Format)> =
        matrices.map(|stem| (format!("blk.0.{stem}.weight"), n_embd, matrix)).into();
    tensors.push(("token_embd.weight".to_owned(), n_vocab, embedding));
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
        writer = writer.tensor(&name, &ne, format.ggml_type, data.len() as u64);
        data.extend(random.blocks(format, rows * n_embd));
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    [writer.head(), data].concat()
}

fn load(backend: &Backend, file: Vec<u8>) -> Model {
    let model = block_on(async {
        let files = ModelFiles::gguf(file).await?;
        Model::load(backend, &files.header, &files.sources, &LoadOptions::default(), &mut |_| ()).await
    });
    model.expect("a sound file")
}

/// Formats whose blocks are wider than the models of [`CASES`].
#[test]
fn broken_k_quants_are_noticed() {
    let backend = gpu();
    let model = load(&backend, model_with(512, 256, [&Q4_K, &Q6_K]));
    let faults = || block_on(check(&model)).expect("the device is there").faults;
    assert_eq!(faults(), []);
    for (format, from, to) in [
        ("Q4_K [", "unpack4xI8(quants & 0x0f0f0f0fu)", "unpack4xI8(quants & 0x07070707u)"),
        ("Q4_K [", "- scale.y", "+ scale.y"),
        ("Q6_K [", "- 32.0", "- 31.0"),
    ] {
        for kernel in ["embed", "matmul", "matmul_backward", "matvec"] {
            device(&backend).break_kernel(kernel, from, to);
            let faults = faults();
            let noticed = |fault: &Fault| fault.kernel == kernel && fault.place.starts_with(format);
            assert!(faults.iter().any(noticed), "{to:?} in {kernel}: {faults:?}");
        }
    }
}

/// llvmpipe ends a shader after 65,535 turns of its loops, and says nothing. `matmul_backward` makes 37 for each 32 rows of a matrix, as
/// llvmpipe unrolls it: above 56,681 rows the last ones have no part in the gradient.
#[test]
fn llvmpipe_is_caught_at_a_large_vocabulary() {
    let backend = gpu();
    for n_vocab in [49_152, 62_000] {
        let model = load(&backend, model_with(n_vocab, 64, [&Q8_0, &Q8_0]));
        let verdict = block_on(check(&model)).expect("the device is there");
        let is_faulty = n_vocab > 56_681 && backend.name().contains("llvmpipe");
        assert_eq!(verdict.is_sound(), !is_faulty, "{}: {:?}", backend.name(), verdict.faults);
        if is_faulty {
            let fault = verdict.faults.iter().find(|fault| fault.kernel == "matmul_backward");
            assert!(fault.is_some_and(|fault| fault.place == "Q8_0 [62000, 64]"), "{:?}", verdict.faults);
        }
    }
}
