//! Tokenizations of whole vocabularies.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use flate2::read::GzDecoder;
use pollster::block_on;
use serde_json::Value;
use webreft::gguf::{self, Metadata};
use webreft::token::{TextStream, Tokenizer};

use super::{assert_ran, folder, is_here, json, keys};

/// What stands between the texts of an `.inp` file.
const BETWEEN: &str = "\n__ggml_vocab_test__\n";

/// What the file of a vocabulary says.
pub(super) fn metadata(name: &str) -> Metadata {
    let path = folder("vocab").join(format!("ggml-vocab-{name}.gguf"));
    let bytes = std::fs::read(&path).unwrap_or_else(|_| unpacked(&path.with_extension("gguf.gz")));
    block_on(gguf::read(&bytes)).expect("a header").metadata
}

pub(super) fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_gguf(&metadata(name)).expect("a tokenizer")
}

fn unpacked(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes
}

pub(super) fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

/// Calls `check` for each vocabulary with its expected answers.
fn each(check: impl Fn(&str, &Tokenizer, &Value)) {
    let folder = folder("vocab");
    let manifest = json(&folder.join("manifest.json"));
    let mut n_ran = 0;
    for name in keys(&manifest["vocabs"]) {
        if is_here(&folder.join(format!("ggml-vocab-{name}.gguf"))) {
            check(name, &tokenizer(name), &json(&folder.join(format!("{name}.json"))));
            n_ran += 1;
        }
    }
    assert_ran("vocabularies", n_ran, 5);
}

pub(super) fn strings(want: &Value) -> &[Value] {
    want["strings"].as_array().expect("strings")
}

#[test]
fn texts_become_the_ids_of_llama_cpp() {
    each(|name, tokenizer, want| {
        for case in strings(want) {
            let text = case["text"].as_str().expect("a text");
            for (key, parse_special, add_special) in
                [("ids", false, true), ("ids_special", true, true), ("ids_bare", false, false)]
            {
                let got = tokenizer.encode(text, parse_special, add_special);
                assert_eq!(got, ids(&case[key]), "{name} {key} {text:?}");
            }
        }
    });
}

#[test]
fn ids_become_the_texts_of_llama_cpp() {
    each(|name, tokenizer, want| {
        for case in strings(want) {
            for (key, from, show_special) in [
                ("detok", "ids_bare", false),
                ("detok_bos_removed", "ids", false), // hidden is as good as removed
                ("detok_special", "ids_special", true),
            ] {
                let got = tokenizer.decode(&ids(&case[from]), show_special);
                assert_eq!(Some(got.as_str()), case[key].as_str(), "{name} {key} {}", case["text"]);
            }
        }
    });
}

#[test]
fn special_tokens_ends_and_pieces_are_those_of_llama_cpp() {
    each(|name, tokenizer, want| {
        let info = &want["info"];
        assert_eq!(tokenizer.n_vocab() as u64, info["n_tokens"].as_u64().expect("a count"), "{name}");
        for (key, id) in [("bos", tokenizer.bos()), ("eos", tokenizer.eos())] {
            assert_eq!(id.map_or(-1, i64::from), info[key].as_i64().expect("an id"), "{name} {key}");
        }
        assert_eq!(tokenizer.ends().collect::<Vec<_>>(), ids(&info["eog"]), "{name}");
        for piece in want["pieces"].as_array().expect("pieces") {
            let id = piece[0].as_u64().expect("an id") as u32;
            for (at, show_special) in [(1, false), (2, true)] {
                assert_eq!(tokenizer.piece(id, show_special), bytes(&piece[at]), "{name} {id}");
            }
        }
    });
}

/// A text, or bytes in hexadecimal where they are none.
fn bytes(value: &Value) -> Vec<u8> {
    let Some(hex) = value["hex"].as_str() else { return value.as_str().expect("a text").into() };
    let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).expect("ASCII"));
    digits.map(|two| u8::from_str_radix(two, 16).expect("hexadecimal")).collect()
}

#[test]
fn llama_cpps_own_texts_become_its_ids() {
    each(|name, tokenizer, _| {
        let read = |end: &str| {
            std::fs::read_to_string(folder("vocab").join(format!("ggml-vocab-{name}.gguf.{end}"))).expect(end)
        };
        let (texts, lines) = (read("inp"), read("out"));
        let texts: Vec<&str> = texts.split(BETWEEN).collect();
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines.len() > 40 && texts.len() == lines.len() + 1, "{name}: one text ends the file");
        for (text, line) in texts.into_iter().zip(lines) {
            let want: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
            assert_eq!(tokenizer.encode(text, false, false), want, "{name} {text:?}");
        }
    });
}

/// Far from quadratic: that would be hours.
#[test]
fn a_megabyte_of_one_thing_takes_no_more_than_seconds() {
    each(|name, tokenizer, _| check_speed(name, tokenizer));
}

pub(super) fn check_speed(name: &str, tokenizer: &Tokenizer) {
    for text in ["a", "ab", " ", "\n", " \n", "!", "1", "é", "中", "😀", "<|im_end|>", "'"] {
        let start = Instant::now();
        let n = tokenizer.encode(&text.repeat((1 << 20) / text.len()), true, true).len();
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {text:?} {seconds:.2} s");
        assert!(n > 0 && seconds < 20.0, "{name}: {text:?} took {seconds} s");
    }
}

/// Token by token the same text comes as at once, in whole characters.
#[test]
fn a_stream_of_tokens_gives_the_pieces_together_and_no_half_character() {
    each(|name, tokenizer, want| {
        for case in strings(want) {
            for key in ["ids", "ids_special", "ids_bare"] {
                let ids = ids(&case[key]);
                let mut stream = TextStream::default();
                let parts = ids.iter().map(|&id| stream.push(tokenizer.piece(id, true)));
                let text = parts.collect::<String>() + &stream.finish();
                let whole: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.piece(id, true)).copied().collect();
                let whole = String::from_utf8(whole).expect("the strings are UTF-8");
                assert_eq!(text, whole, "{name} {key} {}", case["text"]);
            }
        }
    });
}
