//! The kinds that `tests/golden` does not hold, against traces of peft and pyvene, and peft's directories of them: `tests/traces`,
//! which its `make.py` made.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::{Tensors, transposed};
use webreft::backend::Backend;
use webreft::engine::{Engine, Example};
use webreft::kernel::Hyper;
use webreft::model::{Component, Model};
use webreft::reft::foreign::{File, Unsaved};
use webreft::reft::{Base, Components, Intervention, Layers, Params, Part, Reft, ReftConfig};
use webreft::train::{Sequence, TrainOptions, Trainer};
use webreft::{ErrorKind, Result};

#[test]
fn the_cpu_agrees_with_the_traces() {
    check(&Backend::cpu(), &Tolerances { loss: 1e-5, curve: 1e-4 });
}

#[test]
fn the_gpu_agrees_with_the_traces() {
    let backend = block_on(Backend::gpu()).expect("this test needs a GPU, or a driver that plays one");
    check(&backend, &Tolerances { loss: 5e-5, curve: 5e-4 });
}

#[test]
fn the_temperature_of_a_boundary_falls_as_in_the_trace() {
    let case = Case::open("boundless_das", &Backend::cpu());
    let (reft, temperatures) = (case.reft(), case.trace.f32("temperature"));
    let mut trainer = Trainer::new(&Backend::cpu(), &reft).expect("the optimizer's state fits");
    let options = TrainOptions { epochs: temperatures.len(), ..TrainOptions::default() };
    let pair = r#"{"base": "the cat", "source": "the dog", "expected": "a"}"#;
    let pair: Example = serde_json::from_str(pair).expect("an example");
    let mut training = case.engine.training(&reft, &[pair], &options).expect("a training");
    let boundary = reft.interventions[0].parts().pop().expect("the boundary comes last");
    let mut got = Vec::new();
    while block_on(training.next(case.model(), &reft, &mut trainer)).expect("a step").is_some() {
        got.push(block_on(reft.theta.read().f32()).expect("the parameters are read")[boundary.range.end - 1]);
    }
    assert!(Deviation::of("temperature", &got, &temperatures, 1e-5).off <= 1e-5, "{got:?}, {temperatures:?}");
}

/// Cases whose directory peft saved before the first step.
const SAVED: [&str; 7] =
    ["ia3", "ia3_others", "dora", "prompt_tuning", "p_tuning", "prefix_tuning", "prefix_tuning_encoder"];

#[test]
fn directories_of_peft_are_what_their_traces_begin_with_and_are_written_with_the_same_bits() {
    for name in SAVED {
        let (case, theirs) = (Case::open(name, &Backend::cpu()), saved(name));
        let reft = case.import(&theirs).expect("interventions");
        case.check_logits(&reft);
        let files = block_on(case.engine.export_reft(&reft, "peft")).expect("files");
        assert_eq!(tensors(&files), tensors(&theirs), "{name}");
        let again = case.import(&files).expect("what was written");
        assert_eq!(again.configs, reft.configs, "{name}");
    }
}

#[test]
fn what_an_encoder_makes_is_written_without_it() {
    for name in ["p_tuning", "prefix_tuning_encoder"] {
        let case = Case::open(name, &Backend::cpu());
        let files = block_on(case.engine.export_reft(&case.reft(), "peft")).expect("files");
        let reft = case.import(&files).expect("what was written");
        assert_eq!(reft.configs[0].encoder, 0, "{name}");
        case.check_logits(&reft);
    }
}

#[test]
fn what_peft_does_not_have_is_refused() {
    let engine = Case::open("ia3", &Backend::cpu()).engine;
    let kind = |name: &str| ReftConfig { kind: name.to_owned(), ..ReftConfig::default() };
    let export = |configs: &[ReftConfig]| {
        let reft = engine.reft(configs).expect("interventions");
        block_on(engine.export_reft(&reft, "peft")).map(|_| ())
    };
    let last = ReftConfig { positions: "l1".to_owned(), ..kind("ia3") };
    refused(
        export(&[last]),
        ErrorKind::Unsupported,
        &["ia3 at key_output of layer 0, positions l1", "expected"],
    );
    let stronger = ReftConfig { alpha: 8.0, ..kind("ia3") };
    refused(export(&[stronger]), ErrorKind::Unsupported, &["scale 2", "expected"]);
    let component = Components::List(vec!["up_output".to_owned(), "mlp_output".to_owned()]);
    refused(
        export(&[ReftConfig { component, ..kind("ia3") }]),
        ErrorKind::Unsupported,
        &["down_proj", "expected one ia3, got two"],
    );
    refused(export(&[kind("ia3"), kind("lora")]), ErrorKind::Unsupported, &["lora at query_output", "ia3"]);
    refused(
        export(&[kind("prompt_tuning"), kind("lora")]),
        ErrorKind::Unsupported,
        &["prompt_tuning", "one configuration of virtual tokens"],
    );
}

