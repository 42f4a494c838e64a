//! The engine against traces of the real libraries: PyTorch, pyreft and pyvene.
//!
//! `WEBREFT_GOLDEN` names a directory as its README describes it (default `tests/golden`). Models and cases are those of
//! its `manifest.json`; every case of the kinds the engine has is run, on the twins and on a GPU. The table at the end says
//! how many ran and passed, what is not yet supported, and the worst deviation of each quantity.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;

use pollster::block_on;
use serde_json::{Value, json};
use support::{Tensors, plain_sequence, transposed};
use webreft::backend::Backend;
use webreft::engine::Engine;
use webreft::generate::{GenerateOptions, Persona, Prompt};
use webreft::kernel::{Activation, Hyper, OrthogonalMap};
use webreft::model::{Component, Model};
use webreft::reft::kinds::KINDS;
use webreft::reft::{
    Base, Components, CountedRow, HeadConfig, HeadParams, Intervention, Layers, Params, Pooling, Positions,
    Reft, ReftConfig, RowEdits, Wanted, collect, pyreft_slots,
};
use webreft::train::{Schedule, Sequence, Target, Task, Trainer, reference, scores};

const CPU: Tolerances = Tolerances { states: 2e-4, loss: 1e-5, gradient: 1e-4, curve: 1e-4 };

#[test]
fn the_twins_agree_with_the_traces() {
    check(Backend::twins(), CPU, 1);
}

#[test]
fn the_cpu_agrees_with_the_traces() {
    check(Backend::cpu(), CPU, 1);
}

/// A program in place of a GPU takes minutes for what a GPU does in seconds: it trains on every fourth of the cases.
#[test]
fn the_gpu_agrees_with_the_traces() {
    let backend = block_on(Backend::gpu()).expect("this test needs a GPU, or a driver that plays one");
    let every = if backend.is_software() { 4 } else { 1 };
    check(backend, Tolerances { states: 2e-4, loss: 5e-5, gradient: 1e-4, curve: 5e-4 }, every);
}

/// How far the engine may be from a trace. None of them is ever widened: a miss is a bug.
struct Tolerances {
    /// Of hidden states and logits, absolute.
    states: f32,
    /// Of the loss before training, absolute.
    loss: f32,
    /// Of gradients, relative to the largest element of the tensor.
    gradient: f32,
    /// Of losses and parameters in training, absolute.
    curve: f32,
}

/// Runs everything in the directory that the engine has, of training cases one in `every`, prints the table, and fails with all that is wrong.
fn check(backend: Backend, tolerances: Tolerances, every: usize) {
    let mut golden = Golden::open(backend, tolerances);
    golden.check_forward_passes();
    let n_before = golden.n_ran;
    golden.check_cases(every);
    let n_cases = golden.n_ran - n_before;
    golden.check_continuations();
    golden.check_tokens();
    golden.check_positions();
    golden.check_batches();
    let table = golden.table();
    // Past the test's capture of `print!`: the table is seen when the test passes, too.
    std::io::stdout().write_all(table.as_bytes()).expect("standard output takes the table");
    let failures = &golden.failures;
    assert!(failures.is_empty(), "{} deviations:\n{}", failures.len(), failures.join("\n"));
    assert!(golden.missing.is_empty(), "not supported: {:?}", golden.missing);
    let listed = golden.manifest["cases"].as_object().map_or(0, serde_json::Map::len);
    let wanted = listed.div_ceil(every);
    assert!(n_cases > 0 && n_cases == wanted, "{n_cases} of {wanted} training cases ran");
    if std::env::var_os("WEBREFT_GOLDEN").is_none() {
        let [cases, all] = OWN_CASES;
        assert_eq!(golden.n_ran, all - cases + cases.div_ceil(every), "what ran of tests/golden");
    }
}

/// Training cases of the repository's own traces, and all that is run of them.
const OWN_CASES: [usize; 2] = [40, 90];

/// A directory of traces, and what came of running it.
struct Golden {
    backend: Backend,
    tolerances: Tolerances,
    dir: PathBuf,
    manifest: Value,
    engines: BTreeMap<String, Rc<Engine>>,
    n_ran: usize,
    n_passed: usize,
    failures: Vec<String>,
    /// What the engine does not have, and the cases that want it.
    missing: BTreeMap<String, Vec<String>>,
    /// The worst deviation of each quantity.
    worst: BTreeMap<&'static str, f32>,
    /// Files that were read.
    read: BTreeSet<String>,
}

impl Golden {
    fn open(backend: Backend, tolerances: Tolerances) -> Golden {
        let dir = support::golden_dir();
        let path = dir.join("manifest.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Golden {
            backend,
            tolerances,
            dir,
            manifest: serde_json::from_str(&text).expect("the manifest is JSON"),
            engines: BTreeMap::new(),
            n_ran: 0,
            n_passed: 0,
            failures: Vec::new(),
            missing: BTreeMap::new(),
            worst: BTreeMap::new(),
            read: BTreeSet::new(),
        }
    }

    /// The files whose name within their model's folder satisfies `is_wanted`: folder, name, path.
    fn files(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<[String; 3]> {
        let files = self.manifest["files"].as_object().expect("the manifest lists files");
        let split = files.keys().filter_map(|path| Some((path.split_once('/')?, path)));
        let wanted = split.filter(|((_, name), _)| is_wanted(name));
        wanted.map(|((model, name), path)| [model, name, path].map(str::to_owned)).collect()
    }

    fn tensors(&mut self, path: &str) -> Tensors {
        self.read.insert(path.to_owned());
        Tensors::open(self.dir.join(path))
    }

    /// The model of a folder with these weights: `f32`, `f16`, `q8_0` or `q4_0`.
    fn engine(&mut self, folder: &str, weights: &str) -> Rc<Engine> {
        let path = format!("{folder}/model-{weights}.gguf");
        self.read.insert(path.clone());
        let load = || Rc::new(support::load(&self.backend, &self.dir.join(&path)));
        self.engines.entry(path.clone()).or_insert_with(load).clone()
    }

    /// Counts what `run` does as one, passed unless it adds a failure or panics.
    fn count(&mut self, place: &str, run: impl FnOnce(&mut Golden)) {
        let before = self.failures.len();
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            self.failures.push(format!("{place}: panicked, see above"));
        }
        self.n_ran += 1;
        self.n_passed += usize::from(self.failures.len() == before);
    }

    fn miss(&mut self, what: impl Into<String>, case: impl Into<String>) {
        self.missing.entry(what.into()).or_default().push(case.into());
    }

