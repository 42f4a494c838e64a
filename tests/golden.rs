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
use serde_json::Value;
use support::{Tensors, plain_sequence};
use webreft::backend::Backend;
use webreft::engine::Engine;
use webreft::generate::{GenerateOptions, Prompt};
use webreft::kernel::{Activation, Hyper};
use webreft::model::{Component, Model};
use webreft::reft::{Base, Intervention, KINDS, Layers, Params, Positions, Reft, ReftConfig};
use webreft::train::{Schedule, Sequence, Trainer};

#[test]
fn the_twins_agree_with_the_traces() {
    let loss = 1e-5;
    check(Backend::Cpu, Tolerances { states: 2e-4, loss, gradient: 1e-4, curve: 1e-4 });
}

#[test]
fn the_gpu_agrees_with_the_traces() {
    let backend = block_on(Backend::gpu()).expect("this test needs a GPU, or a driver that plays one");
    check(backend, Tolerances { states: 2e-4, loss: 5e-5, gradient: 1e-4, curve: 5e-4 });
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

/// Runs everything in the directory that the engine has, prints the table, and fails with all that is wrong.
fn check(backend: Backend, tolerances: Tolerances) {
    let mut golden = Golden::open(backend, tolerances);
    golden.check_forward_passes();
    golden.check_cases();
    golden.check_continuations();
    golden.check_tokens();
    golden.check_positions();
    let table = golden.table();
    // Past the test's capture of `print!`: the table is seen when the test passes, too.
    std::io::stdout().write_all(table.as_bytes()).expect("standard output takes the table");
    let failures = &golden.failures;
    assert!(failures.is_empty(), "{} deviations:\n{}", failures.len(), failures.join("\n"));
}

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
    fn check_cases(&mut self) {
        let cases = self.manifest["cases"].as_object().expect("the manifest lists cases").clone();
        for (path, spec) in &cases {
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
        let rows = Rows::of(case);
        let sequences: Vec<&Sequence> = rows.sequences.iter().collect();
        let reft = case.reft("init");
        let logits = support::logits(case.model(), Some(&reft), &sequences);
        let n_vocab = case.model().dims.n_vocab;
        let expected = case.trace.f32("logits0");
        let expected: Vec<f32> =
            rows.kept.iter().flat_map(|row| &expected[row * n_vocab..][..n_vocab]).copied().collect();
        let quantity = self.tolerances.states("logits");
        self.close(quantity, &format!("{} logits0", case.path), &logits, &expected);
        self.check_training(case, &sequences, "const");
        self.check_training(case, &sequences, "warmup");
    }

    /// All steps of one of the trace's curves; before the first step of it, loss and gradients.
    fn check_training(&mut self, case: &Case<'_>, sequences: &[&Sequence], curve: &str) {
        let place = |what: &str| format!("{} {what}", case.path);
        let rates = case.rates(curve);
        let reft = case.reft("init");
        let mut trainer = Trainer::new(&case.model().backend, &reft).expect("the optimizer's state fits");
        let mut losses = Vec::new();
        for (step, rate) in rates.iter().enumerate() {
            let loss = trainer.step(case.model(), &reft, sequences, &case.hyper(*rate)).expect("a step runs");
            losses.push(block_on(loss.mean()).expect("the loss is read") as f32);
            if step == 0 {
                self.close(self.tolerances.loss(), &place("loss0"), &losses, &case.trace.f32("loss0"));
                self.check_gradients(case, &reft, &trainer);
            }
        }
        let rates: Vec<f32> = rates.iter().map(|rate| *rate as f32).collect();
        let expected = case.trace.f32(&format!("{curve}.lr"));
        let rate = Quantity { name: "rate", tolerance: 1e-9, relative: false };
        self.close(rate, &place(&format!("{curve}.lr")), &rates, &expected);
        let expected = case.trace.f32(&format!("{curve}.loss"));
        self.close(self.tolerances.curve("curve"), &place(&format!("{curve}.loss")), &losses, &expected);
        self.check_final(case, &reft, curve);
    }

    fn check_gradients(&mut self, case: &Case<'_>, reft: &Reft, trainer: &Trainer) {
        let gradients = trainer.gradients();
        let theta = block_on(gradients.theta.read().f32()).expect("the gradient is read");
        let rot = block_on(gradients.rot.read().f32()).expect("the gradient is read");
        let n_embd = case.model().dims.n_embd;
        for (number, it) in reft.interventions.iter().enumerate() {
            let (rank, n) = (it.edit.rank, it.edit.rank * n_embd);
            let place = |part: &str| format!("{} grad0.{number}.{part}", case.path);
            let expected = |part: &str| case.trace.f32(&format!("grad0.{number}.{part}"));
            let mut check = |name, part, got: &[f32], expected: &[f32]| {
                let quantity = self.tolerances.gradient(name);
                self.close(quantity, &place(part), got, expected);
            };
            check("gradient of R", "R", &rot[it.edit.r_at..][..n], &transposed(&expected("R"), rank));
            check(
                "gradient of raw",
                "raw",
                &theta[it.rotation.x_at..][..n],
                &transposed(&expected("raw"), rank),
            );
            check("gradient of W", "W", &theta[it.edit.w_at..][..n], &expected("W"));
            check("gradient of b", "b", &theta[it.edit.b_at..][..rank], &expected("b"));
        }
    }

    /// Parameters after training; raw too, for R hides what does not turn it.
    fn check_final(&mut self, case: &Case<'_>, reft: &Reft, curve: &str) {
        let values = block_on(reft.values()).expect("the parameters are read");
        let theta = block_on(reft.theta.read().f32()).expect("the parameters are read");
        for (number, ([r, w, b], it)) in values.iter().zip(&reft.interventions).enumerate() {
            let raw = &theta[it.rotation.x_at..][..r.len()];
            for (part, got) in [("R", r.as_slice()), ("raw", raw), ("W", w), ("b", b)] {
                let name = format!("{curve}.final.{number}.{part}");
                if !case.trace.has(&name) {
                    continue; // not kept where rounding decides
                }
                let mut expected = case.trace.f32(&name);
                if part == "R" || part == "raw" {
                    expected = transposed(&expected, it.edit.rank);
                }
                self.close(self.tolerances.curve("final"), &format!("{} {name}", case.path), got, &expected);
            }
        }
    }
}

/// What a case wants that the engine does not have: its kind, or an option.
fn missing(spec: &Value) -> Vec<String> {
    let words = |key: &str, default: &str, known: &[&str]| {
        let word = spec[key].as_str().unwrap_or(default);
        (!known.contains(&word)).then(|| format!("{key} {word}"))
    };
    let task = words("task", "lm", &["lm"]);
    let kind = words("kind", "", &KINDS);
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

/// [D, R] from [R, D], and the other way round.
fn transposed(values: &[f32], n_cols: usize) -> Vec<f32> {
    (0..n_cols).flat_map(|col| values.iter().skip(col).step_by(n_cols).copied()).collect()
}

impl Case<'_> {
    fn model(&self) -> &Model {
        self.engine.model()
    }

    /// The interventions, with the parameters that the trace keeps under `prefix`.
    fn reft(&self, prefix: &str) -> Reft {
        let layers: Vec<usize> = list(&self.spec["intervention_layers"]).iter().map(count).collect();
        let (first, second) = layers.split_at(layers.len() / 2);
        let both_ends = !first.is_empty() && first == second;
        let positions = match text(&self.spec["place"]) {
            "all" => "all",
            _ if both_ends => "f1+l1", // only says that there are two parts: the trace tells the rows
            _ => "l1",
        };
        let config = ReftConfig {
            kind: text(&self.spec["kind"]).to_owned(),
            layers: Layers::List(if both_ends { first.to_vec() } else { layers.clone() }),
            component: self.spec["component"].as_str().unwrap_or("block_output").to_owned(),
            rank: count(&self.spec["r"]),
            positions: positions.to_owned(),
            tied: false,
            act: self.spec["act"].as_str().unwrap_or("linear").to_owned(),
            seed: 0,
        };
        let params = (0..layers.len()).map(|number| self.params(prefix, number)).collect();
        let reft = Reft::with_params(self.model(), &config, params);
        let reft = reft.unwrap_or_else(|error| panic!("{}: {error}", self.path));
        let got: Vec<usize> = reft.interventions.iter().map(|it| it.place.layer).collect();
        assert_eq!(got, layers, "{}: layers of the interventions", self.path);
        reft
    }

    fn params(&self, prefix: &str, number: usize) -> Params {
        let rank = count(&self.spec["r"]);
        let n_embd = self.model().dims.n_embd;
        let part = |prefix: &str, part: &str| self.trace.f32(&format!("{prefix}.{number}.{part}"));
        let columns = transposed(&part("init", "base"), n_embd);
        let columns: Vec<f64> = columns.into_iter().map(f64::from).collect();
        Params {
            x: transposed(&part(prefix, "raw"), rank),
            base: Base::of_rows(&columns, n_embd),
            weight: part(prefix, "W"),
            bias: part(prefix, "b"),
        }
    }

    /// The learning rates of a curve: all the same, or with a warm-up and a fall.
    fn rates(&self, curve: &str) -> Vec<f64> {
        let optimizer = &self.spec["optimizer"];
        let (rate, steps) = (real(&optimizer["lr"]), count(&optimizer["steps"]));
        let schedule = match curve {
            "const" => Schedule::named("constant", 0, steps),
            _ => Schedule::named("linear", count(&optimizer["warmup_steps"]), steps),
        };
        let schedule = schedule.expect("the trace's schedule makes sense");
        (0..steps).map(|step| rate * schedule.factor(step)).collect()
    }

    fn hyper(&self, rate: f64) -> Hyper {
        let optimizer = &self.spec["optimizer"];
        Hyper {
            rate,
            betas: [0, 1].map(|i| real(&optimizer["betas"][i])),
            eps: real(&optimizer["eps"]),
            decay: real(&optimizer["weight_decay"]),
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
    fn of(case: &Case<'_>) -> Rows {
        let (ids, mask) = (case.trace.i32("input_ids"), case.trace.i32("attention_mask"));
        let (labels, positions) = (case.trace.i32("labels"), case.trace.i32("positions"));
        let [n_examples, n_tokens] = case.trace.shape("input_ids")[..] else { panic!("{}: ids", case.path) };
        let [n_interventions, _, n_positions] = case.trace.shape("positions")[..] else {
            panic!("{}: positions", case.path)
        };
        let everywhere = text(&case.spec["place"]) == "all";
        let mut rows = Rows { sequences: Vec::new(), kept: Vec::new() };
        for example in 0..n_examples {
            let at = example * n_tokens;
            let kept: Vec<usize> = (0..n_tokens).filter(|t| mask[at + t] == 1).collect();
            let row_of = |token: usize| kept.iter().position(|t| *t == token);
            let mut sequence =
                Sequence { tokens: kept.iter().map(|t| ids[at + t] as u32).collect(), ..Sequence::default() };
            for token in (0..n_tokens).filter(|t| labels[at + t] >= 0) {
                let row = token.checked_sub(1).and_then(row_of).expect("a label has a token before it");
                sequence.labels.push((row, labels[at + token] as u32));
            }
            for number in 0..n_interventions {
                let from = (number * n_examples + example) * n_positions;
                let listed: Vec<usize> = match everywhere {
                    true => kept.clone(),
                    false => positions[from..from + n_positions].iter().map(|p| *p as usize).collect(),
                };
                sequence.edits.push(counted(listed.into_iter().filter_map(row_of).collect()));
            }
            rows.kept.extend(kept.iter().map(|t| at + t));
            rows.sequences.push(sequence);
        }
        rows
    }
}

/// Each row once, with how often it occurs.
fn counted(rows: Vec<usize>) -> Vec<[u32; 2]> {
    let mut edits: Vec<[u32; 2]> = Vec::new();
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
        sequence.edits = (0..it.reft.interventions.len()).map(|number| counted(rows(number))).collect();
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
        if mode == "everywhere" {
            reft.positions = Positions::All;
        } else if let Ok(positions) = Positions::parse(text(&case.spec["place"])) {
            reft.positions = positions; // `last` stays what it is
        }
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
            self.reft.positions.rows(it.part, self.n_prompt, self.n_prompt) == self.positions[number]
        };
        let can = match self.mode {
            "prompt" => self.reft.interventions.iter().enumerate().all(own_rows),
            "none" | "everywhere" => true,
            _ => false,
        };
        let reft = (self.mode != "none").then(|| self.reft.clone());
        let prompt = Prompt { tokens: self.ids[..self.n_prompt].to_vec(), reft };
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

    /// pyreft's positions, without the slots that it fills up; in a prompt of one token it edits nothing.
    fn check_positions(&mut self) {
        let mut refused = BTreeSet::new();
        let path = "positions.json";
        if !self.dir.join(path).exists() {
            return;
        }
        self.count(path, |golden| {
            let answers = golden.json(path);
            for it in list(&answers).iter().filter(|it| count(&it["last_position"]) > 1) {
                let Ok(positions) = Positions::parse(text(&it["positions"])) else {
                    refused.insert(format!("positions {}", it["positions"]));
                    continue;
                };
                let n_prompt = count(&it["last_position"]);
                let parts = positions.parts(it["share_weights"] == true);
                let locations = list(&it["locations"]);
                let each = locations.len() / parts.len();
                for (number, slots) in locations.iter().enumerate() {
                    let rows = list(slots).iter().filter_map(|slot| slot.as_u64()).map(|row| row as usize);
                    let rows: Vec<usize> = rows.filter(|row| *row != n_prompt).collect();
                    let part = parts[number.checked_div(each).unwrap_or(0)];
                    let got = positions.rows(part, n_prompt, n_prompt);
                    if got != rows {
                        golden
                            .failures
                            .push(format!("positions.json {it}: intervention {number}: got {got:?}"));
                    }
                }
            }
        });
        refused.into_iter().for_each(|what| self.miss(what, path));
    }

    fn json(&mut self, path: &str) -> Value {
        self.read.insert(path.to_owned());
        let text = std::fs::read_to_string(self.dir.join(path));
        let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}
