//! Models as Transformers keeps them: those of llama.cpp's references, written as repositories, answer as the references do.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::path::PathBuf;

use pollster::block_on;
use serde_json::{Value, json};
use support::repository::{Files, change, load, reference, repository, tokenizer};
use support::{Tensors, logits, plain_sequence};
use webreft::ErrorKind;
use webreft::backend::Backend;
use webreft::bytes::FileSource;
use webreft::engine::{Engine, Example, Input};
use webreft::files::{self, ModelFiles};
use webreft::generate::GenerateOptions;
use webreft::model::{LoadOptions, Model};
use webreft::quant::{self, quantizer};
use webreft::reft::ReftConfig;
use webreft::token::HubText;
use webreft::train::{TrainOptions, Trainer};

/// What the issue allows between logits.
const LOGITS: f32 = 2e-4;

fn check(model: &Model, name: &str, what: &str) {
    let expected = Tensors::open(reference(&format!("{name}.safetensors")));
    for prompt in ["p0", "p1"] {
        let tokens = expected.i32(&format!("{prompt}.input_ids"));
        let tokens: Vec<u32> = tokens.into_iter().map(|id| id as u32).collect();
        let got = logits(model, None, &[&plain_sequence(&tokens)]);
        let exact = format!("{prompt}.logits_f64");
        let want = expected.f32(&if expected.has(&exact) { exact } else { format!("{prompt}.logits") });
        let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
        assert!(worst <= LOGITS, "{name}, {what}, {prompt}: logits off by {worst}");
    }
}

const CASES: [&str; 8] = ["llama_odd", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2"];

#[test]
fn a_repository_answers_as_the_gguf_file_does() {
    for case in CASES {
        let model = load(repository(case), None).unwrap_or_else(|error| panic!("{case}: {error}"));
        check(&model, &format!("{case}-f32"), "as it is");
    }
}

/// Our quantizer and llama.cpp's give the same bits.
#[test]
fn a_repository_quantized_while_loading_answers_as_the_quantized_file_does() {
    for case in CASES {
        let model = load(repository(case), Some("Q8_0")).unwrap_or_else(|error| panic!("{case}: {error}"));
        let formats: Vec<&str> =
            model.matrices().flat_map(|m| m.slabs.iter().map(|slab| slab.format.name)).collect();
        assert!(formats.iter().all(|name| *name == "Q8_0"), "{case}: {formats:?}");
        check(&model, &format!("{case}-q8_0"), "in Q8_0");
    }
}

/// Interventions go from the one to the other.
#[test]
fn a_repository_has_the_fingerprint_of_its_gguf_file() {
    for case in ["llama_odd", "qwen3", "olmo2"] {
        let file = FileSource::open(reference(&format!("{case}-q8_0.gguf"))).expect("the references");
        let gguf = support::load_file(&Backend::cpu(), file, Some(512)).expect("a sound file");
        assert_eq!(
            load(repository(case), Some("Q4_0")).unwrap().fingerprint,
            gguf.model().fingerprint,
            "{case}"
        );
    }
}

#[test]
fn tables_of_tokens_keep_eight_bits_and_vectors_all() {
    let model = load(repository("qwen2"), Some("Q4_0")).unwrap();
    let formats: Vec<&str> = model.matrices().map(|matrix| matrix.slabs[0].format.name).collect();
    assert_eq!(formats[..2], ["Q8_0", "Q4_0"]);
    assert_eq!(formats.last(), Some(&"Q8_0"));
}

/// The factors for Llama 3.2, as `_compute_llama3_parameters` of Transformers gives them in Python's doubles.
#[test]
fn llama_3_stretches_what_turns_seldom() {
    let mut files = repository("llama_odd");
    change(&mut files, |config| {
        config["rope_theta"] = 500000.0.into();
        config["rope_scaling"] = json!({
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192
        });
        config["head_dim"] = 64.into();
    });
    let header = block_on(ModelFiles::open(files)).unwrap().header;
    let factors = &header.derived["rope_freqs.weight"];
    let want = [&[1.0; 15][..], &[1.651_329_2, 3.292_262, 9.666_729], &[32.0; 14]].concat();
    assert_eq!(factors.len(), want.len());
    for (pair, (got, want)) in factors.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 1e-6 * want, "pair {pair}: {got} for {want}");
    }
}