    /// Notes a failure if any element is off by more than `tolerance` × `scale`. Elements without a counterpart are failures too.
    fn close(&mut self, quantity: Quantity, place: &str, got: &[f32], expected: &[f32]) {
        let Quantity { name, tolerance, relative } = quantity;
        if got.len() != expected.len() {
            let (n, expected) = (got.len(), expected.len());
            self.failures.push(format!("{place}: expected {expected} elements, got {n}"));
            return;
        }
        let scale = if relative { expected.iter().fold(0.0f32, |most, x| most.max(x.abs())) } else { 1.0 };
        let off = got.iter().zip(expected).map(|(got, expected)| {
            let off = (got - expected).abs();
            if off.is_nan() { f32::INFINITY } else { off }
        });
        let Some((at, off)) = off.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)) else { return };
        let deviation = if off == 0.0 { 0.0 } else { off / scale };
        let worst = self.worst.entry(name).or_default();
        *worst = worst.max(deviation);
        if deviation > tolerance {
            let unit = if relative { " of the largest" } else { "" };
            self.failures.push(format!(
                "{place}: {name} off by {deviation:.2e}{unit}, at most {tolerance:.0e}: element {at}, expected {}, got {}",
                expected[at], got[at]
            ));
        }
    }

    fn table(&self) -> String {
        let mut table = String::new();
        let mut line = |text: String| writeln!(table, "{text}").expect("a string takes text");
        line(format!("\ngolden  {}  on {}", self.dir.display(), self.backend.name()));
        line(format!(
            "  ran {}   passed {}   failed {}",
            self.n_ran,
            self.n_passed,
            self.n_ran - self.n_passed
        ));
        for (quantity, worst) in &self.worst {
            line(format!("  worst {quantity:<14} {worst:.1e}"));
        }
        let n_missing: usize = self.missing.values().map(Vec::len).sum();
        line(format!("  not yet supported: {n_missing} cases"));
        for (what, cases) in &self.missing {
            line(format!("    {what}: {}", cases.join(", ")));
        }
        let unread = self.files(|_| true).into_iter().filter(|[_, _, path]| !self.read.contains(path));
        let unread = unread.filter(|[_, name, _]| !name.starts_with("traces/"));
        let unread = unread.map(|[_, name, _]| name.split('/').next().unwrap_or_default().to_owned());
        let unread: BTreeSet<String> = unread.collect();
        line(format!("  not yet read: {}", unread.into_iter().collect::<Vec<_>>().join(", ")));
        table
    }
}

/// What is compared, and how close it has to be.
#[derive(Clone, Copy)]
struct Quantity {
    name: &'static str,
    tolerance: f32,
    relative: bool,
}

impl Tolerances {
    fn states(&self, name: &'static str) -> Quantity {
        Quantity { name, tolerance: self.states, relative: false }
    }

    fn loss(&self) -> Quantity {
        Quantity { name: "first loss", tolerance: self.loss, relative: false }
    }

    fn gradient(&self, name: &'static str) -> Quantity {
        Quantity { name, tolerance: self.gradient, relative: true }
    }

    fn curve(&self, name: &'static str) -> Quantity {
        Quantity { name, tolerance: self.curve, relative: false }
    }
}

impl Golden {
    /// Every `forward*.safetensors`, against the file of the same weights.
    fn check_forward_passes(&mut self) {
        for [folder, name, path] in self.files(|name| name.starts_with("forward")) {
            let weights = name.trim_start_matches("forward").trim_start_matches('_');
            let weights = weights.trim_end_matches("safetensors").trim_end_matches('.');
            let weights = if weights.is_empty() { "f32" } else { weights };
            self.count(&path, |golden| {
                let engine = golden.engine(&folder, weights);
                let trace = golden.tensors(&path);
                golden.check_forward(engine.model(), &trace, &path);
            });
        }
    }

    fn check_forward(&mut self, model: &Model, trace: &Tensors, path: &str) {
        let n_tokens = trace.shape("input_ids")[1];
        let ids: Vec<u32> = trace.i32("input_ids").iter().map(|id| *id as u32).collect();
        let sequences: Vec<Sequence> = ids.chunks_exact(n_tokens).map(plain_sequence).collect();
        let sequences: Vec<&Sequence> = sequences.iter().collect();
        let states = support::states(model, None, &sequences);
        let logits = support::logits(model, None, &sequences);
        for name in trace.names() {
            let (quantity, got) = match name.as_str() {
                "input_ids" => continue,
                "embed" => ("embed", &states.embed),
                "final_norm" => ("final_norm", &states.final_norm),
                "logits" => ("logits", &logits),
                _ => match name.strip_prefix("hidden.").and_then(|number| number.parse::<usize>().ok()) {
                    Some(layer) => ("hidden", &states.hidden[layer]),
                    None => panic!("{path}: {name} is not known"),
                },
            };
            let quantity = self.tolerances.states(quantity);
            self.close(quantity, &format!("{path} {name}"), got, &trace.f32(&name));
        }
        let quantity = self.tolerances.states("logits");
        self.close(quantity, &format!("{path} logits, hidden states kept"), &states.logits, &logits);
    }
}

/// One training case: its settings, its tensors, and the interventions that it describes.
struct Case<'a> {
    path: &'a str,
    spec: &'a Value,
    trace: Tensors,
    engine: Rc<Engine>,
}

impl Golden {
    /// Every trace of the manifest that the engine has the means for.
    /// Trains on the first case and every so many-th from there.
    fn check_cases(&mut self, every: usize) {
        let cases = self.manifest["cases"].as_object().expect("the manifest lists cases").clone();
        for (path, spec) in cases.iter().step_by(every) {
            let missing = missing(spec);
            if !missing.is_empty() {
                self.miss(missing.join(", "), text(&spec["case"]));
                continue;
            }
            self.count(path, |golden| {
                let case = golden.case(path, spec);
                golden.check_case(&case);
            });
        }
    }

    fn case<'a>(&mut self, path: &'a str, spec: &'a Value) -> Case<'a> {
        let weights = spec["weights"].as_str().unwrap_or("f32");
        let engine = self.engine(text(&spec["model"]), weights);
        Case { path, spec, trace: self.tensors(path), engine }
    }