#[test]
fn directories_that_peft_would_not_write_are_refused() {
    let case = Case::open("ia3", &Backend::cpu());
    let import = |files: &[File]| case.import(files).map(|_| ());
    let changed = |name: &str, from: &str, to: &str| {
        let mut files = saved(name);
        let config = files.iter_mut().find(|(name, _)| name == "adapter_config.json").expect("it is there");
        let text = String::from_utf8(config.1.clone()).expect("text");
        assert!(text.contains(from), "{from:?} is not in {text}");
        config.1 = text.replace(from, to).into_bytes();
        files
    };
    let other = changed("ia3", "\"IA3\"", "\"OFT\"");
    refused(import(&other), ErrorKind::Unsupported, &["adapter_config.json", "OFT", "LORA, IA3"]);
    let beside = changed("ia3", "\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]");
    refused(import(&beside), ErrorKind::Unsupported, &["modules_to_save", "lm_head"]);
    let fewer = changed("prompt_tuning", "\"num_virtual_tokens\": 5", "\"num_virtual_tokens\": 4");
    refused(import(&fewer), ErrorKind::File, &["prompt_embeddings", "expected [4, width], got [5, 64]"]);
    let uncounted = changed("prompt_tuning", "\"num_virtual_tokens\": 5", "\"num_virtual_tokens\": -5");
    refused(import(&uncounted), ErrorKind::File, &["num_virtual_tokens -5", "expected a count"]);
    let twofold =
        changed("prefix_tuning", "\"num_transformer_submodules\": 1", "\"num_transformer_submodules\": 2");
    refused(import(&twofold), ErrorKind::Unsupported, &["num_transformer_submodules 2", "expected 1"]);
    let narrow = changed("prompt_tuning", "PROMPT_TUNING", "PREFIX_TUNING");
    refused(import(&narrow), ErrorKind::Input, &["prefix_tuning", "[5, 256]", "320"]);
    let foreign = [saved("ia3").remove(0), saved("prompt_tuning").remove(1)];
    refused(import(&foreign), ErrorKind::Unsupported, &["prompt_embeddings", "ia3_l"]);
    let alone = &saved("prompt_tuning")[..1];
    refused(import(alone), ErrorKind::File, &["adapter_model.safetensors is missing"]);
}

/// What peft saved of a case: its configuration, then its tensors.
fn saved(name: &str) -> Vec<File> {
    let directory = tests().join("traces/peft_save").join(name);
    let read = |file: &str| {
        let bytes = std::fs::read(directory.join(file));
        (file.to_owned(), bytes.unwrap_or_else(|error| panic!("{name}/{file}: {error}")))
    };
    ["adapter_config.json", "adapter_model.safetensors"].map(read).to_vec()
}

/// The tensors of a directory: shape and bits of each by its name.
fn tensors(files: &[File]) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let file = files.iter().find(|(name, _)| name == "adapter_model.safetensors").expect("it is there");
    let file = SafeTensors::deserialize(&file.1).expect("tensors");
    let tensors = file.iter().map(|(name, it)| (name.to_owned(), (it.shape().to_vec(), it.data().to_vec())));
    tensors.collect()
}

/// Checks that something is refused, with all of `parts` in the message.
fn refused(result: Result<()>, kind: ErrorKind, parts: &[&str]) {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{part:?} is not in: {error}"));
}

/// How far the engine may be from a trace, where that depends on what it runs on. None of them is ever widened: a miss is a bug.
struct Tolerances {
    /// Of the loss before training, absolute.
    loss: f32,
    /// Of losses and parameters in training, absolute.
    curve: f32,
}

/// Of logits, absolute.
const LOGITS: f32 = 2e-4;
/// Of gradients, relative to the largest element of the tensor.
const GRADIENT: f32 = 1e-4;

/// The traces.
const CASES: [&str; 12] = [
    "ia3",
    "ia3_qwen2",
    "ia3_others",
    "prompt_tuning",
    "p_tuning",
    "prefix_tuning",
    "prefix_tuning_qwen2",
    "prefix_tuning_encoder",
    "rslora",
    "dora",
    "dora_qwen2",
    "boundless_das",
];

