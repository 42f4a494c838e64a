use serde_json::Value;

use super::{ChatInputs, ChatTemplate, Tokenizer};
use crate::error::Result;
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

/// A SentencePiece vocabulary of three special tokens and some words.
fn spm(words: &[&str]) -> Writer {
    let tokens = [&["<unk>", "<s>", "</s>"], words].concat();
    let scores: Vec<f32> = (0..tokens.len()).map(|i| -(i as f32)).collect();
    let types = [&[2, 3, 3], &vec![1; words.len()][..]].concat();
    Writer::default()
        .str("tokenizer.ggml.model", "llama")
        .strs("tokenizer.ggml.tokens", &tokens)
        .f32s("tokenizer.ggml.scores", &scores)
        .i32s("tokenizer.ggml.token_type", &types)
}

/// A byte-level vocabulary.
fn bpe(tokens: &[&str], merges: &[&str]) -> Writer {
    Writer::default()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "gpt-2")
        .strs("tokenizer.ggml.tokens", tokens)
        .strs("tokenizer.ggml.merges", merges)
}

fn tokenizer(file: &Writer) -> Result<Tokenizer> {
    Tokenizer::from_gguf(&file.header().unwrap().metadata)
}

#[test]
fn neighbours_are_joined_best_score_first_and_leftmost_first() {
    let words = ["▁", "a", "b", "ab", "bc", "aa", "c"];
    let tokenizer = tokenizer(&spm(&words)).unwrap();
    let encode = |text: &str| tokenizer.encode(text, false, false);
    assert_eq!(encode("abc"), [3, 6, 9], "ab stands before bc");
    assert_eq!(encode("aaa"), [3, 8, 4], "the leftmost of two equal joins");
    assert_eq!(encode("x"), [3, 0], "what has no token is unknown");
}

#[test]
fn text_after_a_special_token_gets_its_space_again() {
    let tokenizer = tokenizer(&spm(&["▁", "a", "▁a"])).unwrap();
    assert_eq!(tokenizer.encode("a</s>a", true, true), [1, 5, 2, 5]);
    assert_eq!(tokenizer.encode("<s>", false, false), [3, 0, 0, 0]);
    assert_eq!(tokenizer.decode(&[5, 2, 5], false), "a a");
    assert_eq!(tokenizer.decode(&[5, 2, 5], true), "a</s> a");
    let plain = spm(&["▁", "a", "▁a"]).bool("tokenizer.ggml.add_space_prefix", false);
    assert_eq!(self::tokenizer(&plain).unwrap().encode("a", false, false), [4]);
}

#[test]
fn begin_and_end_are_added_as_the_file_says() {
    let words = ["▁", "a", "▁a"];
    let file =
        spm(&words).bool("tokenizer.ggml.add_bos_token", false).bool("tokenizer.ggml.add_eos_token", true);
    let tokenizer = tokenizer(&file).unwrap();
    assert_eq!(tokenizer.encode("a", false, true), [5, 2]);
    assert_eq!(tokenizer.encode("", false, true), [2]);
    assert_eq!(tokenizer.encode("a", false, false), [5]);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.n_vocab()), (Some(1), Some(2), 6));
}

#[test]
fn tokens_that_end_a_turn_end_a_generation_whatever_the_file_calls_them() {
    let tokenizer = tokenizer(&spm(&["▁", "<|im_end|>"])).unwrap();
    assert_eq!(tokenizer.ends().collect::<Vec<_>>(), [2, 4]);
    assert!(tokenizer.is_end(4) && !tokenizer.is_end(1) && !tokenizer.is_end(99));
    assert_eq!((tokenizer.piece(4, false), tokenizer.piece(4, true)), (&b""[..], &b"<|im_end|>"[..]));
    assert_eq!(tokenizer.piece(99, true), b"");
}

#[test]
fn tokens_without_a_text_do_not_stand_in_each_others_way() {
    let tokenizer = tokenizer(&spm(&["", "▁", ""])).unwrap();
    assert_eq!(tokenizer.piece(3, false), b"[EMPTY_3]");
}

#[test]
fn bytes_are_spelled_as_letters_and_joined_as_learned() {
    let tokenizer = tokenizer(&bpe(&["a", "b", "Ġ", "ab", "Ġab"], &["a b", "Ġ ab"])).unwrap();
    assert_eq!(tokenizer.encode("ab ab a", false, true), [3, 4, 2, 0]);
    assert_eq!(tokenizer.decode(&[3, 4], false), "ab ab");
    assert_eq!(tokenizer.encode("axb", false, false), [0, 1], "a byte without a token is left out");
}

