//! Repositories of the Hub, made of the same vocabularies: a `tokenizer.json` gives the ids of the GGUF file.

use std::collections::HashMap;

use serde_json::{Value, json};
use webreft::gguf::Metadata;
use webreft::token::{ChatInputs, HubText};

use super::vocab::{check_speed, ids, metadata, strings};
use super::{folder, json as read_json};

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn texts(metadata: &Metadata, key: &str) -> Vec<String> {
    let texts = metadata.strings(&format!("tokenizer.ggml.{key}")).expect(key);
    texts.iter().map(|text| String::from_utf8(text.to_vec()).expect("UTF-8")).collect()
}

/// `tokenizer.json` as transformers writes it: control and user-defined tokens stand in `added_tokens`.
fn tokenizer_json(metadata: &Metadata, merges: &Value, steps: Value) -> Value {
    let tokens = texts(metadata, "tokens");
    let types: Vec<i32> = metadata.get("tokenizer.ggml.token_type").expect("types").expect("types");
    let is_added = |kind: i32| matches!(kind, 2..=4);
    let all = || (0_u32..).zip(&tokens).zip(&types);
    let added: Vec<Value> = all()
        .filter(|(_, kind)| is_added(**kind))
        .map(
            |((id, text), kind)| json!({ "id": id, "content": text, "special": *kind != 4, "rstrip": false }),
        )
        .collect();
    let vocab: serde_json::Map<String, Value> = all()
        .filter(|(_, kind)| !is_added(**kind))
        .map(|((id, text), _)| (text.clone(), id.into()))
        .collect();
    let mut json = json!({
        "version": "1.0",
        "added_tokens": added,
        "model": { "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": null },
    });
    for (key, value) in steps.as_object().expect("an object") {
        match value.as_object().filter(|_| key == "model") {
            Some(model) => json["model"].as_object_mut().expect("a model").extend(model.clone()),
            None => json[key] = value.clone(),
        }
    }
    json
}

fn byte_level(pattern: &str) -> Value {
    json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
    ] })
}

/// What a file of each kind says besides tokens and merges.
fn steps(name: &str) -> Value {
    let begin = |text: &str| {
        json!({ "type": "TemplateProcessing", "single": [
            { "SpecialToken": { "id": text, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
        ] })
    };
    match name {
        "gpt-2" => json!({ "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false } }),
        "qwen2" => json!({ "pre_tokenizer": byte_level(QWEN2) }),
        "llama-bpe" => json!({
            "pre_tokenizer": byte_level(LLAMA3),
            "model": { "ignore_merges": true },
            "post_processor": { "type": "Sequence", "processors": [{ "type": "ByteLevel" }, begin("<|begin_of_text|>")] },
        }),
        "llama-spm" => json!({
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "Prepend", "prepend": "▁" },
                { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
            ] },
            "model": { "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true },
            "post_processor": begin("<s>"),
        }),
        other => panic!("{other}"),
    }
}

/// The joins behind a vocabulary of SentencePiece: every way to make a token of two, the best score first. Source:
/// `generate_merges` in transformers' `convert_slow_tokenizer.py`.
fn merges_of_scores(metadata: &Metadata) -> Value {
    let tokens = texts(metadata, "tokens");
    let scores = metadata.f32s("tokenizer.ggml.scores").expect("scores");
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, text)| (text.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        merges.extend(
            cuts.filter(|(a, b)| ids.contains_key(a) && ids.contains_key(b)).map(|pair| (score, pair)),
        );
    }
    merges.sort_by(|(a, x), (b, y)| {
        let order = |(left, right): &(&str, &str)| (left.chars().count(), right.chars().count());
        b.total_cmp(a).then_with(|| order(y).cmp(&order(x)))
    });
    merges.into_iter().map(|(_, (a, b))| json!([a, b])).collect()
}

/// A repository of this vocabulary.
fn repository(name: &str, steps: Value) -> HubText {
    let metadata = metadata(name);
    let merges = match name {
        "llama-spm" => merges_of_scores(&metadata),
        _ => texts(&metadata, "merges").into(),
    };
    let tokenizer = serde_json::to_vec(&tokenizer_json(&metadata, &merges, steps)).expect("JSON");
    let eos = metadata.get::<u32>("tokenizer.ggml.eos_token_id").expect("an id").expect("an id");
    let eos = &texts(&metadata, "tokens")[eos as usize];
    let config = json!({ "eos_token": { "content": eos }, "chat_template": "{{ eos_token }}" }).to_string();
    let files = |file: &str| match file {
        "tokenizer.json" => Some(tokenizer.as_slice()),
        "tokenizer_config.json" => Some(config.as_bytes()),
        _ => None,
    };
    HubText::read(files).expect(name)
}

/// Of the vocabularies only Phi-3's, whose oddities come with a model's name, is not told by a file of this kind.
#[test]
fn a_tokenizer_json_gives_the_ids_of_the_gguf_file() {
    for name in ["gpt-2", "qwen2", "llama-bpe", "llama-spm"] {
        let text = repository(name, steps(name));
        let tokenizer = &text.tokenizer;
        let want = read_json(&folder("vocab").join(format!("{name}.json")));
        for case in strings(&want) {
            let string = case["text"].as_str().expect("a text");
            for (key, parse_special, add_special) in
                [("ids", false, true), ("ids_special", true, true), ("ids_bare", false, false)]
            {
                let got = tokenizer.encode(string, parse_special, add_special);
                assert_eq!(got, ids(&case[key]), "{name} {key} {string:?}");
            }
        }
        assert_eq!(tokenizer.ends().collect::<Vec<_>>(), ids(&want["info"]["eog"]), "{name}");
        let eos =
            String::from_utf8_lossy(tokenizer.piece(tokenizer.eos().expect("an end"), true)).into_owned();
        let template = text.template.as_ref().expect("a template");
        assert_eq!(
            template.render(&[], false, &ChatInputs::default()).as_deref(),
            Ok(eos.as_str()),
            "{name}"
        );
    }
}

/// Qwen's files compose characters first, which their GGUF files do not say.
#[test]
fn characters_are_composed_where_the_file_says_so() {
    let composing = json!({ "normalizer": { "type": "NFC" }, "pre_tokenizer": byte_level(QWEN2) });
    let [plain, composing] = [steps("qwen2"), composing].map(|steps| repository("qwen2", steps).tokenizer);
    assert_eq!(composing.encode("cafe\u{301}", false, false), plain.encode("café", false, false));
}

#[test]
fn a_megabyte_of_one_thing_takes_no_more_than_seconds() {
    for name in ["qwen2", "llama-spm"] {
        check_speed(&format!("{name}, tokenizer.json"), &repository(name, steps(name)).tokenizer);
    }
}
