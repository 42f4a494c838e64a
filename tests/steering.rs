//! Steering vectors: found from contrast pairs, and as llama.cpp's control vectors.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use support::{logits, plain_sequence, states};
use webreft::backend::{Backend, NoControl};
use webreft::engine::{ContrastPair, Engine, Input, Source, StatesAt, SteerOptions};
use webreft::gguf::Writer;
use webreft::reft::foreign::{File, Unsaved};
use webreft::reft::{Components, Layers, Reft, ReftConfig, SteerMethod};
use webreft::token::Message;
use webreft::train::Sequence;
use webreft::{Error, ErrorKind};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The small model on the CPU and on a GPU.
fn on_each(check: impl Fn(&Engine)) {
    support::on_each_machine("golden/llama/model-f32.gguf", check);
}

fn text(text: &str) -> Input {
    Input::Text(text.to_owned())
}

fn pairs() -> Vec<ContrastPair> {
    let sides =
        [("the cat sat", "a dog ran away"), ("one house", "some cats"), ("it is on the mat", "there it was")];
    sides
        .map(|(positive, negative)| ContrastPair { positive: text(positive), negative: text(negative) })
        .to_vec()
}

fn options(method: SteerMethod) -> SteerOptions {
    SteerOptions { layers: Layers::List(vec![1, 2]), method, ..SteerOptions::default() }
}

fn steer(engine: &Engine, pairs: &[ContrastPair], options: &SteerOptions) -> Result<Reft, Error> {
    block_on(engine.steer(pairs, options, &NoControl))
}

fn directions(reft: &Reft) -> Vec<Vec<f32>> {
    block_on(reft.directions()).expect("the directions are read")
}