    fn check_case(&mut self, case: &Case<'_>) {
        let reft = case.reft("init");
        let rows = Rows::of(case, &reft);
        let sequences: Vec<&Sequence> = rows.sequences.iter().collect();
        let expected = case.trace.f32("logits0");
        let (got, expected) = match &reft.head {
            Some(_) => {
                let scores = block_on(scores(case.model(), &reft, &sequences)).expect("scores");
                (scores.concat(), expected)
            }
            None => {
                let n_vocab = case.model().dims.n_vocab;
                let kept = rows.kept.iter().flat_map(|row| &expected[row * n_vocab..][..n_vocab]);
                (support::logits(case.model(), Some(&reft), &sequences), kept.copied().collect())
            }
        };
        self.close(self.tolerances.states("logits"), &format!("{} logits0", case.path), &got, &expected);
        let mut sequences = sequences;
        if matches!(case.task(), Task::Preference { .. }) {
            // The trace has all chosen answers before all rejected ones.
            let (chosen, rejected) = sequences.split_at(sequences.len() / 2);
            sequences =
                chosen.iter().zip(rejected).flat_map(|(chosen, rejected)| [*chosen, *rejected]).collect();
        }
        for curve in ["const", "warmup", "trainer"] {
            if case.trace.has(&format!("{curve}.loss")) {
                self.check_training(case, &sequences, curve);
            }
        }
        if case.trace.has("ref_logps") {
            let expected: Vec<f32> = case.trace.f32("ref_logps").iter().map(|logp| -logp).collect();
            let got: Vec<f32> = rows.sequences.iter().map(|it| it.reference).collect();
            self.close(
                self.tolerances.states("reference"),
                &format!("{} ref_logps", case.path),
                &got,
                &expected,
            );
        }
    }

    /// All steps of one of the trace's curves; before the first step of it, loss and gradients.
    fn check_training(&mut self, case: &Case<'_>, sequences: &[&Sequence], curve: &str) {
        let place = |what: &str| format!("{} {what}", case.path);
        let rates = case.rates(curve);
        let reft = case.reft("init");
        let mut trainer = Trainer::new(&case.model().backend, &reft).expect("the optimizer's state fits");
        trainer.task = case.task();
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for (step, rate) in rates.iter().enumerate() {
            let hyper = case.hyper(curve, *rate);
            let loss = trainer.step(case.model(), &reft, sequences, &hyper).expect("a step runs");
            let loss = block_on(loss.report()).expect("the loss is read");
            losses.push(loss.mean as f32);
            norms.push(loss.grad_norm as f32);
            if step == 0 {
                self.close(self.tolerances.loss(), &place("loss0"), &losses, &case.trace.f32("loss0"));
                self.check_gradients(case, &reft, &trainer);
            }
        }
        // Transformers logs the rate of the step to come.
        let logged = if curve == "trainer" { 1 } else { 0 };
        let mut rates: Vec<f32> = rates.iter().skip(logged).map(|rate| *rate as f32).collect();
        rates.resize(losses.len(), 0.0);
        let expected = case.trace.f32(&format!("{curve}.lr"));
        let rate = Quantity { name: "rate", tolerance: 1e-9, relative: false };
        self.close(rate, &place(&format!("{curve}.lr")), &rates, &expected);
        let expected = case.trace.f32(&format!("{curve}.loss"));
        let mut tolerance = self.tolerances.curve("curve");
        if !case.trace.names().iter().any(|name| name.starts_with(&format!("{curve}.final")))
            && !case.has_head()
        {
            // A loss that does not change when R's rows turn among themselves: AdamW follows rounding, and the libraries
            // themselves agree no better (the traces' README).
            tolerance = Quantity { name: "curve, free R", tolerance: 3e-3, relative: false };
        }
        if curve == "trainer" {
            // Transformers logs losses with four decimals.
            let round = |loss: &f32| (loss * 1e4).round() / 1e4;
            let rounded = Quantity { name: "logged loss", tolerance: 1.01e-4, relative: false };
            self.close(
                rounded,
                &place("trainer.loss"),
                &losses.iter().map(round).collect::<Vec<_>>(),
                &expected,
            );
            let expected = case.trace.f32("trainer.grad_norm");
            self.close(
                self.tolerances.curve("gradient norm"),
                &place("trainer.grad_norm"),
                &norms,
                &expected,
            );
        } else {
            self.close(tolerance, &place(&format!("{curve}.loss")), &losses, &expected);
            self.check_exact_curve(case, curve, &losses);
        }
        self.check_final(case, &reft, curve);
        if curve == "trainer" {
            let hyper = case.hyper(curve, 0.0);
            let after = trainer.step(case.model(), &reft, sequences, &hyper).expect("a step runs");
            let after = block_on(after.mean()).expect("the loss is read") as f32;
            let expected = case.trace.f32("trainer.loss_after");
            self.close(self.tolerances.curve("curve"), &place("trainer.loss_after"), &[after], &expected);
        }
    }

    /// The same curve in f64, which rounding does not lead; but of a square R: there the engine's own noise does.
    fn check_exact_curve(&mut self, case: &Case<'_>, curve: &str, losses: &[f32]) {
        let name = format!("{curve}.loss_f64");
        if case.trace.has(&name) && case.spec["kind"] != "dii_rotated" {
            let quantity = self.tolerances.curve("curve in f64");
            self.close(quantity, &format!("{} {name}", case.path), losses, &case.trace.f64(&name));
        }
    }

    fn check_gradients(&mut self, case: &Case<'_>, reft: &Reft, trainer: &Trainer) {
        let gradients = trainer.gradients();
        let theta = block_on(gradients.theta.read().f32()).expect("the gradient is read");
        let rot = block_on(gradients.rot.read().f32()).expect("the gradient is read");
        for (name, part, got, it) in case.named(reft, &theta, &rot) {
            let full = format!("grad0.{name}");
            let expected = oriented(part, case.trace.f32(&full), it);
            self.close(
                self.tolerances.gradient(quantity_of(part)),
                &format!("{} {full}", case.path),
                got,
                &expected,
            );
        }
        if let Some(head) = &reft.head {
            let got = head.numbers(&theta).weight;
            let quantity = self.tolerances.gradient("gradient of head");
            self.close(quantity, &format!("{} grad0.score", case.path), &got, &case.trace.f32("grad0.score"));
        }
    }

