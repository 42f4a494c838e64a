//! What DoRA does beside what its traces tell (`tests/peft.rs`): where it starts, how strong it is, and what of it is refused.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use std::path::Path;
use support::{Tensors, logits, plain_sequence};
use webreft::backend::Backend;
use webreft::engine::Engine;
use webreft::kernel::Hyper;
use webreft::reft::foreign::{File, Unsaved};
use webreft::reft::{Components, Layers, Params, Reft, ReftConfig, RowEdits};
use webreft::train::{Sequence, Trainer};
use webreft::{Error, ErrorKind, Result};

const PROMPT: [u32; 12] = [1, 79, 148, 180, 134, 228, 243, 139, 257, 5, 233, 198];

/// Every matrix of a layer.
const MATRICES: [&str; 7] = [
    "query_output",
    "key_output",
    "value_output",
    "attention_output",
    "gate_output",
    "up_output",
    "mlp_output",
];

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

/// Runs a check with each model on the twins and on a GPU: quantized without biases, and with biases.
fn on_each(check: impl Fn(&Engine)) {
    for model in ["golden/llama/model-q4_0.gguf", "llamacpp/data/archs/qwen2-f32.gguf"] {
        support::on_each_machine(model, &check);
    }
}

fn config(components: &[&str]) -> ReftConfig {
    ReftConfig {
        kind: "dora".to_owned(),
        component: Components::List(components.iter().map(|name| (*name).to_owned()).collect()),
        layers: Layers::List(vec![0, 1]),
        rank: 2,
        alpha: 3.0,
        ..ReftConfig::default()
    }
}

fn example(engine: &Engine, reft: &Reft) -> Sequence {
    Sequence::new(reft, PROMPT.to_vec(), 9, engine.model().n_ctx).expect("an example")
}

fn values(reft: &Reft) -> Vec<Params> {
    block_on(reft.values()).expect("the parameters are read")
}

