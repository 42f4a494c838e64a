//! The engine on two real models, against llama.cpp, pyreft and a reference in float64: texts, nats, logits, training.
//!
//! `cargo xtask test` fetches SmolLM2 and names it in `WEBREFT_SMOLLM2`; `cargo xtask test --all` also fetches Gemma 3 and names
//! it in `WEBREFT_GEMMA3`. `tests/real/README.md` says where the expected numbers come from.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::io::Write as _;
use std::path::PathBuf;

use pollster::block_on;
use serde_json::Value;
use support::{Tensors, load_with, logits, plain_sequence, transposed};
use webreft::backend::Backend;
use webreft::engine::{Engine, Example};
use webreft::generate::{GenerateOptions, Prompt};
use webreft::kernel::Hyper;
use webreft::reft::{Base, Layers, Params, Reft, ReftConfig};
use webreft::train::{Sequence, TrainOptions, Trainer, reference};

/// Below this difference of the two highest logits, rounding may choose the token.
const CLEAR_MARGIN: f64 = 1e-3;
/// Tokens of an answer at most.
const MAX_TOKENS: usize = 48;

/// The machine under test.
fn machine() -> Backend {
    Backend::cpu()
}

/// A model that an environment variable names, ready for a context of so many tokens.
fn model(variable: &str, context: usize) -> Engine {
    let path = std::env::var_os(variable);
    let path = path.unwrap_or_else(|| {
        panic!("{variable} names no model: `cargo xtask models --all` prints what to set")
    });
    load_with(&machine(), &PathBuf::from(path), context)
}

fn smollm2() -> Engine {
    model("WEBREFT_SMOLLM2", 1024)
}

fn gemma3(context: usize) -> Engine {
    model("WEBREFT_GEMMA3", context)
}

fn folder() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real").into()
}

fn json(name: &str) -> Value {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Prints a line past the tests' capture, so that it is seen when the test passes, too.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output takes a line");
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the reference has a list here")
}

fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn reals(value: &Value) -> Vec<f64> {
    list(value).iter().map(|real| real.as_f64().expect("a number")).collect()
}

/// One prompt of `references.json` with what llama.cpp made of it.
struct Case {
    rendered: String,
    ids: Vec<u32>,
    greedy: Vec<u32>,
    margins: Vec<f64>,
    text: String,
    completion: Vec<u32>,
    nats: Vec<f64>,
}

/// The ten cases of a model.
fn cases(model: &str) -> Vec<Case> {
    let references = json("references.json");
    let cases = list(&references["models"][model]["cases"]).iter().map(Case::of).collect::<Vec<_>>();
    assert_eq!(cases.len(), 10, "cases of {model}");
    cases
}

impl Case {
    fn of(value: &Value) -> Case {
        let text = |key: &str| value[key].as_str().expect("the reference has a text here").to_owned();
        Case {
            rendered: text("rendered"),
            ids: ids(&value["ids"]),
            greedy: ids(&value["greedy"]),
            margins: reals(&value["margins"]),
            text: text("text"),
            completion: ids(&value["completion_ids"]),
            nats: reals(&value["nll"]),
        }
    }

    /// Tokens and text of the engine's greedy answer are llama.cpp's. Returns whether rounding may have ended the comparison.
    fn check_text(&self, engine: &Engine) -> bool {
        let tokenizer = engine.tokenizer();
        assert_eq!(tokenizer.encode(&self.rendered, true, true), self.ids, "ids of {:?}", self.rendered);
        let got = answer(engine, self.ids.clone(), MAX_TOKENS);
        let differs = (0..got.len().max(self.greedy.len())).find(|at| got.get(*at) != self.greedy.get(*at));
        if let Some(at) = differs {
            let margin = self.margins[at];
            let place = format!("{:?}, token {at}, margin {margin:.1e}", self.rendered);
            assert!(margin < CLEAR_MARGIN, "{place}: expected {:?}, got {got:?}", self.greedy);
            say(&format!("  rounding chooses another token: {place}"));
            return true;
        }
        assert_eq!(tokenizer.decode(&got, false), self.text);
        false
    }

    /// The completion after the prompt, every token of it a label.
    fn sequence(&self) -> Sequence {
        let sequence = plain_sequence(&[self.ids.as_slice(), &self.completion].concat());
        let rows = self.ids.len() - 1..;
        sequence.with_labels(rows.zip(self.completion.iter().copied()).collect())
    }