/// The states of a text's last token after layers 1 and 2.
fn last_states(engine: &Engine, input: &Input) -> Vec<Vec<f32>> {
    let at = StatesAt {
        layers: Layers::List(vec![1, 2]),
        component: Components::from("block_output"),
        positions: "-1".to_owned(),
        ..StatesAt::default()
    };
    let states = block_on(engine.hidden_states(input, &[at], &NoControl)).expect("states");
    assert_eq!(states.iter().map(|it| it.layer).collect::<Vec<_>>(), [1, 2]);
    states.into_iter().map(|it| it.values).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What a file says, as interventions on a model.
fn import(engine: &Engine, bytes: Vec<u8>) -> Result<Reft, Error> {
    let file: File = ("vector.gguf".to_owned(), bytes);
    engine.import_reft(&[file], &Unsaved::default()).map(|imported| imported.reft)
}

#[test]
fn states_are_those_of_the_models_own_pass() {
    on_each(|engine| {
        let input = text("the cat sat on it");
        let tokens = engine.prompt(&input, vec![]).expect("a prompt").tokens;
        let own = states(engine.model(), None, &[&plain_sequence(&tokens)]);
        let n_embd = engine.info().n_embd;
        let places = [
            StatesAt {
                positions: "1:3".to_owned(),
                component: Components::from("block_output"),
                ..StatesAt::default()
            },
            StatesAt {
                layers: Layers::List(vec![2]),
                component: Components::from("head_query_output"),
                heads: vec![1],
                ..StatesAt::default()
            },
        ];
        let read = block_on(engine.hidden_states(&input, &places, &NoControl)).expect("states");
        assert_eq!(read.len(), engine.info().n_layer + 1);
        for it in &read[..engine.info().n_layer] {
            assert_eq!((it.component, &it.positions[..], it.width), ("block_output", &[1, 2][..], n_embd));
            assert!(
                worst(&it.values, &own.hidden[it.layer][n_embd..3 * n_embd]) <= 1e-5,
                "layer {}",
                it.layer
            );
        }
        let head = read.last().expect("a head");
        assert_eq!((head.layer, head.component, head.head), (2, "query_output", Some(1)));
        assert_eq!(head.values.len(), tokens.len() * head.width);
    });
}

#[test]
fn a_mean_is_that_of_the_differences_of_the_last_tokens() {
    on_each(|engine| {
        let found = directions(&steer(engine, &pairs(), &options(SteerMethod::Mean)).expect("vectors"));
        let pairs = pairs();
        let sides = pairs.iter().map(|ContrastPair { positive, negative }| {
            [last_states(engine, positive), last_states(engine, negative)]
        });
        let sides: Vec<_> = sides.collect();
        for (place, found) in found.iter().enumerate() {
            let difference = |j: usize| -> f32 { sides.iter().map(|[a, b]| a[place][j] - b[place][j]).sum() };
            let expected: Vec<f32> = (0..found.len()).map(|j| difference(j) / 3.0).collect();
            assert!(worst(found, &expected) <= 1e-5);
        }
    });
}

#[test]
fn a_component_has_length_1_and_leads_to_the_positive_side() {
    on_each(|engine| {
        let found = directions(&steer(engine, &pairs(), &options(SteerMethod::Pca)).expect("vectors"));
        for (place, found) in found.iter().enumerate() {
            assert!((found.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
            let pairs = pairs();
            let along = pairs.iter().filter(|ContrastPair { positive, negative }| {
                let [a, b] = [positive, negative].map(|input| last_states(engine, input).swap_remove(place));
                found.iter().zip(a.iter().zip(&b)).map(|(x, (a, b))| x * (a - b)).sum::<f32>() > 0.0
            });
            assert!(along.count() >= 2, "place {place}");
        }
    });
}

/// A strength of s adds s times the direction to every token; a saved file does the same.
#[test]
fn a_vector_is_added_with_its_strength_and_goes_through_a_file() {
    on_each(|engine| {
        let options = SteerOptions { layers: Layers::List(vec![1]), ..options(SteerMethod::Mean) };
        let reft = steer(engine, &pairs(), &options).expect("a vector");
        let saved = block_on(reft.save(engine.model())).expect("a file");
        let reft = engine.load_reft(&saved).expect("it loads");
        let direction = directions(&reft).remove(0);
        let tokens = engine.prompt(&text("a dog ran"), vec![]).expect("a prompt").tokens;
        let bare = states(engine.model(), None, &[&plain_sequence(&tokens)]);
        for strength in [1.0, -2.5] {
            let sequence = Sequence::of_text(&reft, tokens.clone(), engine.model().n_ctx).expect("a text");
            let mut sequence = sequence;
            sequence.edits[0].strength.fill(strength);
            let steered = states(engine.model(), Some(&reft), &[&sequence]);
            let expected: Vec<f32> = bare.hidden[1]
                .chunks_exact(direction.len())
                .flat_map(|row| row.iter().zip(&direction).map(|(h, d)| h + strength * d))
                .collect();
            assert!(worst(&steered.hidden[1], &expected) <= 1e-5, "strength {strength}");
        }
    });
}

#[test]
fn what_cannot_be_steered_is_refused() {
    let engine = support::load(&Backend::cpu(), &path("golden/llama/model-f32.gguf"));
    let refused = |pairs: &[ContrastPair], options: SteerOptions, part: &str| {
        let error = steer(&engine, pairs, &options).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    };
    let of = || options(SteerMethod::Pca);
    refused(&[], of(), "pairs: expected at least one");
    let same = ContrastPair { positive: text("the cat"), negative: text("the cat") };
    refused(&[same], of(), "expected pairs that differ");
    let read = |read: &str| SteerOptions { read: read.to_owned(), ..of() };
    refused(&pairs(), read("90"), "pair 1: positive: positions \"90\": none of the text's");
    refused(&pairs(), read("90"), "pair 3: negative: ");
    refused(
        &pairs(),
        SteerOptions { layers: Layers::List(vec![9]), ..of() },
        "layer 9: the model has layers 0 to",
    );
    refused(
        &pairs(),
        SteerOptions { component: Components::from("logits"), ..of() },
        "component \"logits\" is not known",
    );
    refused(&pairs(), SteerOptions { positions: "x".to_owned(), ..of() }, "positions \"x\": expected");
    let messages = vec![Message { role: "user".to_owned(), content: "hello".to_owned() }];
    let pair = ContrastPair { positive: Input::Messages(messages), negative: text("the cat") };
    let error = steer(&engine, &[pair], &of()).err().expect("an error");
    assert!(error.to_string().contains("pair 1: positive: the model has no chat template"), "{error}");
}

/// Interchange reads another layer of the other run than the one it edits, where `sourceLayer` says so.
#[test]
fn interchange_reads_the_layer_that_is_asked_for() {
    on_each(|engine| {
        let config = |source_layer| ReftConfig {
            kind: "interchange".to_owned(),
            layers: Layers::List(vec![3]),
            positions: "l1".to_owned(),
            source_layer,
            ..ReftConfig::default()
        };
        let source = Source { input: text("some cats"), positions: None };
        for (source_layer, layer) in [(None, 3), (Some(1), 1)] {
            let reft = engine.reft(&[config(source_layer)]).expect("interchange");
            let read = block_on(engine.sources(&reft, &source, 6)).expect("states");
            let at = StatesAt {
                layers: Layers::List(vec![layer]),
                positions: "-1".to_owned(),
                ..StatesAt::default()
            };
            let states = block_on(engine.hidden_states(&source.input, &[at], &NoControl)).expect("states");
            assert_eq!(read, [states[0].values.clone()], "layer {layer}");
        }
        let refused = |config: ReftConfig, text: &str| {
            assert_eq!(engine.reft(&[config]).err().expect("an error").to_string(), text);
        };
        refused(config(Some(9)), "sourceLayer 9: the model has layers 0 to 3");
        let loreft = ReftConfig { kind: "loreft".to_owned(), ..config(Some(1)) };
        refused(loreft, "sourceLayer: loreft reads no other run; leave it out");
    });
}

/// What llama.cpp computes: `tests/cases/steering/make.py`.
#[derive(Deserialize)]
struct Told {
    tokens: Vec<u32>,
    bare: Vec<f32>,
    steered: Vec<f32>,
}

#[test]
fn a_control_vector_steers_as_in_llama_cpp() {
    let text = std::fs::read_to_string(path("cases/steering/llamacpp.json")).expect("the logits");
    let told: Told = serde_json::from_str(&text).expect("JSON");
    let vector = std::fs::read(path("cases/steering/control_vector.gguf")).expect("the vector");
    on_each(|engine| {
        let reft = import(engine, vector.clone()).expect("a control vector");
        assert_eq!(reft.configs[0].layers, Layers::List(vec![1, 2]));
        let sequence = Sequence::of_text(&reft, told.tokens.clone(), engine.model().n_ctx).expect("a text");
        let last = |logits: Vec<f32>| logits[logits.len() - told.bare.len()..].to_vec();
        let bare = last(logits(engine.model(), None, &[&plain_sequence(&told.tokens)]));
        let steered = last(logits(engine.model(), Some(&reft), &[&sequence]));
        assert!(worst(&told.bare, &told.steered) > 0.1, "the vector changes something");
        assert!(worst(&bare, &told.bare) <= 2e-4, "{}", worst(&bare, &told.bare));
        assert!(worst(&steered, &told.steered) <= 2e-4, "{}", worst(&steered, &told.steered));
        let written = block_on(engine.export_reft(&reft, "llama.cpp")).expect("a file").remove(0);
        assert_eq!(written.0, "control_vector.gguf");
        let again = import(engine, written.1).expect("what is written is read");
        assert_eq!((directions(&again), &again.configs), (directions(&reft), &reft.configs));
    });
}

#[test]
fn what_is_no_control_vector_is_refused() {
    let engine = support::load(&Backend::cpu(), &path("golden/llama/model-f32.gguf"));
    let file = |tensors: &[(&str, &[u64], u32)]| {
        let (mut writer, mut at) = (Writer::default().str("general.architecture", "controlvector"), 0);
        for (name, ne, kind) in tensors {
            writer = writer.tensor(name, ne, *kind, at);
            at += (4 * ne.iter().product::<u64>()).next_multiple_of(32);
        }
        writer.data(at as usize).bytes()
    };
    let refused = |bytes: Vec<u8>, part: &str| {
        let error = import(&engine, bytes).err().expect("an error");
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    };
    refused(file(&[]), "a control vector without directions");
    for name in ["direction.0", "direction.x", "blk.0.attn_q.weight", "direction."] {
        refused(file(&[(name, &[64], 0)]), &format!("tensor {name:?}: expected direction.1"));
    }
    refused(file(&[("direction.01", &[64], 0)]), "tensor \"direction.1\" is written otherwise");
    refused(file(&[("direction.1", &[64], 1)]), "expected one dimension of F32, got [64] of F16");
    refused(file(&[("direction.1", &[8, 8], 0)]), "expected one dimension of F32, got [8, 8] of F32");
    refused(file(&[("direction.1", &[64], 0), ("direction.2", &[32], 0)]), "directions of [64, 32] numbers");
    refused(file(&[("direction.1", &[32], 0)]), "32");
    refused(file(&[("direction.9", &[64], 0)]), "layer 9: the model has layers 0 to");
    refused(file(&[("direction.1", &[64], 0)])[..80].to_vec(), "cut off");
    let mut infinite = file(&[("direction.1", &[64], 0)]);
    let at = infinite.len() - 4;
    infinite[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(infinite, "tensor \"direction.1\": holds NaN");
}

#[test]
fn what_a_control_vector_cannot_say_is_not_written() {
    let engine = support::load(&Backend::cpu(), &path("golden/llama/model-f32.gguf"));
    let refused = |config: ReftConfig, part: &str| {
        let reft = engine.reft(&[config]).expect("interventions");
        let error = block_on(engine.export_reft(&reft, "llama.cpp")).expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    };
    let of = |layer: usize, positions: &str, component: &str| ReftConfig {
        kind: "steering_vector".to_owned(),
        layers: Layers::List(vec![layer]),
        positions: positions.to_owned(),
        component: Components::from(component),
        ..ReftConfig::default()
    };
    refused(of(0, "all", "block_output"), "layer 0, block_output, positions \"all\": a control vector has");
    refused(of(1, "prompt", "block_output"), "positions \"prompt\"");
    refused(of(1, "all", "mlp_output"), "mlp_output");
    refused(
        ReftConfig { kind: "loreft".to_owned(), ..of(1, "all", "block_output") },
        "loreft is no steering vector",
    );
}