    /// Parameters after training; raw too, for R hides what does not turn it.
    fn check_final(&mut self, case: &Case<'_>, reft: &Reft, curve: &str) {
        let [theta, rot] = [&reft.theta, reft.rotations_tensor()]
            .map(|t| block_on(t.read().f32()).expect("the parameters are read"));
        for (name, part, got, it) in case.named(reft, &theta, &rot) {
            let full = format!("{curve}.final.{name}");
            if case.trace.has(&full) {
                let expected = oriented(part, case.trace.f32(&full), it);
                self.close(self.tolerances.curve("final"), &format!("{} {full}", case.path), got, &expected);
            } // not kept where rounding decides
        }
        let full = format!("{curve}.final.score");
        if let Some(head) = reft.head.as_ref().filter(|_| case.trace.has(&full)) {
            let got = head.numbers(&theta).weight;
            self.close(
                self.tolerances.curve("final"),
                &format!("{} {full}", case.path),
                &got,
                &case.trace.f32(&full),
            );
        }
    }
}

/// A trace's name, the part of an intervention that it is, its numbers, and the intervention.
type Named<'a> = (String, &'static str, &'a [f32], &'a Intervention);

impl Case<'_> {
    /// All numbers of the interventions in two flat buffers, by the traces' names.
    fn named<'a>(&self, reft: &'a Reft, theta: &'a [f32], rot: &'a [f32]) -> Vec<Named<'a>> {
        let n_lora = reft.interventions.iter().filter(|it| it.kind.name == "lora").count();
        let mut named = Vec::new();
        for (number, it) in reft.owners() {
            let stem = match projection_of(it) {
                Some(projection) => format!("lora.{}.{projection}", it.place.layer),
                None => (number - n_lora).to_string(),
            };
            for (part, numbers) in parts_of(it, theta, rot) {
                named.push((format!("{stem}.{part}"), part, numbers, it));
            }
        }
        named
    }
}

/// The weight matrices that LoRA may change, by Hugging Face's names and ours.
const PROJECTIONS: [(&str, Component); 7] = [
    ("q_proj", Component::QueryOutput),
    ("k_proj", Component::KeyOutput),
    ("v_proj", Component::ValueOutput),
    ("o_proj", Component::AttentionOutput),
    ("gate_proj", Component::GateOutput),
    ("up_proj", Component::UpOutput),
    ("down_proj", Component::MlpOutput),
];

fn projection_of(it: &Intervention) -> Option<&'static str> {
    let known = PROJECTIONS.iter().find(|(_, component)| *component == it.place.component);
    known.filter(|_| it.kind.name == "lora").map(|(name, _)| *name)
}

/// An intervention's numbers in two flat buffers, by the traces' names.
fn parts_of<'a>(it: &Intervention, theta: &'a [f32], rot: &'a [f32]) -> Vec<(&'static str, &'a [f32])> {
    let mut parts: Vec<(&str, &[f32])> = Vec::new();
    for part in it.parts() {
        let numbers = &theta[part.range.clone()];
        let is_lora = it.kind.name == "lora";
        match (part.name, it.rotation()) {
            ("projection", _) if is_lora => parts.push(("B", numbers)),
            ("weight", _) if is_lora => parts.push(("A", numbers)),
            ("projection", Some(rotation)) => {
                parts.push(("raw", numbers));
                // Of a square R the library's gradient has parts that turn nothing; raw's has all that counts.
                if rotation.map != OrthogonalMap::MatrixExp {
                    parts.push(("R", &rot[rotation.r_at..][..numbers.len()]));
                }
            }
            ("projection", None) => parts.push(("P", numbers)),
            ("weight", _) => parts.push(("W", numbers)),
            ("bias", _) => parts.push(("b", numbers)),
            _ => parts.push(("Pb", numbers)),
        }
    }
    parts
}

fn quantity_of(name: &str) -> &'static str {
    match name {
        "raw" => "gradient of raw",
        "R" => "gradient of R",
        "P" | "Pb" => "gradient of P",
        "A" | "B" => "gradient of LoRA",
        "W" => "gradient of W",
        _ => "gradient of b",
    }
}

/// A trace keeps rotations and LoRA's B [D, R], where the engine has [R, D].
fn oriented(name: &str, values: Vec<f32>, it: &Intervention) -> Vec<f32> {
    match name {
        "raw" | "R" => transposed(&values, values.len() / it.sizes.n_embd),
        "B" => transposed(&values, it.sizes.rank),
        _ => values,
    }
}

/// What a case wants that the engine does not have: its kind, or an option.
fn missing(spec: &Value) -> Vec<String> {
    let words = |key: &str, default: &str, known: &[&str]| {
        let word = spec[key].as_str().unwrap_or(default);
        (!known.contains(&word)).then(|| format!("{key} {word}"))
    };
    let task = words("task", "lm", &["lm", "seqcls", "reward", "dpo", "trainer"]);
    let unknown = |kind: &str| KINDS.iter().all(|known| known.name != kind);
    let kinds = spec["kind"].as_str().unwrap_or("").split('+').find(|kind| unknown(kind));
    let kind = kinds.map(|kind| format!("kind {kind}"));
    let component = words("component", "block_output", &Component::ALL.map(Component::name));
    let act = words("act", "linear", &Activation::ALL.map(Activation::name));
    let mut missing: Vec<String> = [task, kind, component, act].into_iter().flatten().collect();
    // What the lines above read, what says where the case came from, and what the trace's tensors say in full.
    let known = [
        "task",
        "kind",
        "component",
        "act",
        "case",
        "model",
        "weights",
        "place",
        "tied",
        "layers",
        "r",
        "optimizer",
        "intervention_layers",
        "add_bias",
        "subspaces",
        "alpha",
        "lora_layers",
        "beta",
        "trainer",
    ];
    let options = spec.as_object().expect("a case is an object");
    let unknown = options.iter().filter(|(key, value)| {
        !known.contains(&key.as_str()) && !value.is_null() && **value != Value::Bool(false)
    });
    missing.extend(unknown.map(|(key, _)| format!("option {key}")));
    let optimizer = &spec["optimizer"];
    if optimizer["name"] != "AdamW" || !optimizer["grad_clip"].is_null() {
        missing.push(format!("optimizer {optimizer}"));
    }
    missing
}

fn text(value: &Value) -> &str {
    value.as_str().expect("the manifest has a word here")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the manifest has a list here")
}

fn real(value: &Value) -> f64 {
    value.as_f64().expect("the manifest has a number here")
}

fn count(value: &Value) -> usize {
    value.as_u64().expect("the manifest has a count here") as usize
}