    /// The engine's nats of each token of the completion. Their sum must be what the engine itself adds up.
    fn nats(&self, engine: &Engine) -> Vec<f64> {
        let (sequence, n_vocab) = (self.sequence(), engine.model().dims.n_vocab);
        let all = logits(engine.model(), None, &[&sequence]);
        let nats: Vec<f64> = sequence
            .labels
            .iter()
            .map(|(row, id)| nats_of(&all[row * n_vocab..][..n_vocab], *id as usize))
            .collect();
        let summed = block_on(reference(engine.model(), &[&sequence])).expect("losses")[0];
        let off = (f64::from(summed) - nats.iter().sum::<f64>()).abs() / nats.len() as f64;
        assert!(off <= 1e-5, "{:?}: the sum of losses is off by {off:.1e} a token", self.rendered);
        nats
    }
}

/// −log of a token's probability.
fn nats_of(logits: &[f32], id: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let mass: f64 = logits.iter().map(|l| f64::from(l - highest).exp()).sum();
    f64::from(highest - logits[id]) + mass.ln()
}

fn answer(engine: &Engine, tokens: Vec<u32>, max_tokens: usize) -> Vec<u32> {
    let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
    let prompt = Prompt { tokens, personas: vec![] };
    let mut generation = engine.generate(&[prompt], &options).expect("the generation starts");
    let mut ids = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("the generation goes on") {
        ids.extend(pieces.iter().map(|piece| piece.id));
    }
    ids.into_iter().take_while(|id| !engine.tokenizer().is_end(*id)).collect()
}

/// The greatest difference.
fn worst(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "as many numbers as expected");
    got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max)
}

fn check_texts(engine: &Engine, model: &str) {
    let cut = cases(model).iter().filter(|case| case.check_text(engine)).count();
    say(&format!("{model}: 10 texts compared, {cut} of them to a token that rounding chooses"));
}

#[test]
#[ignore = "needs SmolLM2: run `cargo xtask test`"]
fn smollm2_gives_the_texts_of_llama_cpp() {
    check_texts(&smollm2(), "smollm2-135m-instruct");
}

#[test]
#[ignore = "needs SmolLM2: run `cargo xtask test`"]
fn smollm2_gives_the_nats_of_llama_cpp() {
    let engine = smollm2();
    let off = cases("smollm2-135m-instruct")
        .iter()
        .map(|case| worst(&case.nats(&engine), &case.nats))
        .fold(0.0, f64::max);
    say(&format!("SmolLM2: nats a token off by {off:.1e}"));
    assert!(off <= 1e-4, "nats a token off by {off:.1e}");
}

#[test]
#[ignore = "needs SmolLM2: run `cargo xtask test`"]
fn smollm2_gives_the_logits_of_llama_cpp() {
    let engine = smollm2();
    let expected = Tensors::open(folder().join("logits.safetensors"));
    let n_vocab = engine.model().dims.n_vocab;
    for (number, case) in cases("smollm2-135m-instruct").iter().take(3).enumerate() {
        let got = logits(engine.model(), None, &[&plain_sequence(&case.ids)]);
        let got = &got[(case.ids.len() - 1) * n_vocab..];
        let want = expected.f32(&format!("smollm2-135m-instruct.{number}"));
        let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let off = worst(&wide(got), &wide(&want));
        say(&format!("SmolLM2: logits after prompt {number} off by {off:.1e}"));
        assert!(off <= 2e-3, "logits after prompt {number} off by {off:.1e}");
    }
}