/// The matrices of a layer by peft's names, and where their outputs are.
const MODULES: [(&str, Component); 7] = [
    ("self_attn.q_proj", Component::QueryOutput),
    ("self_attn.k_proj", Component::KeyOutput),
    ("self_attn.v_proj", Component::ValueOutput),
    ("self_attn.o_proj", Component::AttentionOutput),
    ("mlp.gate_proj", Component::GateOutput),
    ("mlp.up_proj", Component::UpOutput),
    ("mlp.down_proj", Component::MlpOutput),
];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Runs every case, prints how close it came, and fails with all that is too far off.
fn check(backend: &Backend, tolerances: &Tolerances) {
    let mut misses = Vec::new();
    for name in CASES {
        let case = Case::open(name, backend);
        let deviations = case.deviations(tolerances);
        let worst = deviations.iter().fold(0.0f32, |worst, it| worst.max(it.off / it.tolerance));
        println!("{name} on {}: at worst {worst:.3} of what is allowed", backend.name());
        let missed = deviations.iter().filter(|it| it.off > it.tolerance);
        misses
            .extend(missed.map(|it| {
                format!("{name} {}: off by {:.2e}, at most {:.0e}", it.what, it.off, it.tolerance)
            }));
    }
    assert!(misses.is_empty(), "{} deviations:\n{}", misses.len(), misses.join("\n"));
}

/// How far one quantity is from its trace.
struct Deviation {
    what: String,
    off: f32,
    tolerance: f32,
}

impl Deviation {
    fn of(what: impl Into<String>, got: &[f32], expected: &[f32], tolerance: f32) -> Deviation {
        let what = what.into();
        assert_eq!(got.len(), expected.len(), "{what}");
        let apart = got.iter().zip(expected).map(|(got, expected)| {
            let off = (got - expected).abs();
            if off.is_nan() { f32::INFINITY } else { off }
        });
        Deviation { what, off: apart.fold(0.0, f32::max), tolerance }
    }

    /// The same as a share of the largest number that is expected.
    fn relative(what: impl Into<String>, got: &[f32], expected: &[f32], tolerance: f32) -> Deviation {
        let scale = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let it = Deviation::of(what, got, expected, tolerance);
        Deviation { off: it.off / scale, ..it }
    }
}

/// A trace, and the model that it was made with.
struct Case {
    trace: Tensors,
    spec: Value,
    engine: Engine,
}

impl Case {
    fn open(name: &str, backend: &Backend) -> Case {
        let trace = Tensors::open(tests().join("traces").join(name).with_extension("safetensors"));
        let spec = trace.about("spec");
        let model = match spec["model"].as_str() {
            Some("llama") => "golden/llama/model-f32.gguf",
            Some("qwen2") => "llamacpp/data/archs/qwen2-f32.gguf",
            other => panic!("{name}: model {other:?} is not known"),
        };
        Case { trace, spec, engine: support::load(backend, &tests().join(model)) }
    }

    fn model(&self) -> &Model {
        self.engine.model()
    }

    fn count(&self, key: &str) -> usize {
        self.spec[key].as_u64().unwrap_or(0) as usize
    }

    fn kind(&self) -> &str {
        self.spec["kind"].as_str().expect("a kind")
    }

    fn config(&self) -> ReftConfig {
        let kind = ReftConfig { kind: self.kind().to_owned(), ..ReftConfig::default() };
        match self.kind() {
            "ia3" if self.trace.has("init.model.layers.0.self_attn.o_proj.ia3_l") => {
                let places = ["query_output", "attention_value_output", "gate_output", "mlp_output"];
                let component = Components::List(places.map(str::to_owned).to_vec());
                ReftConfig { component, ..kind }
            }
            "ia3" => kind,
            "lora" => {
                let alpha = self.spec["alpha"].as_f64().expect("alpha") as f32;
                ReftConfig { rank: self.count("rank"), alpha, rslora: true, ..kind }
            }
            "dora" => {
                let layers = serde_json::from_value(self.spec["layers"].clone()).expect("layers");
                let modules: Vec<String> =
                    serde_json::from_value(self.spec["modules"].clone()).expect("modules");
                let of = |module: &str| MODULES.iter().find(|(name, _)| name.ends_with(module));
                let names =
                    modules.iter().map(|module| of(module).expect("a matrix").1.name().to_owned()).collect();
                let alpha = self.spec["alpha"].as_f64().expect("alpha") as f32;
                let component = Components::List(names);
                ReftConfig {
                    layers: Layers::List(layers),
                    component,
                    rank: self.count("rank"),
                    alpha,
                    ..kind
                }
            }
            "boundless_das" => {
                let layers = Layers::List(vec![self.count("layer")]);
                ReftConfig { layers, positions: "l1".to_owned(), ..kind }
            }
            _ => {
                let (virtual_tokens, encoder) = (self.count("virtual_tokens"), self.count("encoder"));
                ReftConfig { virtual_tokens, encoder, ..kind }
            }
        }
    }

