//! Each architecture: logits and greedy continuations of small models with random weights.

use std::path::Path;

use pollster::block_on;
use webreft::backend::Backend;
use webreft::engine::Engine;
use webreft::generate::{GenerateOptions, Prompt};
use webreft::kernel::{Dropout, Hyper};
use webreft::model::Component;
use webreft::reft::{Layers, Reft, ReftConfig};
use webreft::train::Trainer;

use super::support::differences::{check_gradient, example};
use super::support::{Tensors, load_with, logits, plain_sequence};
use super::{assert_ran, folder, is_here, json, keys};

/// What the issue allows between logits.
const LOGITS: f32 = 2e-4;
/// Below this difference of the two highest logits, rounding may choose.
const MARGIN: f32 = 1e-3;
fn ids(tensors: &Tensors, name: &str) -> Vec<u32> {
    tensors.i32(name).into_iter().map(|id| id.try_into().expect("an id")).collect()
}

fn check_prompt(engine: &Engine, expected: &Tensors, prompt: &str) {
    let tokens = ids(expected, &format!("{prompt}.input_ids"));
    let got = logits(engine.model(), None, &[&plain_sequence(&tokens)]);
    let exact = format!("{prompt}.logits_f64"); // where llama.cpp's own are a table of F16 values
    let name = if expected.has(&exact) { exact } else { format!("{prompt}.logits") };
    let want = expected.f32(&name);
    let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
    println!("  {prompt}: logits off by {worst:.1e}");
    assert!(worst <= LOGITS, "{prompt}: logits off by {worst}");

    let greedy = ids(expected, &format!("{prompt}.greedy_ids"));
    let margins = expected.f32(&format!("{prompt}.greedy_margin"));
    let options = GenerateOptions { max_tokens: greedy.len(), ..Default::default() };
    let mut generation =
        engine.generate(&[Prompt { tokens, personas: vec![] }], &options).expect("a generation");
    let mut chosen = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("tokens") {
        chosen.extend(pieces.iter().map(|piece| piece.id));
    }
    let sure = margins.iter().take_while(|margin| **margin > MARGIN).count().min(chosen.len());
    assert!(sure > 0, "{prompt}: nothing to compare");
    assert_eq!(chosen[..sure], greedy[..sure], "{prompt}");
}

/// Phi-3 has other angles where more context is made ready than it was trained on first: prompts named `_long`.
fn check_file(backend: &Backend, path: &Path) {
    println!("{}", path.display());
    let expected = Tensors::open(path.with_extension("safetensors"));
    for (context, suffix) in [(512, ""), (1024, "_long")] {
        if !expected.has(&format!("p0{suffix}.logits")) {
            continue;
        }
        let engine = load_with(backend, path, context);
        for prompt in ["p0", "p1"] {
            check_prompt(&engine, &expected, &format!("{prompt}{suffix}"));
        }
    }
}

fn check_all(backend: &Backend) {
    let folder = folder("archs");
    let manifest = json(&folder.join("manifest.json"));
    let mut n_ran = 0;
    for case in keys(&manifest["cases"]) {
        let files = &manifest["cases"][case]["files"];
        for kind in keys(files) {
            let path = folder.join(files[kind]["file"].as_str().expect("a name"));
            if is_here(&path) {
                check_file(backend, &path);
                n_ran += 1;
            }
        }
    }
    assert_ran("files of architectures", n_ran, 21);
}

#[test]
fn the_twins_answer_as_llama_cpp_does() {
    check_all(&Backend::cpu());
}

#[test]
fn the_gpu_answers_as_llama_cpp_does() {
    check_all(&block_on(Backend::gpu()).expect("an adapter: a software one will do"));
}

/// The F32 file of each architecture.
fn check_each(check: impl Fn(&str, &Engine)) {
    let folder = folder("archs");
    let manifest = json(&folder.join("manifest.json"));
    let mut n_ran = 0;
    for case in keys(&manifest["cases"]) {
        let path = folder.join(format!("{case}-f32.gguf"));
        if is_here(&path) {
            check(case, &load_with(&Backend::cpu(), &path, 512));
            n_ran += 1;
        }
    }
    assert_ran("architectures", n_ran, 9);
}

/// Central differences along an edit of each place of the lowest layer and of the last but one: of all that have several kinds of layers
/// (which see a window or everything, are turned by position or are not) these are two.
#[test]
fn gradients_are_right_at_every_place_of_every_architecture() {
    check_each(|case, engine| {
        let n_layer = engine.model().dims.n_layer;
        for component in Component::ALL {
            for kind in ["loreft", "lora"] {
                let config = ReftConfig {
                    kind: kind.to_owned(),
                    layers: Layers::List(if n_layer <= 2 { vec![0] } else { vec![0, n_layer - 2] }),
                    component: component.name().into(),
                    rank: 2,
                    ..ReftConfig::default()
                };
                match Reft::new(engine.model(), &[config]) {
                    Ok(reft) => {
                        let name = format!("{case}, {kind} at {}", component.name());
                        check_gradient(engine, &reft, Dropout::default(), n_layer, &name);
                    }
                    Err(error) => assert_eq!(kind, "lora", "{case}, {}: {error}", component.name()),
                }
            }
        }
    });
}

#[test]
fn a_loreft_trains_on_every_architecture() {
    check_each(|case, engine| {
        let config = ReftConfig { positions: "f1+l1".to_owned(), ..ReftConfig::default() };
        let reft = Reft::new(engine.model(), &[config]).expect("a reft");
        let sequence = example(engine, &reft, 12);
        let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
        let losses: Vec<f64> = (0..12)
            .map(|_| {
                let loss = trainer.step(engine.model(), &reft, &[&sequence], &Hyper::with_rate(2e-2));
                block_on(loss.expect("a step runs").mean()).expect("the loss is read")
            })
            .collect();
        assert!(losses[11] < 0.7 * losses[0], "{case}: {losses:?}");
    });
}