/// Twelve steps of a training that pyreft made from the same start.
fn check_training(name: &str) {
    let engine = smollm2();
    let train = json("train.json");
    let case = &train["cases"][name];
    let reft = start(&engine, name, case);
    let examples = list(&train["ids"]).iter().map(|example| {
        let [prompt, completion] = [0, 1].map(|part| ids(&example[part]));
        let tokens = [prompt.as_slice(), &completion].concat();
        Sequence::new(&reft, tokens, prompt.len(), engine.model().n_ctx).expect("an example")
    });
    let examples: Vec<Sequence> = examples.collect();
    assert_eq!(examples.len(), 10, "examples");
    let batch: Vec<&Sequence> = examples.iter().collect();
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the optimizer's state fits");
    let hyper = Hyper::with_rate(case["learning_rate"].as_f64().expect("a rate"));
    let (losses, norms) = (reals(&case["losses"]), reals(&case["grad_norms"]));
    assert!(losses.len() >= 12 && norms.len() >= 12, "twelve steps");
    let (mut worst_loss, mut worst_norm) = (0.0f64, 0.0f64);
    for (step, (loss, norm)) in losses.iter().zip(&norms).take(12).enumerate() {
        let report = trainer.step(engine.model(), &reft, &batch, &hyper).expect("a step runs");
        let report = block_on(report.report()).expect("the loss is read");
        let off = [(report.mean - loss).abs(), (report.grad_norm / norm - 1.0).abs()];
        assert!(off[0] <= 1e-3, "{name}, step {step}: expected loss {loss}, got {}", report.mean);
        assert!(off[1] <= 1e-2, "{name}, step {step}: expected norm {norm}, got {}", report.grad_norm);
        (worst_loss, worst_norm) = (worst_loss.max(off[0]), worst_norm.max(off[1]));
    }
    say(&format!("{name}: losses off by {worst_loss:.1e}, gradient norms by {:.1e} %", 100.0 * worst_norm));
}

/// The interventions as they were before pyreft's first step: those of the first token, then those of the last.
fn start(engine: &Engine, name: &str, case: &Value) -> Reft {
    let layers: Vec<usize> = ids(&case["layers"]).into_iter().map(|layer| layer as usize).collect();
    let positions = case["positions"].as_str().expect("positions");
    let config = ReftConfig {
        kind: "loreft".to_owned(),
        layers: Layers::List(layers.clone()),
        rank: case["rank"].as_u64().expect("a rank") as usize,
        positions: positions.to_owned(),
        ..ReftConfig::default()
    };
    let tensors = Tensors::open(folder().join("train.safetensors"));
    let ends = 0..positions.split('+').count();
    let keys = ends.flat_map(|end| layers.iter().map(move |layer| (*layer, end)));
    let params: Vec<Params> = keys
        .map(|(layer, end)| format!("{name}.layer_{layer}_comp_block_output_unit_pos_nunit_1#{end}"))
        .map(|key| params(&tensors, &key, config.rank))
        .collect();
    assert_eq!(params.len(), list(&case["keys"]).len(), "{name}: interventions");
    let reft = Reft::with_params(engine.model(), &[config], &params, None).expect("the parameters fit");
    let places: Vec<usize> = reft.interventions.iter().map(|it| it.place.layer).collect();
    assert_eq!(places, layers.repeat(params.len() / layers.len()), "{name}: layers of the interventions");
    reft
}

fn params(tensors: &Tensors, key: &str, rank: usize) -> Params {
    let part = |part: &str| tensors.f32(&format!("{key}.{part}"));
    let base = part("base");
    let width = base.len().isqrt();
    let columns: Vec<f64> = transposed(&base, width).into_iter().map(f64::from).collect();
    Params {
        projection: transposed(&part("raw"), rank),
        base: Some(Base::of_rows(&columns, width)),
        weight: part("W"),
        bias: part("b"),
        ..Params::default()
    }
}

#[test]
#[ignore = "needs SmolLM2: run `cargo xtask test`"]
fn smollm2_trains_a_loreft_of_the_last_token_as_pyreft_does() {
    check_training("loreft_l1_layer15");
}

#[test]
#[ignore = "needs SmolLM2: run `cargo xtask test`"]
fn smollm2_trains_lorefts_of_first_and_last_token_as_pyreft_does() {
    check_training("loreft_f1l1_layers8_15_22");
}