    /// The interventions as the trace begins.
    fn reft(&self) -> Reft {
        let like = Reft::new(self.model(), &[self.config()]).expect("interventions");
        let mut params = Vec::new();
        for (_, it) in like.owners() {
            let mut own = Params::default();
            for part in it.parts() {
                let mut values = self.traced("init", it, &part);
                match part.name {
                    "projection" => own.projection = values,
                    "weight" => own.weight = values,
                    _ => {
                        if part.name == "boundary" {
                            values.push(self.trace.f32("temperature")[0]);
                        }
                        own.others.insert(part.name, values);
                    }
                }
            }
            let base = it.rotation().map(|_| transposed(&self.trace.f32("base"), it.sizes.n_embd));
            params.push(Params { base: base.map(Base::Whole), ..own });
        }
        Reft::with_params(self.model(), &[self.config()], &params, None).expect("the trace's numbers fit")
    }

    /// What the trace has of a part under `prefix`, as the engine lays it out.
    fn traced(&self, prefix: &str, it: &Intervention, part: &Part) -> Vec<f32> {
        let name = format!("{prefix}.{}", library_name(it, part));
        let values = self.trace.f32(&name);
        match part.name {
            "projection" => transposed(&values, part.shape[0]), // peft's B and pyvene's raw are [D, R]
            _ => values,
        }
    }

    /// The trace's padded batch without the padding.
    fn sequences(&self, reft: &Reft) -> Vec<Sequence> {
        let width = self.trace.shape("input_ids")[1];
        let ids = |name: &str| self.trace.i32(name).into_iter().map(|id| id as u32).collect::<Vec<u32>>();
        let (all, n_prompts, n_tokens) = (ids("input_ids"), ids("prompt_lengths"), self.n_tokens());
        let mut sequences = Vec::new();
        for (row, n_prompt) in n_prompts.iter().enumerate() {
            let tokens = all[row * width..][..n_tokens[row]].to_vec();
            let mut sequence = Sequence::new(reft, tokens, *n_prompt as usize, self.model().n_ctx)
                .expect("a prompt and its completion");
            if self.trace.has("source_ids") {
                let width = self.trace.shape("source_ids")[1];
                let source = ids("source_ids")[row * width..][..width].to_vec();
                sequence = sequence.with_source(reft, source, self.model().n_ctx).expect("a source");
                block_on(sequence.collect_source(self.model())).expect("the source runs");
            }
            sequences.push(sequence);
        }
        sequences
    }

    /// How long each row of the batch is without its padding.
    fn n_tokens(&self) -> Vec<usize> {
        let (mask, width) = (self.trace.i32("attention_mask"), self.trace.shape("attention_mask")[1]);
        mask.chunks_exact(width).map(|row| row.iter().filter(|it| **it == 1).count()).collect()
    }

    fn deviations(&self, tolerances: &Tolerances) -> Vec<Deviation> {
        let reft = self.reft();
        self.check_names(&reft);
        let sequences = self.sequences(&reft);
        let sequences: Vec<&Sequence> = sequences.iter().collect();
        let mut deviations = vec![self.logits(&reft, &sequences)];
        let mut trainer = Trainer::new(&self.model().backend, &reft).expect("the optimizer's state fits");
        let [rate, eps] = ["rate", "eps"].map(|key| self.spec[key].as_f64().expect("a number"));
        let hyper = Hyper { eps, ..Hyper::with_rate(rate) };
        let mut losses = Vec::new();
        for step in 0..self.count("steps") {
            self.set_temperature(&reft, step);
            let loss = trainer.step(self.model(), &reft, &sequences, &hyper).expect("a step runs");
            losses.push(block_on(loss.mean()).expect("the loss is read") as f32);
            if step == 0 {
                let theta = block_on(trainer.gradients().theta.read().f32()).expect("the gradient is read");
                self.each_part(&reft, "grad0", &theta, |what, got, expected| {
                    deviations.push(Deviation::relative(what, got, expected, GRADIENT));
                });
            }
        }
        deviations.push(Deviation::of("loss0", &losses[..1], &self.trace.f32("loss0"), tolerances.loss));
        deviations.push(Deviation::of("loss", &losses, &self.trace.f32("loss"), tolerances.curve));
        let theta = block_on(reft.theta.read().f32()).expect("the parameters are read");
        self.each_part(&reft, "final", &theta, |what, got, expected| {
            deviations.push(Deviation::of(what, got, expected, tolerances.curve));
        });
        deviations
    }

