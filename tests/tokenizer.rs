//! Ids of llama.cpp's test strings in vocabularies of known models, cut down by `tokenizer/make.py`.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use webreft::bytes::FileSource;
use webreft::gguf;
use webreft::token::Tokenizer;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokenizer"))
}

fn tokenizer(name: &str) -> Tokenizer {
    let source = FileSource::open(folder().join(name).with_extension("gguf")).unwrap();
    let header = pollster::block_on(gguf::read(&source)).unwrap();
    Tokenizer::from_gguf(&header.metadata).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn check(name: &str) {
    let tokenizer = tokenizer(name);
    let json = std::fs::read(folder().join(name).with_extension("json")).unwrap();
    let want: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(tokenizer.ends().collect::<Vec<_>>(), ids(&want["ends"]), "{name}");
    for case in want["strings"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        for (key, parse_special, add_special) in
            [("ids", false, true), ("ids_special", true, true), ("ids_bare", false, false)]
        {
            let got = tokenizer.encode(text, parse_special, add_special);
            assert_eq!(got, ids(&case[key]), "{name} {key} {text:?}");
        }
    }
}

#[test]
fn gpt2_gives_the_ids_of_llama_cpp() {
    check("gpt-2");
}

#[test]
fn llama_bpe_gives_the_ids_of_llama_cpp() {
    check("llama-bpe");
}

#[test]
fn qwen2_gives_the_ids_of_llama_cpp() {
    check("qwen2");
}

#[test]
fn phi3_gives_the_ids_of_llama_cpp() {
    check("phi-3");
}

/// What is encoded comes back, byte-level vocabularies to the byte.
#[test]
fn text_comes_back_from_its_ids() {
    for name in ["gpt-2", "llama-bpe", "qwen2"] {
        let tokenizer = tokenizer(name);
        for text in ["", " ", "Hello, wörld!\n\n  日本語 \u{0}\u{7f} 😀", "'s 'LL 12345"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text, false, false), true), text, "{name}");
        }
    }
}

#[test]
fn a_megabyte_of_one_letter_takes_no_more_than_seconds() {
    for name in ["gpt-2", "llama-bpe", "qwen2", "phi-3"] {
        let tokenizer = tokenizer(name);
        for text in ["a", " ", "\n", "!", " \n", "<|im_end|>", "é"] {
            let start = Instant::now();
            let n = tokenizer.encode(&text.repeat((1 << 20) / text.len()), true, true).len();
            let seconds = start.elapsed().as_secs_f64();
            assert!(n > 0 && seconds < 10.0, "{name}: {text:?} took {seconds} s");
        }
    }
}