/// Where browsers train from (`www/webreft/test/real.browser.test.ts`): pyreft's start as a file of interventions, which keeps R and makes a base
/// of its own. So the first step is pyreft's, and the later ones are those that are noted here.
#[test]
#[ignore = "needs SmolLM2: run `cargo xtask test`"]
fn smollm2_trains_as_browsers_are_held_to() {
    let (engine, train, browser) = (smollm2(), json("train.json"), json("browser.json"));
    let (name, layer) = ("loreft_l1_layer15", 15);
    let file = folder().join("browser_start.safetensors");
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (kept, pyreft) = (Tensors::open(file), Tensors::open(folder().join("train.safetensors")));
    for (ours, theirs) in [("rotation", "R"), ("weight", "W"), ("bias", "b")] {
        let key = format!("{name}.layer_{layer}_comp_block_output_unit_pos_nunit_1#0.{theirs}");
        assert!(kept.f32(&format!("interventions.0.{ours}")) == pyreft.f32(&key), "{ours}");
    }
    let reft = engine.load_reft(&bytes).expect("interventions on this model");
    let text = |example: &Value, key: &str| example[key].as_str().expect("a text").to_owned();
    let examples: Vec<Example> = list(&train["examples"])
        .iter()
        .map(|example| Example::answer(text(example, "prompt"), text(example, "completion")))
        .collect();
    for (sequence, parts) in
        engine.sequences(&reft, &examples).expect("examples").iter().zip(list(&train["ids"]))
    {
        assert_eq!(sequence.tokens, [0, 1].map(|part| ids(&parts[part])).concat());
    }
    let case = &train["cases"][name];
    let learning_rate = case["learning_rate"].as_f64().expect("a rate");
    let options = TrainOptions { epochs: 4, learning_rate, ..TrainOptions::default() };
    let mut training = engine.training(&reft, &examples, &options).expect("a training");
    let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the optimizer's state fits");
    let mut got = [vec![], vec![]];
    while let Some(step) = block_on(training.next(engine.model(), &reft, &mut trainer)).expect("a step") {
        got[0].push(step.loss);
        got[1].push(step.grad_norm);
    }
    say(&format!("as browsers are held to: losses and norms {got:?}"));
    let [losses, norms] = ["losses", "grad_norms"].map(|key| [reals(&browser[key]), reals(&case[key])]);
    assert!((got[0][0] - losses[1][0]).abs() <= 1e-3, "the first loss is not pyreft's {}", losses[1][0]);
    assert!((got[1][0] / norms[1][0] - 1.0).abs() <= 1e-2, "the first norm is not pyreft's {}", norms[1][0]);
    let off = [worst(&got[0], &losses[0]), worst(&got[1], &norms[0])];
    assert!(off[0] <= 1e-4 && off[1] <= 1e-3, "expected {browser}, got {got:?}");
}

#[test]
#[ignore = "needs Gemma 3: run `cargo xtask test --all`"]
fn gemma3_gives_the_texts_of_llama_cpp() {
    check_texts(&gemma3(1024), "gemma-3-270m");
}

/// llama.cpp looks the GELU up in a table of f16 values, so that its nats scatter (tests/real/README.md): a completion's mean may be
/// off by more than a token's nats are off from the reference in f64.
#[test]
#[ignore = "needs Gemma 3: run `cargo xtask test --all`"]
fn gemma3_gives_the_nats_of_the_reference() {
    let engine = gemma3(1024);
    let exact: Vec<Vec<f64>> = list(&json("gemma3_f64.json")["nll"]).iter().map(reals).collect();
    let cases = cases("gemma-3-270m");
    assert_eq!(exact.len(), cases.len(), "completions of the reference");
    let mean = |nats: &[f64]| nats.iter().sum::<f64>() / nats.len() as f64;
    let (mut off, mut off_llama_cpp) = (0.0f64, 0.0f64);
    for (case, exact) in cases.iter().zip(&exact) {
        let got = case.nats(&engine);
        off = off.max(worst(&got, exact));
        off_llama_cpp = off_llama_cpp.max((mean(&got) - mean(&case.nats)).abs());
    }
    say(&format!("Gemma 3: nats a token off by {off:.1e}; means off llama.cpp's by {off_llama_cpp:.1e}"));
    assert!(off <= 1e-4, "nats a token off by {off:.1e}");
    assert!(off_llama_cpp <= 2e-3, "mean nats off llama.cpp's by {off_llama_cpp:.1e}");
}

/// A word from the start of a prompt that is longer than the windows of most layers.
#[test]
#[ignore = "needs Gemma 3: run `cargo xtask test --all`"]
fn gemma3_finds_a_word_two_thousand_tokens_back() {
    let engine = gemma3(4096);
    let path = folder().join("longp.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tokens = engine.tokenizer().encode(&text, true, true);
    assert!(tokens.len() > 1024, "{} tokens", tokens.len());
    let got = engine.tokenizer().decode(&answer(&engine, tokens, 4), false);
    assert!(got.starts_with(" banana."), "got {got:?}");
}
