//! Each vocabulary: llama.cpp's ids of its strings, and their texts.

use std::io::Read;
use std::time::Instant;

use flate2::read::GzDecoder;
use pollster::block_on;
use serde_json::Value;
use webreft::gguf::{self, Header};
use webreft::token::{TextStream, Tokenizer};

use super::{folder, json, keys};

/// The files' separator of texts.
const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

struct Case {
    name: String,
    header: Header,
    tokenizer: Tokenizer,
    /// What llama.cpp gives.
    want: Value,
    /// Texts, and their ids without special tokens.
    texts: Vec<(String, Vec<u32>)>,
}

fn cases() -> Vec<Case> {
    let folder = folder("vocab");
    let manifest = json(&folder.join("manifest.json"));
    let vocabs = &manifest["vocabs"];
    let case = |name: &str| {
        let file = vocabs[name]["gguf"].as_str().expect("a name").trim_end_matches(".gz");
        let read = |ending: &str| {
            let path = folder.join(format!("{file}{ending}"));
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let unpacked = |bytes: Vec<u8>| {
            let mut unpacked = Vec::new();
            GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).expect("a sound archive");
            unpacked
        };
        let bytes = read("").or_else(|_| read(".gz").map(unpacked)).unwrap();
        let header = block_on(gguf::read(&bytes)).expect("a sound file");
        let tokenizer = Tokenizer::from_gguf(&header.metadata).expect("a sound vocabulary");
        let [texts, ids] = [".inp", ".out"].map(|ending| String::from_utf8(read(ending).unwrap()).unwrap());
        let ids = ids.split('\n').map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect());
        let texts = texts.split(SEPARATOR).map(str::to_owned).zip(ids).collect();
        let want = json(&folder.join(format!("{name}.json")));
        Case { name: name.to_owned(), header, tokenizer, want, texts }
    };
    keys(vocabs).map(case).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

/// A text, which may be no UTF-8.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        other => {
            let hex = other["hex"].as_str().expect("text or its bytes");
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        }
    }
}

#[test]
fn every_string_has_the_ids_of_llama_cpp() {
    for Case { name, tokenizer, want, texts, .. } in cases() {
        assert_eq!(texts.len(), 47, "{name}");
        for (text, want) in &texts {
            assert_eq!(&tokenizer.encode(text, false, false), want, "{name}: {text:?}");
        }
        let strings = want["strings"].as_array().expect("strings");
        assert_eq!(strings.len(), 200, "{name}");
        for string in strings {
            let text = string["text"].as_str().expect("a text");
            for (key, parse_special, add_special) in
                [("ids", false, true), ("ids_special", true, true), ("ids_bare", false, false)]
            {
                let got = tokenizer.encode(text, parse_special, add_special);
                assert_eq!(got, ids(&string[key]), "{name}, {key}: {text:?}");
            }
        }
    }
}

#[test]
fn every_piece_is_that_of_llama_cpp() {
    for Case { name, tokenizer, want, header, .. } in cases() {
        let tokens = header.metadata.strings("tokenizer.ggml.tokens").expect("tokens");
        assert_eq!(tokenizer.n_vocab(), tokens.len(), "{name}");
        for piece in want["pieces"].as_array().expect("pieces") {
            let id = piece[0].as_u64().expect("an id") as u32;
            assert_eq!(tokenizer.piece(id, false), bytes(&piece[1]), "{name}: token {id}");
            assert_eq!(tokenizer.piece(id, true), bytes(&piece[2]), "{name}: token {id}");
        }
        let info = &want["info"];
        let id = |key: &str| info[key].as_i64().filter(|id| *id >= 0).map(|id| id as u32);
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (id("bos"), id("eos")), "{name}");
        assert_eq!(tokenizer.ends().collect::<Vec<_>>(), ids(&info["eog"]), "{name}");
    }
}

/// As llama.cpp gives it, but for one thing: in two strings it takes away spaces before punctuation, which byte-level vocabularies keep here,
/// so that what a model writes comes out as it was written.
#[test]
fn ids_have_the_text_of_llama_cpp() {
    for Case { name, tokenizer, want, .. } in cases() {
        let mut cleaned = 0;
        for string in want["strings"].as_array().expect("strings") {
            let text = string["text"].as_str().expect("a text");
            let kept = tokenizer.decode(&ids(&string["ids_bare"]), false);
            if kept == text && string["roundtrip"] == false {
                cleaned += 1;
                continue;
            }
            assert_eq!(kept.as_bytes(), bytes(&string["detok"]), "{name}: {text:?}");
            let shown = tokenizer.decode(&ids(&string["ids_special"]), true);
            assert_eq!(shown.as_bytes(), bytes(&string["detok_special"]), "{name}: {text:?}");
        }
        let expected = if ["gpt-2", "llama-bpe"].contains(&name.as_str()) { 2 } else { 0 };
        assert_eq!(cleaned, expected, "{name}: strings that llama.cpp cleans up");
    }
}

/// Text that comes token by token is the text of all tokens, and no part of it ends within a character.
#[test]
fn a_stream_of_tokens_is_their_text() {
    for Case { name, tokenizer, want, .. } in cases() {
        for string in want["strings"].as_array().expect("strings") {
            let ids = ids(&string["ids_special"]);
            let mut stream = TextStream::default();
            let mut parts: Vec<String> =
                ids.iter().map(|id| stream.push(tokenizer.piece(*id, true))).collect();
            parts.push(stream.finish());
            let whole: Vec<u8> = ids.iter().flat_map(|id| tokenizer.piece(*id, true)).copied().collect();
            assert_eq!(parts.concat(), String::from_utf8_lossy(&whole), "{name}");
            if let Ok(text) = std::str::from_utf8(&whole) {
                let broken = parts.iter().find(|part| part.contains(char::REPLACEMENT_CHARACTER));
                assert!(
                    broken.is_none() || text.contains(char::REPLACEMENT_CHARACTER),
                    "{name}: {broken:?} of {text:?}"
                );
            }
        }
    }
}

/// Linear time, whatever the text is made of. The bound is far from what was seen (at most 1.8 s with opt-level 1 on a busy machine), and near
/// enough to catch what is quadratic (minutes).
#[test]
fn a_megabyte_of_one_letter_takes_no_more_than_seconds() {
    for Case { name, tokenizer, .. } in cases() {
        for text in ["a", " ", "ab", "\n", "!", " \n", "é", "日", "😀", "<|im_end|>", "\u{0}"] {
            let start = Instant::now();
            let n = tokenizer.encode(&text.repeat((1 << 20) / text.len()), true, true).len();
            let seconds = start.elapsed().as_secs_f64();
            println!("{name}: a megabyte of {text:?}: {n} tokens in {seconds:.2} s");
            assert!(n > 0 && seconds < 10.0, "{name}: {text:?} took {seconds} s");
        }
    }
}
