//! Each architecture against llama.cpp: logits and greedy continuations of small models with random weights.
//!
//! `tests/archs` holds files that llama.cpp wrote or was run on (llama_cpp_python 0.3.36): a GGUF model in F32, and beside it the
//! prompts, logits, continuations and margins that came out. `qwen2` has biases and turns halves; `llama_odd` has a head of 80.

mod support;

use pollster::block_on;
use std::path::Path;
use support::{Tensors, load, logits, plain_sequence};
use webreft::backend::Backend;
use webreft::engine::Engine;
use webreft::generate::{GenerateOptions, Prompt};

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
    let want = expected.f32(&format!("{prompt}.logits"));
    let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
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

fn check_all(backend: &Backend) {
    for name in ["qwen2-f32", "llama_odd-f32"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archs").join(name);
        let engine = load(backend, &path.with_extension("gguf"));
        let expected = Tensors::open(path.with_extension("safetensors"));
        for prompt in ["p0", "p1"] {
            check_prompt(&engine, &expected, prompt);
        }
    }
}

#[test]
fn the_twins_answer_as_llama_cpp_does() {
    check_all(&Backend::Cpu);
}

#[test]
fn the_gpu_answers_as_llama_cpp_does() {
    check_all(&block_on(Backend::gpu()).expect("an adapter: a software one will do"));
}