/// A DoRA of every matrix after some steps.
fn trained(engine: &Engine) -> Reft {
    let reft = Reft::new(engine.model(), &[config(&MATRICES)]).expect("a dora");
    let sequence = example(engine, &reft);
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the optimizer's state fits");
    for _ in 0..5 {
        trainer.step(engine.model(), &reft, &[&sequence], &Hyper::with_rate(1e-2)).expect("a step runs");
    }
    reft
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn lengths_start_as_those_of_the_models_rows_and_change_nothing() {
    on_each(|engine| {
        let reft = Reft::new(engine.model(), &[config(&MATRICES)]).expect("a dora");
        let sequence = example(engine, &reft);
        let edited = logits(engine.model(), Some(&reft), &[&sequence]);
        let base = logits(engine.model(), None, &[&plain_sequence(&PROMPT)]);
        assert!(worst(&edited, &base) <= 1e-5, "{}", engine.model().backend.name());
        assert!(values(&reft).iter().all(|it| it.others["magnitude"].iter().all(|m| *m > 0.0)));
    });
}

/// The lengths of the rows of Hugging Face's file, whose order is that of our rows.
#[test]
fn lengths_are_those_of_hugging_faces_rows() {
    let engine = support::load(&Backend::cpu(), &tests().join("golden/llama/model-f32.gguf"));
    let file = Tensors::open(tests().join("golden/llama/model/model.safetensors"));
    let modules = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
    let modules = [modules.as_slice(), &["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]].concat();
    let reft = Reft::new(engine.model(), &[config(&MATRICES)]).expect("a dora");
    for (number, (params, it)) in values(&reft).iter().zip(&reft.interventions).enumerate() {
        let module = modules[number % modules.len()];
        let weight = file.f32(&format!("model.layers.{}.{module}.weight", it.place.layer));
        let rows = weight.chunks_exact(it.sizes.n_in);
        let lengths: Vec<f32> = rows.map(|row| row.iter().map(|w| w * w).sum::<f32>().sqrt()).collect();
        assert!(worst(&params.others["magnitude"], &lengths) <= 1e-6, "{module}");
    }
}

#[test]
fn a_strength_of_zero_is_the_base_and_of_one_is_the_edit() {
    on_each(|engine| {
        let reft = trained(engine);
        let sequence = example(engine, &reft);
        let base = logits(engine.model(), None, &[&plain_sequence(&PROMPT)]);
        let full = logits(engine.model(), Some(&reft), &[&sequence]);
        let with = |strength: f32| {
            let mut weak = sequence.clone();
            for (it, edits) in reft.interventions.iter().zip(&mut weak.edits) {
                *edits = RowEdits::new(it, edits.rows.clone(), strength, None);
            }
            logits(engine.model(), Some(&reft), &[&weak])
        };
        let name = engine.model().backend.name();
        assert_eq!(base, with(0.0), "{name}");
        assert_eq!(full, with(1.0), "{name}");
        let [near, far] = [0.1, 1.0].map(|strength| worst(&base, &with(strength)));
        assert!(0.0 < near && near < 0.5 * far, "{near} and {far}, {name}");
    });
}

/// What follows from parameters lies behind what follows from those of other kinds, and before.
#[test]
fn what_is_saved_beside_rotations_loads_with_the_same_bits() {
    on_each(|engine| {
        let loreft = ReftConfig { layers: Layers::List(vec![1]), ..ReftConfig::default() };
        let configs = [loreft.clone(), config(&["query_output", "mlp_output"]), loreft];
        let reft = Reft::new(engine.model(), &configs).expect("three configurations");
        let file = block_on(reft.save(engine.model())).expect("a file");
        let again = Reft::load(engine.model(), &file).expect("the file is whole");
        assert_eq!(values(&again), values(&reft));
        let sequence = example(engine, &reft);
        let [a, b] = [&reft, &again].map(|reft| logits(engine.model(), Some(reft), &[&sequence]));
        assert_eq!(a, b, "{}", engine.model().backend.name());
    });
}

#[test]
fn what_dora_cannot_be_is_refused() {
    let engine = support::load(&Backend::cpu(), &tests().join("golden/llama/model-f32.gguf"));
    let wrong = [
        (ReftConfig { shared: true, ..config(&["mlp_output"]) }, ["one matrix's rows", "leave out shared"]),
        (ReftConfig { positions: "pyreft:f1+l1".to_owned(), ..config(&["mlp_output"]) }, ["pyreft", "dora"]),
        (config(&["block_output"]), ["block_output", "a weight matrix"]),
        (ReftConfig { rank: 33, ..config(&["key_output"]) }, ["rank 33", "1 to 32"]),
    ];
    for (config, parts) in wrong {
        refused(engine.reft(&[config]), ErrorKind::Input, &parts);
    }
    let loras = ["lora", "dora"].map(|kind| ReftConfig { kind: kind.to_owned(), ..ReftConfig::default() });
    let mixed = engine.reft(&loras).expect("a lora and a dora");
    refused(block_on(engine.export_reft(&mixed, "peft")), ErrorKind::Unsupported, &["a LoRA or a DoRA"]);
}

fn refused<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let error: Error = result.err().expect("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{part:?} is not in: {error}"));
}

/// The directory of peft's that `tests/traces/make.py` saved, before the first step of the trace.
fn saved() -> Vec<File> {
    let directory = tests().join("traces/peft_save/dora");
    let read = |name: &str| (name.to_owned(), std::fs::read(directory.join(name)).expect(name));
    ["adapter_config.json", "adapter_model.safetensors"].map(read).to_vec()
}

fn import(engine: &Engine, files: &[File]) -> Result<Reft> {
    Ok(engine.import_reft(files, &Unsaved::default())?.reft)
}

#[test]
fn directories_of_which_a_part_is_missing_are_refused() {
    let engine = support::load(&Backend::cpu(), &tests().join("golden/llama/model-f32.gguf"));
    let with_config = |from: &str, to: &str| {
        let mut files = saved();
        let text = String::from_utf8(files[0].1.clone()).expect("text");
        assert!(text.contains(from));
        files[0].1 = text.replace(from, to).into_bytes();
        files
    };
    let plain = with_config("\"use_dora\": true", "\"use_dora\": false");
    let parts = ["layer 1 down_proj", "use_dora false", "expected no lora_magnitude_vector"];
    refused(import(&engine, &plain), ErrorKind::File, &parts);
    let strange = with_config("\"use_dora\": true", "\"use_dora\": 7");
    refused(import(&engine, &strange), ErrorKind::Unsupported, &["use_dora 7", "false or true"]);
    let lora = engine.reft(&[ReftConfig { kind: "lora".to_owned(), ..config(&["mlp_output"]) }]);
    let mut files = block_on(engine.export_reft(&lora.expect("a lora"), "peft")).expect("files");
    let text = String::from_utf8(files[0].1.clone()).expect("text");
    files[0].1 = text.replace("\"use_dora\": false", "\"use_dora\": true").into_bytes();
    refused(import(&engine, &files), ErrorKind::File, &["expected a lora_magnitude_vector", "got none"]);
}