impl Case<'_> {
    fn model(&self) -> &Model {
        self.engine.model()
    }

    /// The interventions, with the parameters that the trace keeps under `prefix`.
    fn reft(&self, prefix: &str) -> Reft {
        let layers: Vec<usize> = list(&self.spec["intervention_layers"]).iter().map(count).collect();
        let (mut configs, mut params) = self.loras(prefix);
        if !layers.is_empty() {
            configs.push(self.config(&layers));
            params.extend((0..layers.len()).map(|number| self.params(prefix, number)));
        }
        let score = format!("{prefix}.score");
        let head = self.trace.has(&score).then(|| {
            let config = HeadConfig {
                outputs: self.trace.shape(&score)[0],
                bias: false,
                pooling: Pooling::Last,
                seed: 0,
            };
            (config, HeadParams { weight: self.trace.f32(&score), bias: Vec::new() })
        });
        let reft = Reft::with_params(self.model(), &configs, &params, head);
        let reft = reft.unwrap_or_else(|error| panic!("{}: {error}", self.path));
        let others = reft.interventions.iter().filter(|it| it.kind.name != "lora");
        let got: Vec<usize> = others.map(|it| it.place.layer).collect();
        assert_eq!(got, layers, "{}: layers of the interventions", self.path);
        reft
    }

    fn has_head(&self) -> bool {
        self.trace.has("init.score")
    }

    fn task(&self) -> Task {
        match self.spec["task"].as_str() {
            Some("seqcls") => Task::Classification,
            Some("reward") => Task::Reward,
            Some("dpo") => Task::Preference { beta: real(&self.spec["beta"]) as f32 },
            _ => Task::Language,
        }
    }

    /// The interventions that are not LoRA.
    fn config(&self, layers: &[usize]) -> ReftConfig {
        let (first, second) = layers.split_at(layers.len() / 2);
        let both_ends = !first.is_empty() && first == second;
        let positions = match text(&self.spec["place"]) {
            "all" => "all",
            _ if both_ends => "f1+l1", // only says that there are two parts: the trace tells the rows
            _ => "l1",
        };
        let kinds = text(&self.spec["kind"]).split('+');
        ReftConfig {
            kind: kinds.filter(|kind| *kind != "lora").collect(),
            layers: Layers::List(if both_ends { first.to_vec() } else { layers.to_vec() }),
            component: Components::from(self.spec["component"].as_str().unwrap_or("block_output")),
            rank: count(&self.spec["r"]),
            positions: positions.to_owned(),
            act: self.spec["act"].as_str().unwrap_or("linear").to_owned(),
            add_bias: self.spec["add_bias"] == true,
            ..ReftConfig::default()
        }
    }

    /// LoRA's configuration, if there is one, and the parameters of all of its matrices.
    fn loras(&self, prefix: &str) -> (Vec<ReftConfig>, Vec<Params>) {
        if !text(&self.spec["kind"]).split('+').any(|kind| kind == "lora") {
            return (Vec::new(), Vec::new());
        }
        let layers =
            if self.spec["lora_layers"].is_null() { &self.spec["layers"] } else { &self.spec["lora_layers"] };
        let layers: Vec<usize> = list(layers).iter().map(count).collect();
        let name =
            |layer: usize, projection: &str, part: &str| format!("{prefix}.lora.{layer}.{projection}.{part}");
        let there =
            PROJECTIONS.iter().filter(|(projection, _)| self.trace.has(&name(layers[0], projection, "A")));
        let there: Vec<_> = there.collect();
        let config = ReftConfig {
            kind: "lora".to_owned(),
            layers: Layers::List(layers.clone()),
            component: Components::List(
                there.iter().map(|(_, component)| component.name().to_owned()).collect(),
            ),
            rank: count(&self.spec["r"]),
            alpha: real(&self.spec["alpha"]) as f32,
            ..ReftConfig::default()
        };
        let params = layers.iter().flat_map(|layer| there.iter().map(move |it| (*layer, it.0)));
        let params = params.map(|(layer, projection)| Params {
            projection: transposed(&self.trace.f32(&name(layer, projection, "B")), config.rank),
            weight: self.trace.f32(&name(layer, projection, "A")),
            ..Params::default()
        });
        let params = params.collect();
        (vec![config], params)
    }

    fn params(&self, prefix: &str, number: usize) -> Params {
        let part = |prefix: &str, part: &str| {
            let name = format!("{prefix}.{number}.{part}");
            if self.trace.has(&name) { self.trace.f32(&name) } else { Vec::new() }
        };
        let base = part("init", "base");
        let width = base.len().isqrt();
        let raw = part(prefix, "raw");
        let base = (!base.is_empty()).then(|| match transposed(&base, width) {
            columns if raw.len() == columns.len() => Base::Whole(columns),
            columns => Base::of_rows(&columns.into_iter().map(f64::from).collect::<Vec<_>>(), width),
        });
        Params {
            projection: match &base {
                Some(_) => transposed(&raw, raw.len() / width),
                None => part(prefix, "P"),
            },
            base,
            projection_bias: part(prefix, "Pb"),
            weight: part(prefix, "W"),
            bias: part(prefix, "b"),
            ..Params::default()
        }
    }

    /// The learning rates of a curve: all the same, or with a warm-up and a fall.
    fn rates(&self, curve: &str) -> Vec<f64> {
        let optimizer = &self.spec["optimizer"];
        let (mut rate, mut steps) = (real(&optimizer["lr"]), count(&optimizer["steps"]));
        let schedule = match curve {
            "const" => Schedule::named("constant", 0, steps),
            "warmup" => Schedule::named("linear", count(&optimizer["warmup_steps"]), steps),
            _ => {
                let trainer = &self.spec["trainer"];
                (rate, steps) = (real(&trainer["lr"]), count(&trainer["epochs"]));
                Schedule::named(text(&trainer["schedule"]), count(&trainer["warmup"]), steps)
            }
        };
        let schedule = schedule.expect("the trace's schedule makes sense");
        (0..steps).map(|step| rate * schedule.factor(step)).collect()
    }

    fn hyper(&self, curve: &str, rate: f64) -> Hyper {
        let (settings, clip) = match curve {
            "trainer" => (&self.spec["trainer"], "max_grad_norm"),
            _ => (&self.spec["optimizer"], "grad_clip"),
        };
        Hyper {
            betas: [0, 1].map(|i| real(&settings["betas"][i])),
            eps: real(&settings["eps"]),
            decay: real(&settings["weight_decay"]),
            clip: settings[clip].as_f64().unwrap_or(0.0),
            ..Hyper::with_rate(rate)
        }
    }
}

/// A trace's padded batch as sequences without padding.
struct Rows {
    sequences: Vec<Sequence>,
    /// The rows of [B, T] that are not padding, in order.
    kept: Vec<usize>,
}