#[test]
fn special_ids_beyond_the_vocabulary_are_ignored_with_a_warning() {
    let read = tokenizer(&spm(&["▁"]).u32("tokenizer.ggml.bos_token_id", 4)).unwrap();
    let warning = "metadata \"tokenizer.ggml.bos_token_id\": expected a token below 4, got 4; it is ignored";
    assert_eq!((read.bos(), read.warnings()), (Some(1), &[warning.to_owned()][..]));
    let ends = tokenizer(&spm(&["▁"]).u32("tokenizer.ggml.eot_token_id", 99)).unwrap();
    assert_eq!((ends.ends().collect::<Vec<_>>(), ends.warnings().len()), (vec![2], 1));
    assert!(tokenizer(&spm(&["▁"])).unwrap().warnings().is_empty());
}

#[test]
fn broken_vocabularies_are_refused_by_key() {
    let spm_with = |key: &str, value| tokenizer(&spm(&["▁"]).u32(key, value));
    let tokens = |model: &str| {
        Writer::default().str("tokenizer.ggml.model", model).strs("tokenizer.ggml.tokens", &["a"])
    };
    let bad_pre = tokens("gpt2").str("tokenizer.ggml.pre", "new");
    for (tokenizer, text) in [
        (tokenizer(&spm(&["a", "a"])), "tokens 3 and 4 are both \"a\""),
        (
            spm_with("tokenizer.ggml.add_bos_token", 1),
            "metadata \"tokenizer.ggml.add_bos_token\": expected bool, got u32 1",
        ),
        (tokenizer(&tokens("llama")), "metadata \"tokenizer.ggml.scores\": expected array of f32, missing"),
        (
            tokenizer(&tokens("llama").f32s("tokenizer.ggml.scores", &[])),
            "metadata \"tokenizer.ggml.scores\": expected an item for each of 1 tokens, got 0",
        ),
        (tokenizer(&tokens("gpt2")), "metadata \"tokenizer.ggml.merges\": expected array of string, missing"),
        (
            tokenizer(&bad_pre),
            "metadata \"tokenizer.ggml.pre\": pre-tokenizer \"new\" is not supported (supported: gpt-2, ",
        ),
        (tokenizer(&bpe(&["a"], &["a"])), "merge 0: expected two parts with a space between, got \"a\""),
        (tokenizer(&bpe(&["a"], &["a a"])), "merges: "),
        (
            tokenizer(&bpe(&["a"], &[]).bool("tokenizer.ggml.add_bos_token", true)),
            "metadata \"tokenizer.ggml.bos_token_id\": expected u32, missing",
        ),
    ] {
        let error = tokenizer.unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
}

#[test]
fn special_tokens_as_long_as_a_book_are_refused() {
    let book = "x".repeat(2 << 20);
    let file = Writer::default()
        .str("tokenizer.ggml.model", "llama")
        .strs("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", &book])
        .f32s("tokenizer.ggml.scores", &[0.0; 4])
        .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 4]);
    let error = tokenizer(&file).unwrap_err().to_string();
    assert_eq!(error, "special tokens of 2097164 bytes in all: expected at most 1048576");
}

#[test]
fn scores_that_are_no_numbers_do_no_harm() {
    let file = Writer::default()
        .str("tokenizer.ggml.model", "llama")
        .strs("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "a", "aa", "aaa"])
        .f32s("tokenizer.ggml.scores", &[f32::NAN, f32::INFINITY, 0.0, -0.0, f32::NAN, f32::NEG_INFINITY]);
    assert!(!tokenizer(&file).unwrap().encode(&"a".repeat(1000), true, true).is_empty());
}

/// Flips a bit of every byte of the golden header: what still parses tokenizes something, or says why not.
#[test]
fn a_flipped_bit_never_panics() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf");
    let whole = std::fs::read(path).unwrap();
    let start = header(whole.clone()).unwrap().tensors.iter().map(|t| t.offset).min().unwrap() as usize;
    for i in 0..start {
        let mut bytes = whole.clone();
        bytes[i] ^= 1 << (i % 8);
        let Ok(file) = header(bytes) else { continue };
        let Ok(tokenizer) = Tokenizer::from_gguf(&file.metadata) else { continue };
        let ids = tokenizer.encode("the inner <s>ant\n é", true, true);
        tokenizer.decode(&ids, true);
        if let Ok(Some(chat)) = ChatTemplate::from_gguf(&file.metadata, &tokenizer) {
            let _ = chat.render(&[], true, &ChatInputs::default());
        }
    }
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