#[test]
fn what_a_repository_asks_for_and_is_not_here_is_told() {
    let cases: [(&str, Value, &str); 8] = [
        ("model_type", json!("mamba"), "model_type \"mamba\" is not supported (supported: llama, mistral"),
        ("model_type", json!(7), "model_type \"\" is not supported"),
        ("mlp_bias", json!(true), "mlp_bias true is not supported for qwen2"),
        ("hidden_act", json!("relu"), "activation \"relu\" is not supported for qwen2 (supported: silu)"),
        ("quantization_config", json!({ "quant_method": "gptq" }), "weights that are quantized already"),
        (
            "rope_scaling",
            json!({ "rope_type": "dynamic" }),
            "rope scaling \"dynamic\" is not supported (supported: default",
        ),
        ("hidden_size", json!(-1), "hidden_size: expected a number from 0"),
        ("rms_norm_eps", json!("x"), "rms_norm_eps: expected a number above 0, got \"x\""),
    ];
    for (key, value, text) in cases {
        let mut files = repository("qwen2");
        change(&mut files, |config| config[key] = value.clone());
        let error = load(files, None).map(|_| ()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("config.json: {text}")), "{key}: {error}");
    }
}

#[test]
fn a_damaged_repository_is_refused() {
    let refuse = |files: Files, text: &str| {
        let error = load(files, None).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(text), "{error} for {text}");
        error.kind()
    };
    let mut files = repository("qwen2");
    files[1].1.truncate(2000);
    assert_eq!(refuse(files, "the file is cut off"), ErrorKind::File);
    let mut files = repository("qwen2");
    files[1].1[0..8].fill(255);
    assert_eq!(refuse(files, "expected safetensors"), ErrorKind::File);
    let mut files = repository("qwen2");
    files[1].1[8] = b'x';
    assert_eq!(refuse(files, "the header is not that of safetensors"), ErrorKind::File);
    let mut files = repository("qwen2");
    files.remove(2);
    assert_eq!(refuse(files, "\"blk.0.ffn_gate.weight\" is missing; "), ErrorKind::File);
    let mut files = repository("qwen2");
    files.truncate(1);
    assert_eq!(refuse(files, "without .safetensors files"), ErrorKind::File);
    let mut files = repository("qwen2");
    files[0].1 = b"{".to_vec();
    assert_eq!(refuse(files, "config.json: "), ErrorKind::File);
    let mut files = repository("qwen2");
    change(&mut files, |config| config["num_hidden_layers"] = 3.into());
    assert_eq!(refuse(files, "tensor \"blk.2.attn_q.weight\" is missing"), ErrorKind::File);
    let empty: Files = Vec::new();
    assert_eq!(refuse(empty, "a model of no files"), ErrorKind::Input);
}

/// From files to text, in every way of loading.
#[test]
fn a_repository_reads_answers_and_learns() {
    let mut files = repository("qwen3");
    tokenizer(&mut files);
    for quantize in [None, Some("Q8_0"), Some("Q4_0"), Some("Q4_K")] {
        let options =
            LoadOptions { n_ctx: Some(64), quantize: quantize.map(|name| quantizer(name).unwrap()) };
        let load = async {
            let files = ModelFiles::open(files.clone()).await?;
            Engine::load(&Backend::cpu(), &files, &options, &mut |_| ()).await
        };
        let engine = block_on(load).unwrap();
        assert!(engine.info().chat);
        let prompt = engine.prompt(&Input::Text("abc".to_owned()), vec![]).unwrap();
        assert_eq!(prompt.tokens, [259, 260, 261]);
        let generate = GenerateOptions { max_tokens: 3, ..GenerateOptions::default() };
        let mut generation = engine.generate(&[prompt], &generate).unwrap();
        assert!(block_on(generation.next(engine.tokenizer())).unwrap().is_some());
        let reft = engine.reft(&[ReftConfig::default()]).unwrap();
        let mut trainer = Trainer::new(&Backend::cpu(), &reft).unwrap();
        let examples = [Example::answer("abc", "de")];
        let train = TrainOptions { epochs: 20, learning_rate: 1e-2, ..TrainOptions::default() };
        let mut training = engine.training(&reft, &examples, &train).unwrap();
        let mut losses = Vec::new();
        while let Some(step) = block_on(training.next(engine.model(), &reft, &mut trainer)).unwrap() {
            losses.push(step.loss);
        }
        assert!(losses[19] < 0.7 * losses[0], "{quantize:?}: {losses:?}");
    }
}