impl Rows {
    fn of(case: &Case<'_>, reft: &Reft) -> Rows {
        let (ids, mask) = (case.trace.i32("input_ids"), case.trace.i32("attention_mask"));
        let labels = case.trace.i32("labels");
        let [n_examples, n_tokens] = case.trace.shape("input_ids")[..] else { panic!("{}: ids", case.path) };
        let mut rows = Rows { sequences: Vec::new(), kept: Vec::new() };
        for example in 0..n_examples {
            let at = example * n_tokens;
            let kept: Vec<usize> = (0..n_tokens).filter(|t| mask[at + t] == 1).collect();
            let row_of = |token: usize| kept.iter().position(|t| *t == token);
            let mut sequence =
                Sequence { tokens: kept.iter().map(|t| ids[at + t] as u32).collect(), ..Sequence::default() };
            if case.has_head() {
                sequence.target = match case.task() {
                    Task::Reward => Target::None,
                    _ => Target::Class(labels[example] as u32),
                };
            } else {
                for token in (0..n_tokens).filter(|t| labels[at + t] >= 0) {
                    let row = token.checked_sub(1).and_then(row_of).expect("a label has a token before it");
                    sequence.labels.push((row, labels[at + token] as u32));
                }
            }
            for (number, it) in case.traced(reft) {
                let listed = case.positions([number, example], &kept);
                let counts = counted(listed.into_iter().filter_map(row_of).collect());
                sequence.edits.push(case.edits(it, [number, example], counts));
            }
            let loras = reft.interventions.iter().filter(|it| it.kind.name == "lora");
            let whole = || (0..kept.len() as u32).map(|row| [row, 1]).collect();
            let loras: Vec<RowEdits> = loras.map(|it| RowEdits::new(it, whole(), 1.0, None)).collect();
            sequence.edits.splice(0..0, loras);
            if case.trace.has("ref_logps") {
                let plain = Sequence { edits: Vec::new(), ..sequence.clone() };
                let reference = block_on(reference(case.model(), &[&plain])).expect("the other run");
                sequence.reference = reference[0];
            }
            rows.kept.extend(kept.iter().map(|t| at + t));
            rows.sequences.push(sequence);
        }
        rows
    }
}

impl Case<'_> {
    /// The interventions whose positions the trace tells, with their numbers in it.
    fn traced<'a>(&self, reft: &'a Reft) -> impl Iterator<Item = (usize, &'a Intervention)> {
        reft.interventions.iter().filter(|it| it.kind.name != "lora").enumerate()
    }

    /// The tokens that an intervention edits in an example.
    fn positions(&self, [number, example]: [usize; 2], kept: &[usize]) -> Vec<usize> {
        let [_, n_examples, n_positions] = self.trace.shape("positions")[..] else {
            panic!("{}: positions", self.path)
        };
        let from = (number * n_examples + example) * n_positions;
        match text(&self.spec["place"]) {
            "all" => kept.to_vec(),
            _ => self.trace.i32("positions")[from..from + n_positions].iter().map(|p| *p as usize).collect(),
        }
    }
}

impl Case<'_> {
    /// What an intervention does in an example: to some dimensions only, or with rows of another run, where the case says so.
    fn edits(&self, it: &Intervention, [number, example]: [usize; 2], rows: Vec<CountedRow>) -> RowEdits {
        let subspace: Option<Vec<usize>> =
            self.spec["subspaces"].as_array().map(|lists| list(&lists[example]).iter().map(count).collect());
        let mut edits = RowEdits::new(it, rows, 1.0, subspace.as_deref());
        if it.kind.reads_source() {
            let [_, n_examples, n_positions] = self.trace.shape("source_positions")[..] else {
                panic!("{}: source positions", self.path)
            };
            let n_tokens = self.trace.shape("source_ids")[1];
            let of_example = |name: &str| self.trace.i32(name)[example * n_tokens..][..n_tokens].to_vec();
            let kept: Vec<(i32, i32)> =
                of_example("source_ids").into_iter().zip(of_example("source_mask")).collect();
            let n_pad = kept.iter().take_while(|(_, mask)| *mask == 0).count();
            let tokens: Vec<u32> =
                kept.iter().filter(|(_, mask)| *mask == 1).map(|(id, _)| *id as u32).collect();
            let from = (number * n_examples + example) * n_positions;
            let rows = &self.trace.i32("source_positions")[from..from + n_positions];
            let rows: Vec<u32> = rows.iter().map(|row| *row as u32 - n_pad as u32).collect();
            let wanted = Wanted { place: it.place, window: it.window(), rows };
            let states = block_on(collect(self.model(), &tokens, &[wanted]));
            edits.source = states.expect("the other run").remove(0);
        }
        edits
    }
}

/// Each row once, with how often it occurs.
fn counted(rows: Vec<usize>) -> Vec<CountedRow> {
    let mut edits: Vec<CountedRow> = Vec::new();
    for row in rows {
        match edits.iter_mut().find(|edit| edit[0] as usize == row) {
            Some(edit) => edit[1] += 1,
            None => edits.push([row as u32, 1]),
        }
    }
    edits
}

impl Golden {
    /// Every continuation of `generate.json`: what generation answers, and all logits on the way.
    fn check_continuations(&mut self) {
        for [folder, _, path] in self.files(|name| name == "generate.json") {
            for entry in list(&self.json(&path)) {
                let name = text(&entry["case"]);
                let case_path = format!("{folder}/traces/{name}.safetensors");
                let spec = self.manifest["cases"][&case_path].clone();
                let missing = missing(&spec);
                if !missing.is_empty() {
                    self.miss(missing.join(", "), format!("generate {name}"));
                    continue;
                }
                let modes = entry.as_object().expect("an object").iter();
                for (mode, expected) in modes.filter(|(_, value)| value.get("output_ids").is_some()) {
                    let place = format!("{path} {name} {mode}");
                    self.count(&place, |golden| {
                        let case = golden.case(&case_path, &spec);
                        golden.check_continuation(&Continuation::of(&case, entry, mode, expected), &place);
                    });
                }
            }
        }
    }

