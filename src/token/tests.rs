use serde_json::Value;

use super::Tokenizer;
use crate::gguf::testing::{Writer, header};

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn golden() -> Tokenizer {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-f32.gguf");
    Tokenizer::from_gguf(&header(std::fs::read(path).unwrap()).unwrap().metadata).unwrap()
}

/// `tokenize.json` is llama.cpp's answer for the golden model.
#[test]
fn ids_of_the_golden_strings_are_those_of_llama_cpp() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/tokenize.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let tokenizer = golden();
    for case in &cases {
        let text = case["text"].as_str().unwrap();
        let got = tokenizer.encode(text, case["special"] == true, case["add_bos"] == true);
        assert_eq!(got, ids(&case["ids"]), "{case}");
    }
    assert_eq!(cases.len(), 40);
}

#[test]
fn unknown_tokenizers_are_named_with_those_there_are() {
    let file = Writer::default().str("tokenizer.ggml.model", "bert").header().unwrap();
    let error = Tokenizer::from_gguf(&file.metadata).unwrap_err().to_string();
    assert_eq!(
        error,
        "metadata \"tokenizer.ggml.model\": tokenizer \"bert\" is not supported (supported: llama, gpt2)"
    );
}