/// As in transformers: a text has the token that the post-processor adds; a conversation has what its template writes, and no other.
#[test]
fn a_conversation_begins_as_its_template_writes_it() {
    let begin = json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } });
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let post = json!({
        "type": "TemplateProcessing",
        "single": [begin, text],
        "pair": [begin, text],
        "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } }
    });
    let cases = [
        (json!(null), vec![1, 259, 260, 261]),
        (json!("{{ messages[0].content }}"), vec![259, 260, 261]),
        (json!("{{ bos_token }}{{ messages[0].content }}"), vec![1, 259, 260, 261]),
        (json!("{{ bos_token }}{{ bos_token }}{{ messages[0].content }}"), vec![1, 1, 259, 260, 261]),
    ];
    for (template, want) in cases {
        let mut files = repository("qwen3");
        tokenizer(&mut files);
        let change = |files: &mut Files, name: &str, key: &str, value: &Value| {
            let file = files.iter_mut().find(|(file, _)| file == name).expect(name);
            let mut json: Value = serde_json::from_slice(&file.1).expect("JSON");
            json[key] = value.clone();
            file.1 = json.to_string().into_bytes();
        };
        change(&mut files, "tokenizer.json", "post_processor", &post);
        change(&mut files, "tokenizer_config.json", "chat_template", &template);
        let engine = block_on(async {
            let files = ModelFiles::open(files).await?;
            Engine::load(&Backend::cpu(), &files, &LoadOptions::default(), &mut |_| ()).await
        });
        let prompt = engine.expect("an engine").prompt(&Input::Text("abc".to_owned()), vec![]);
        assert_eq!(prompt.expect("a prompt").tokens, want, "{template}");
    }
}

/// Transformers' own files, those behind pyreft's traces.
#[test]
fn a_directory_is_a_repository() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama");
    let files = block_on(ModelFiles::open(files::find(&folder.join("model")).unwrap())).unwrap();
    let options = LoadOptions::default();
    let model =
        block_on(Model::load(&Backend::cpu(), &files.header, &files.sources, &options, &mut |_| ())).unwrap();
    let file = FileSource::open(folder.join("model-f32.gguf")).unwrap();
    let gguf = support::load_file(&Backend::cpu(), file, None).unwrap();
    let sequence = plain_sequence(&[1, 79, 148, 180, 134]);
    let [ours, theirs] = [&model, gguf.model()].map(|model| logits(model, None, &[&sequence]));
    assert_eq!(ours, theirs, "the same weights in the same order");
    assert_eq!(quant::F32.name, model.matrices().next().unwrap().slabs[0].format.name);
}

/// The ids of Hugging Face's own library, for each form of the pipeline; made by `tests/tokenizers/make.py`.
#[test]
fn tokens_are_those_of_the_tokenizers_library() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).expect(name)).expect("JSON")
    };
    let (mut json, cases) = (read("tokenizer.json"), read("cases.json"));
    let texts: Vec<&str> =
        cases["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let forms = cases["forms"].as_object().unwrap();
    assert_eq!((texts.len(), forms.len()), (16, 6));
    for (name, form) in forms {
        for step in ["normalizer", "pre_tokenizer"] {
            json[step] = form[step].clone();
        }
        let bytes = serde_json::to_vec(&json).unwrap();
        let text = HubText::read(|file| (file == "tokenizer.json").then_some(bytes.as_slice())).expect(name);
        for (string, want) in texts.iter().zip(form["ids"].as_array().unwrap()) {
            let got = json!(text.tokenizer.encode(string, true, true));
            assert_eq!(got, *want, "{name}: {string:?}");
        }
    }
}