    fn check_continuation(&mut self, it: &Continuation<'_>, place: &str) {
        let model = it.engine.model();
        let mut sequence = plain_sequence(&it.ids);
        let rows =
            |number| it.edited_rows(number).unwrap_or_else(|| panic!("{place}: the mode is not known"));
        let interventions = it.reft.interventions.iter().enumerate();
        sequence.edits = interventions
            .map(|(number, intervention)| RowEdits::new(intervention, counted(rows(number)), 1.0, None))
            .collect();
        let logits = support::logits(model, Some(&it.reft), &[&sequence]);
        let of_row = logits.chunks_exact(model.dims.n_vocab).skip(it.n_prompt - 1);
        let margins: Vec<f32> = of_row.take(it.margins.len()).map(|logits| it.margin(logits)).collect();
        self.close(self.tolerances.states("margin"), &format!("{place} margin"), &margins, &it.margins);
        if let Some(answer) = it.generate() {
            let pairs = answer.iter().zip(&it.ids[it.n_prompt..]).zip(&it.margins);
            if let Some(((got, expected), margin)) =
                pairs.clone().find(|((got, expected), _)| got != expected)
                && *margin > CLEAR_MARGIN
            {
                self.failures.push(format!("{place}: expected token {expected}, got {got}, margin {margin}"));
            }
        }
    }
}

/// Where the two highest logits are closer than this, rounding may choose.
const CLEAR_MARGIN: f32 = 1e-3;

/// One answer of `generate.json`.
struct Continuation<'a> {
    engine: &'a Engine,
    reft: Rc<Reft>,
    mode: &'a str,
    /// For each intervention the rows of the prompt that it edits.
    positions: Vec<Vec<usize>>,
    /// Prompt and answer.
    ids: Vec<u32>,
    n_prompt: usize,
    /// How far the highest logit is above the second, at each step.
    margins: Vec<f32>,
}

impl<'a> Continuation<'a> {
    fn of(case: &'a Case<'_>, entry: &Value, mode: &'a str, expected: &Value) -> Continuation<'a> {
        let mut reft = case.reft(text(&entry["params"]));
        let place = match mode {
            "everywhere" => "all",
            "generated" => "generated",
            _ => text(&case.spec["place"]),
        };
        if let Ok(positions) = Positions::parse(place) {
            let parts = positions.parts(false);
            let each = reft.interventions.len() / parts.len();
            for (number, it) in reft.interventions.iter_mut().enumerate() {
                it.positions = parts[number / each].clone();
            }
        } // `last` stays what it is
        Continuation {
            engine: &case.engine,
            reft: Rc::new(reft),
            mode,
            positions: list(&entry["positions"])
                .iter()
                .map(|it| list(&it[0]).iter().map(count).collect())
                .collect(),
            ids: list(&expected["output_ids"]).iter().map(|id| count(id) as u32).collect(),
            n_prompt: list(&entry["prompt_ids"]).len(),
            margins: list(&expected["margin"]).iter().map(|margin| real(margin) as f32).collect(),
        }
    }

    /// The rows of prompt and answer that an intervention edits, or none if the mode is not known.
    fn edited_rows(&self, number: usize) -> Option<Vec<usize>> {
        match self.mode {
            "none" => Some(Vec::new()),
            "prompt" => Some(self.positions[number].clone()),
            "generated" => Some((self.n_prompt..self.ids.len()).collect()),
            "everywhere" => Some((0..self.ids.len()).collect()),
            _ => None,
        }
    }

    /// The difference of the two highest logits; as in the trace, the end is never chosen.
    fn margin(&self, logits: &[f32]) -> f32 {
        let end = self.engine.tokenizer().eos();
        let open = (0..).zip(logits).filter(|(id, _)| Some(*id) != end);
        let [first, second] = open.fold([f32::MIN; 2], |[first, second], (_, logit)| {
            if *logit > first { [*logit, first] } else { [first, second.max(*logit)] }
        });
        first - second
    }

    /// The engine's own answer, up to the token that ends it; none where positions cannot say what the mode edits.
    fn generate(&self) -> Option<Vec<u32>> {
        let own_rows = |(number, it): (usize, &Intervention)| {
            let rows = it.positions.rows(self.n_prompt, self.n_prompt);
            rows.into_iter().map(|[row, _]| row as usize).eq(self.positions[number].iter().copied())
        };
        let can = match self.mode {
            "prompt" => self.reft.interventions.iter().enumerate().all(own_rows),
            "none" | "everywhere" | "generated" => true,
            _ => false,
        };
        let personas = match self.mode {
            "none" => Vec::new(),
            _ => vec![Persona::new(self.reft.clone())],
        };
        let prompt = Prompt { tokens: self.ids[..self.n_prompt].to_vec(), personas };
        let options =
            GenerateOptions { max_tokens: self.ids.len() - self.n_prompt, ..GenerateOptions::default() };
        can.then(|| self.answer(&[prompt], &options))
    }

    fn answer(&self, prompts: &[Prompt], options: &GenerateOptions) -> Vec<u32> {
        let generation = self.engine.generate(prompts, options);
        let mut generation = generation.expect("the generation starts");
        let mut next = || block_on(generation.next(self.engine.tokenizer())).expect("the generation goes on");
        let pieces = std::iter::from_fn(&mut next).flatten();
        let ids: Vec<u32> = pieces.map(|piece| piece.id).collect();
        ids.into_iter().take_while(|id| !self.engine.tokenizer().is_end(*id)).collect()
    }
}

impl Golden {
    /// llama.cpp's ids for some strings.
    fn check_tokens(&mut self) {
        for [folder, _, path] in self.files(|name| name == "tokenize.json") {
            self.count(&path, |golden| {
                let engine = golden.engine(&folder, "f32");
                let strings = golden.json(&path);
                for it in list(&strings) {
                    let expected: Vec<u32> = list(&it["ids"]).iter().map(|id| count(id) as u32).collect();
                    let [special, add_bos] = ["special", "add_bos"].map(|key| it[key] == true);
                    let got = engine.tokenizer().encode(text(&it["text"]), special, add_bos);
                    if got != expected {
                        let text = &it["text"];
                        golden.failures.push(format!("{path}: {text}: expected {expected:?}, got {got:?}"));
                    }
                }
            });
        }
    }