    /// Interventions from a directory.
    fn import(&self, files: &[File]) -> Result<Reft> {
        Ok(self.engine.import_reft(files, &Unsaved::default())?.reft)
    }

    /// Checks that interventions do what the trace says of those it begins with.
    fn check_logits(&self, reft: &Reft) {
        let sequences = self.sequences(reft);
        let it = self.logits(reft, &sequences.iter().collect::<Vec<_>>());
        assert!(it.off <= it.tolerance, "{}: logits off by {:.2e}", self.kind(), it.off);
    }

    /// Fails unless the interventions have all that the library trained.
    fn check_names(&self, reft: &Reft) {
        let names = self.trace.names();
        let trained: BTreeSet<&str> = names.iter().filter_map(|name| name.strip_prefix("init.")).collect();
        let own: Vec<String> = reft
            .owners()
            .flat_map(|(_, it)| it.parts().into_iter().map(move |part| library_name(it, &part)))
            .collect();
        assert_eq!(own.iter().map(String::as_str).collect::<BTreeSet<_>>(), trained, "{}", self.kind());
    }

    /// Of the logits of all tokens that are not virtual.
    fn logits(&self, reft: &Reft, sequences: &[&Sequence]) -> Deviation {
        let [_, width, n_vocab] = self.trace.shape("logits0")[..] else { panic!("logits of a batch") };
        let expected = self.trace.f32("logits0");
        let rows = expected.chunks_exact(width * n_vocab).zip(self.n_tokens());
        let expected: Vec<f32> = rows.flat_map(|(row, n)| &row[..n * n_vocab]).copied().collect();
        let all = support::logits(self.model(), Some(reft), sequences);
        let (mut got, mut at) = (Vec::new(), 0);
        for sequence in sequences {
            let end = at + sequence.tokens.len();
            got.extend_from_slice(&all[(at + sequence.n_virtual) * n_vocab..end * n_vocab]);
            at = end;
        }
        Deviation::of("logits0", &got, &expected, LOGITS)
    }

    /// Calls `each` with the name of every part, its numbers in a flat buffer, and the trace's under `prefix`.
    fn each_part(
        &self,
        reft: &Reft,
        prefix: &str,
        flat: &[f32],
        mut each: impl FnMut(String, &[f32], &[f32]),
    ) {
        for (_, it) in reft.owners() {
            for part in it.parts() {
                let expected = self.traced(prefix, it, &part);
                // Behind a boundary lies its temperature, which is not trained.
                let got = &flat[part.range.clone()][..expected.len()];
                each(format!("{prefix}.{}", library_name(it, &part)), got, &expected);
            }
        }
    }

    /// Sets the temperature of a boundary to that of a step.
    fn set_temperature(&self, reft: &Reft, step: usize) {
        let parts = reft.owners().flat_map(|(_, it)| it.parts());
        for boundary in parts.filter(|part| part.name == "boundary") {
            let temperature = self.trace.f32("temperature")[step];
            reft.theta.write(boundary.range.start + 1, &[temperature.to_bits()]);
        }
    }
}

/// The name that a part has in the trace: peft's, without what it puts around each of them.
fn library_name(it: &Intervention, part: &Part) -> String {
    let of_module = |name: &str| {
        let module = match (it.kind.name, it.place.component) {
            ("ia3", Component::UpOutput) => "mlp.down_proj", // which reads what the gate lets through
            ("ia3", Component::AttentionValueOutput) => "self_attn.o_proj", // its input
            (_, component) => MODULES.iter().find(|(_, known)| *known == component).expect("a matrix").0,
        };
        format!("model.layers.{}.{module}.{name}", it.place.layer)
    };
    match (it.kind.name, part.name) {
        ("ia3", "scale") => of_module("ia3_l"),
        ("lora" | "dora", "weight") => of_module("lora_A.weight"),
        ("lora" | "dora", "projection") => of_module("lora_B.weight"),
        ("dora", "magnitude") => of_module("lora_magnitude_vector.weight"),
        ("boundless_das", "projection") => "raw".to_owned(),
        ("p_tuning", name) if name != "embedding" => name.replace("encoder", "mlp_head"),
        ("prefix_tuning", name) if name != "embedding" => name.replace("encoder", "transform"),
        (_, "embedding") => "embedding.weight".to_owned(),
        (_, name) => name.to_owned(),
    }
}