    /// pyreft's slots to the last of them; and our own positions, which are pyreft's without the slots that it fills up, but for a
    /// prompt of one token, in which it edits nothing.
    fn check_positions(&mut self) {
        let path = "positions.json";
        if !self.dir.join(path).exists() {
            return;
        }
        self.count(path, |golden| {
            for it in list(&golden.json(path)) {
                let n_prompt = count(&it["last_position"]);
                let locations: Vec<Vec<isize>> = list(&it["locations"])
                    .iter()
                    .map(|slots| list(slots).iter().map(|slot| real(slot) as isize).collect())
                    .collect();
                let tied = it["share_weights"] == true;
                let null = if it["pad_mode"] == "first" { -1 } else { n_prompt as isize };
                let ends = ends_of(text(&it["positions"]));
                let groups = pyreft_slots(n_prompt, ends, tied, null);
                let each = locations.len().div_ceil(groups.len());
                let got: Vec<_> = (0..locations.len()).map(|number| groups[number / each].clone()).collect();
                if got != locations {
                    golden.failures.push(format!("{path} {it}: got {got:?}"));
                }
                let parts = Positions::parse(text(&it["positions"])).expect("ends").parts(tied);
                for (part, slots) in parts.iter().zip(&groups).filter(|_| n_prompt > 1) {
                    let own = part.rows(n_prompt, n_prompt).into_iter().map(|[row, _]| row as isize);
                    if !own.eq(slots.iter().copied().filter(|slot| *slot != null)) {
                        golden.failures.push(format!("{path} {it}: our own rows differ"));
                    }
                }
            }
        });
    }

    /// Every batch of pyreft's data helpers, from our own sequences of the same prompts and answers.
    fn check_batches(&mut self) {
        for [folder, _, path] in self.files(|name| name == "batches.json") {
            for (number, it) in list(&self.json(&path)).iter().enumerate() {
                let place = format!("{path} {number}: {} {}", text(&it["helper"]), text(&it["positions"]));
                self.count(&place, |golden| {
                    let engine = golden.engine(&folder, "f32");
                    let helper = Helper::of(it);
                    let (sequences, n_slots) = helper.sequences(engine.model(), it);
                    let padded = helper.padded(&sequences, n_slots);
                    for name in ["input_ids", "attention_mask", "labels", "intervention_locations"] {
                        if padded[name] != it[name] {
                            let (expected, got) = (&it[name], &padded[name]);
                            golden.failures.push(format!("{place} {name}: expected {expected}, got {got}"));
                        }
                    }
                });
            }
        }
    }

    fn json(&mut self, path: &str) -> Value {
        self.read.insert(path.to_owned());
        let text = std::fs::read_to_string(self.dir.join(path));
        let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// How one of pyreft's data helpers makes a batch of examples.
struct Helper {
    /// Whether each row opens with a padding token, which unused slots edit, and the last token of a prompt is not one of it to edit
    /// (`ReftGenerationDataset`). The others fill up with the token after the prompt.
    has_sink: bool,
    pads_left: bool,
}

impl Helper {
    fn of(it: &Value) -> Helper {
        let has_sink = match text(&it["helper"]) {
            "ReftGenerationDataset" => true,
            "make_last_position_supervised_data_module" | "make_multiple_position_supervised_data_module" => {
                false
            }
            other => panic!("helper {other} is not known"),
        };
        let pads_left = match text(&it["padding_side"]) {
            "left" => true,
            "right" => false,
            other => panic!("padding side {other} is not known"),
        };
        Helper { has_sink, pads_left }
    }

    /// The examples as our own sequences, and how many tokens each intervention edits at most.
    fn sequences(&self, model: &Model, it: &Value) -> (Vec<Sequence>, usize) {
        let place = match text(&it["positions"]) {
            "last" => "l1",
            place => place.trim_start_matches("sink:"),
        };
        let positions = if self.has_sink { place.to_owned() } else { format!("pyreft:{place}") };
        let tied = it["share_weights"] == true;
        let layers = Layers::List((0..count(&it["layers"])).collect());
        let config = ReftConfig { layers, positions, tied, ..ReftConfig::default() };
        let reft = Reft::new(model, &[config]).expect("interventions");
        let ids = |value: &Value| list(value).iter().map(|id| count(id) as u32).collect::<Vec<_>>();
        let examples = list(&it["prompt_ids"]).iter().map(ids).zip(list(&it["output_ids"]).iter().map(ids));
        let sequence = |(prompt, output): (Vec<u32>, Vec<u32>)| {
            let tokens = [prompt.as_slice(), &output].concat();
            let (n_prompt, n_tokens) = (prompt.len(), tokens.len());
            let mut sequence = Sequence::new(&reft, tokens, n_prompt, model.n_ctx).expect("an example");
            if self.has_sink {
                let edit = |it: &Intervention| {
                    RowEdits::new(it, it.positions.rows(n_prompt - 1, n_tokens), 1.0, None)
                };
                sequence.edits = reft.interventions.iter().map(edit).collect();
            }
            sequence
        };
        let [first, last] = ends_of(place);
        let n_slots = if tied { first + last } else { first.max(last) };
        (examples.map(sequence).collect(), n_slots)
    }

    /// Our own sequences as pyreft's padded batch. Its helpers do not move positions when they pad on the left.
    fn padded(&self, sequences: &[Sequence], n_slots: usize) -> Value {
        const IGNORED: i64 = -100;
        let n_sink = usize::from(self.has_sink);
        let n_tokens = sequences.iter().map(|it| n_sink + it.tokens.len()).max().expect("examples");
        let row = |values: Vec<i64>, padding: i64| {
            let padding = vec![padding; n_tokens - values.len()];
            if self.pads_left { [padding, values].concat() } else { [values, padding].concat() }
        };
        let (mut ids, mut masks, mut labels, mut locations) = (vec![], vec![], vec![], vec![]);
        for sequence in sequences {
            let sink = vec![0; n_sink];
            let tokens = sequence.tokens.iter().map(|id| i64::from(*id)).collect();
            let mut labelled = vec![IGNORED; n_sink + sequence.tokens.len()];
            sequence.labels.iter().for_each(|(row, id)| labelled[n_sink + row + 1] = i64::from(*id));
            ids.push(row([sink.clone(), tokens].concat(), 0));
            masks.push(row([sink, vec![1; sequence.tokens.len()]].concat(), 0));
            labels.push(row(labelled, IGNORED));
            let slots = sequence.edits.iter().map(|edits| {
                let rows = edits.rows.iter().flat_map(|[row, n]| vec![*row as usize + n_sink; *n as usize]);
                let mut slots: Vec<usize> = rows.collect();
                assert!(self.has_sink || slots.len() == n_slots, "pyreft leaves no slot unused");
                slots.resize(n_slots, 0);
                slots
            });
            locations.push(slots.collect::<Vec<_>>());
        }
        json!({ "input_ids": ids, "attention_mask": masks, "labels": labels, "intervention_locations": locations })
    }
}

/// N and M of `fN+lM`.
fn ends_of(positions: &str) -> [usize; 2] {
    let count = |side: char| {
        let words = positions.split('+').find_map(|word| word.strip_prefix(side));
        words.map_or(0, |digits| digits.parse().expect("a count"))
    };
    ['f', 'l'].map(count)
}
