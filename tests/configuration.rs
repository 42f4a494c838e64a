//! What files say of a model beside its weights: each key and each tensor is honoured, is known to change nothing, or is refused by name.
//!
//! Right values are llama.cpp's and Transformers'; `tests/cases` has the inputs.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::path::PathBuf;

use pollster::block_on;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Value, json};
use support::repository::{Files, change, load, repository, tokenizer};
use support::{logits, plain_sequence};
use webreft::backend::Backend;
use webreft::bytes::FileSource;
use webreft::engine::{Engine, Example};
use webreft::files::ModelFiles;
use webreft::model::LoadOptions;
use webreft::reft::ReftConfig;
use webreft::train::Sequence;

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(case(name)).expect(name)
}

fn backends() -> [Backend; 2] {
    [Backend::cpu(), block_on(Backend::gpu()).expect("an adapter: a software one will do")]
}

fn open(backend: &Backend, files: &Files) -> webreft::Result<Engine> {
    let options = LoadOptions { n_ctx: Some(256), ..LoadOptions::default() };
    block_on(async {
        let files = ModelFiles::open(files.clone()).await?;
        Engine::load(backend, &files, &options, &mut |_| ()).await
    })
}

/// The mean of what labels cost, in nats, by the bare model.
fn cost(engine: &Engine, sequence: &Sequence, labels: &[(usize, u32)]) -> f64 {
    let logits = logits(engine.model(), None, &[sequence]);
    let n_vocab = engine.info().n_vocab;
    let of_label = |(at, id): &(usize, u32)| {
        let row = &logits[at * n_vocab..][..n_vocab];
        let most = f64::from(row.iter().copied().fold(f32::MIN, f32::max));
        let sum: f64 = row.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
        most + sum.ln() - f64::from(row[*id as usize])
    };
    labels.iter().map(of_label).sum::<f64>() / labels.len() as f64
}

/// What a completion costs a token.
fn nats(engine: &Engine, prompt: &str, completion: &str) -> f64 {
    let reft = engine.reft(&[ReftConfig::default()]).expect("a reft");
    let sequence =
        engine.sequences(&reft, &[Example::answer(prompt, completion)]).expect("a sequence").remove(0);
    cost(engine, &sequence, &sequence.labels)
}

const PROMPT: &str = "the cat sat on the mat and looked at the dog that was there, ";
const COMPLETION: &str = "another cat came";

/// The weights of a reference with the configuration and the tokenizer of a case.
fn of_case(reference: &str, config: &str) -> Files {
    let mut files = repository(reference);
    files[0].1 = bytes(&format!("repos/{config}.json"));
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        files.push((name.to_owned(), bytes(&format!("repos/{name}"))));
    }
    files
}

#[test]
fn a_configuration_of_any_version_gives_the_nats_of_transformers() {
    for (reference, config, want) in [
        ("phi3", "phi_v4_partial", 10.1682),
        ("phi3", "phi_v5_partial_only", 10.1682),
        ("gemma3", "g3_no_rope_theta", 12.8612),
    ] {
        for backend in backends() {
            let engine = open(&backend, &of_case(reference, config)).expect(config);
            let got = nats(&engine, PROMPT, COMPLETION);
            assert!((got - want).abs() < 1e-4, "{config} on {}: {got} for {want}", backend.kind());
        }
    }
}

/// What a head is, of which the configuration says nothing, comes from the tensors: the class's default is another.
#[test]
fn the_defaults_of_gemma_3_fill_what_is_absent() {
    let files = renamed(of_case("gemma3", "g3_4b_like"), |name| format!("language_model.{name}"));
    let engine = open(&Backend::cpu(), &files).expect("it loads");
    let dims = engine.model().dims;
    assert_eq!((dims.n_head, dims.n_head_kv, dims.head_dim, dims.n_ctx), (2, 1, 32, 131_072));
    assert_eq!((dims.rope_base, dims.norm_eps), (1e6, 1e-6));
    assert!(nats(&engine, PROMPT, COMPLETION).is_finite());
}

/// A file of tensors with other names.
fn renamed(mut files: Files, name: impl Fn(&str) -> String) -> Files {
    for (_, bytes) in files.iter_mut().filter(|(file, _)| file.ends_with(".safetensors")) {
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let views = tensors.iter().map(|(old, view)| (name(old), view));
        let written = serialize(views, None).unwrap();
        *bytes = written;
    }
    files
}

/// With a tensor more, of ones.
fn with_tensor(mut files: Files, name: &str, shape: &[usize]) -> Files {
    let ones: Vec<f32> = vec![1.0; shape.iter().product()];
    let view = TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(&ones)).unwrap();
    files.push(("model-more.safetensors".to_owned(), serialize([(name, view)], None).unwrap()));
    files
}

fn gguf(backend: &Backend, name: &str) -> webreft::Result<Engine> {
    support::load_file(backend, FileSource::open(case(name)).expect(name), Some(256))
}

#[test]
fn biases_of_a_gguf_file_count() {
    for backend in backends() {
        let engine = gguf(&backend, "gguf/bias_qkvo.gguf").expect("it loads");
        let got = nats(&engine, "the cat sat on the mat and looked at ", "another cat there");
        assert!((got - 10.56695).abs() < 1e-4, "{}: {got}", backend.kind());
    }
}

/// The value is llama.cpp's; `tests/cases/make.py` writes file and value. It is 10.6362 without the biases.
#[test]
fn biases_of_every_matrix_count() {
    let token = |i: u32| 3 + (17 * i * i + 29 * i) % 250;
    let tokens: Vec<u32> = std::iter::once(1).chain((0..23).map(token)).collect();
    let labels: Vec<(usize, u32)> = (16..24).map(|at| (at - 1, tokens[at])).collect();
    for backend in backends() {
        let engine = gguf(&backend, "gguf/llama_biases.gguf").expect("it loads");
        let got = cost(&engine, &plain_sequence(&tokens), &labels);
        assert!((got - 9.585_769).abs() < 1e-4, "{}: {got}", backend.kind());
    }
}

#[test]
fn a_gpu_is_compared_with_biases() {
    let engine = gguf(&backends()[1], "gguf/llama_biases.gguf").expect("it loads");
    let verdict = block_on(webreft::model::check(engine.model())).expect("a verdict");
    assert!(verdict.faults.is_empty(), "{:?}", verdict.faults);
    assert!(verdict.kernels.contains(&"broadcast_row"));
}

#[test]
fn gradients_are_right_beside_biases() {
    use support::differences::check_gradient;
    use webreft::kernel::Dropout;
    use webreft::model::Component;
    use webreft::reft::{Layers, Reft};
    let engine = gguf(&Backend::cpu(), "gguf/llama_biases.gguf").expect("it loads");
    let places = [
        Component::QueryOutput,
        Component::AttentionOutput,
        Component::GateOutput,
        Component::UpOutput,
        Component::MlpOutput,
    ];
    for component in places {
        for kind in ["loreft", "dora"] {
            let config = ReftConfig {
                kind: kind.to_owned(),
                layers: Layers::List(vec![0]),
                component: component.name().into(),
                rank: 2,
                ..ReftConfig::default()
            };
            let reft = Reft::new(engine.model(), &[config]).expect("a reft");
            let name = format!("{kind} at {}", component.name());
            check_gradient(&engine, &reft, Dropout::default(), engine.model().dims.n_layer, &name);
        }
    }
}

#[test]
fn a_tensor_that_llama_cpp_does_not_read_is_refused_by_name() {
    let error = gguf(&Backend::cpu(), "gguf/b_qwen3_attn_k.gguf").err().expect("an error").to_string();
    let text =
        "tensor \"blk.0.attn_k.bias\" is not supported for qwen3: the model would be computed without it";
    assert_eq!(error, text);
}

/// A repository's biases are those of its configuration: Qwen 3 has them with `attention_bias`, and its GGUF file never.
#[test]
fn biases_of_a_repository_are_those_its_configuration_says() {
    let biases: [(&str, usize); 4] = [("q_proj", 128), ("k_proj", 64), ("v_proj", 64), ("o_proj", 64)];
    let name = |layer: usize, stem: &str| format!("model.layers.{layer}.self_attn.{stem}.bias");
    let mut files = repository("qwen3");
    let plain = load(files.clone(), None).unwrap();
    let values: Vec<(String, Vec<f32>)> = (0..2)
        .flat_map(|layer| biases.map(|(stem, width)| (name(layer, stem), vec![0.25 + layer as f32; width])))
        .collect();
    let views = values.iter().map(|(name, values)| {
        (name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values)).unwrap())
    });
    files.push(("model-2.safetensors".to_owned(), serialize(views, None).unwrap()));
    let text = "tensor \"model.layers.0.self_attn.k_proj.bias\" is not supported for qwen3";
    assert!(refusal(&files).contains(text), "{}", refusal(&files));
    change(&mut files, |config| config["attention_bias"] = true.into());
    let biased = load(files.clone(), None).unwrap();
    let sequence = plain_sequence(&[1, 7, 9, 20]);
    let [plain, biased] = [&plain, &biased].map(|model| logits(model, None, &[&sequence]));
    assert!(plain.iter().zip(&biased).any(|(one, other)| (one - other).abs() > 0.1));
    files.pop();
    let text = "tensor \"blk.0.attn_output.bias\" is missing: config.json has it";
    assert!(refusal(&files).contains(text), "{}", refusal(&files));
}

/// Why files do not load.
fn refusal(files: &Files) -> String {
    load(files.clone(), None).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn each_tensor_is_used_or_known_or_refused_by_name() {
    let load_with =
        |name: &str, shape: &[usize]| load(with_tensor(repository("qwen3"), name, shape), None).map(|_| ());
    for name in [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.rotary_emb.inv_freq",
        "vision_tower.encoder.weight",
        "model.layers.1.self_attn.masked_bias",
    ] {
        load_with(name, &[2, 2, 2]).expect(name);
    }
    for (name, shape) in [
        ("score.weight", [2, 64]),
        ("lm_head.bias", [1, 288]),
        ("model.layers.2.input_layernorm.weight", [1, 64]),
        ("model.layers.0.input_layernorm.bias", [1, 64]),
        ("model.layers.0.mlp.experts.0.up_proj.weight", [2, 64]),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", [2, 64]),
    ] {
        let error = load_with(name, &shape).unwrap_err().to_string();
        let text =
            format!("tensor {name:?} is not supported for qwen3: the model would be computed without it");
        assert!(error.contains(&text), "{error}");
    }
}

#[test]
fn an_output_matrix_must_be_there_where_it_is_not_the_embedding() {
    let mut files = repository("qwen3");
    change(&mut files, |config| config["tie_word_embeddings"] = false.into());
    assert_eq!(refusal(&files), "tensor \"lm_head.weight\" is missing: tie_word_embeddings is false");
}

/// In one layer positions count from each other alone: what a token sees through a window is what the tokens of the window say by
/// themselves.
#[test]
fn a_window_of_every_layer_is_the_text_of_the_window() {
    let mut files = repository("llama_odd");
    let whole = load(files.clone(), None).unwrap();
    change(&mut files, |config| {
        config["model_type"] = "mistral".into();
        config["sliding_window"] = 5.into();
    });
    let windowed = load(files, None).unwrap();
    let tokens: Vec<u32> = (0..12).map(|i| 10 + 7 * i).collect();
    let n_vocab = whole.dims.n_vocab;
    let [got, all] = [&windowed, &whole].map(|model| logits(model, None, &[&plain_sequence(&tokens)]));
    let want = logits(&whole, None, &[&plain_sequence(&tokens[7..])]);
    let last = |logits: &[f32]| logits[logits.len() - n_vocab..].to_vec();
    let off = |one: &[f32], other: &[f32]| {
        last(one).iter().zip(last(other)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(off(&got, &want) < 2e-4, "{}", off(&got, &want));
    assert!(off(&got, &all) > 0.1);
}

/// Every form of a window says the same.
#[test]
fn windows_of_each_form_agree() {
    let sequence = plain_sequence(&(0..20).map(|i| 10 + 7 * i).collect::<Vec<u32>>());
    let answer = |case: &str, changes: Value| {
        let mut files = repository(case);
        change(&mut files, |config| {
            config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        });
        let model = load(files, None).unwrap_or_else(|error| panic!("{case} {changes}: {error}"));
        logits(&model, None, &[&sequence])
    };
    let whole = answer("qwen3", json!({}));
    let second =
        answer("qwen3", json!({ "use_sliding_window": true, "sliding_window": 3, "max_window_layers": 1 }));
    let types = json!({ "use_sliding_window": true, "sliding_window": 3, "layer_types": ["full_attention", "sliding_attention"] });
    assert_eq!(second, answer("qwen3", types));
    assert_ne!(second, whole);
    assert_eq!(
        whole,
        answer("qwen3", json!({ "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 0 }))
    );
    let gemma = answer("gemma3", json!({}));
    let types: Vec<&str> =
        (1..=7).map(|n| if n % 6 == 0 { "full_attention" } else { "sliding_attention" }).collect();
    assert_eq!(gemma, answer("gemma3", json!({ "layer_types": types, "sliding_window_pattern": null })));
    assert_ne!(gemma, answer("gemma3", json!({ "sliding_window_pattern": 2 })));
    let parameters = json!({ "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 }, "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 } });
    let v5 = json!({ "rope_scaling": null, "rope_theta": null, "rope_local_base_freq": null, "rope_parameters": parameters });
    assert_eq!(gemma, answer("gemma3", v5));
}

#[test]
fn keys_that_change_the_model_are_refused_by_name() {
    let cases: [(&str, Value, &str); 26] = [
        (
            "qwen2",
            json!({ "residual_multiplier": 0.22 }),
            "residual_multiplier 0.22 is not supported for qwen2 (supported: 1)",
        ),
        (
            "qwen2",
            json!({ "logits_scaling": 8 }),
            "logits_scaling 8 is not supported for qwen2 (supported: 1)",
        ),
        ("qwen2", json!({ "scale_emb": 12 }), "scale_emb 12 is not supported"),
        (
            "qwen2",
            json!({ "attention_multiplier": 0.1 }),
            "attention_multiplier 0.1 is not supported for qwen2 (supported: null)",
        ),
        ("qwen2", json!({ "clip_qkv": 8.0 }), "clip_qkv 8.0 is not supported for qwen2 (supported: 0)"),
        ("qwen2", json!({ "num_local_experts": 8 }), "num_local_experts 8 is not supported"),
        (
            "qwen2",
            json!({ "partial_rotary_factor": 0.5 }),
            "partial_rotary_factor 0.5 is not supported for qwen2 (supported: 1)",
        ),
        (
            "qwen2",
            json!({ "layer_norm_eps": 1e-5 }),
            "layer_norm_eps 0.00001 is not supported for qwen2: rms_norm_eps is",
        ),
        ("qwen2", json!({ "qkv_bias": false }), "qkv_bias false is not supported for qwen2"),
        ("llama_odd", json!({ "sliding_window": 5 }), "sliding_window 5 is not supported for llama"),
        ("llama_odd", json!({ "use_qkv_bias": true }), "use_qkv_bias true is not supported for llama"),
        (
            "qwen2",
            json!({ "layer_types": ["full_attention", "sliding_attention"] }),
            "layer_types with windows in other layers than qwen2 has",
        ),
        (
            "qwen2",
            json!({ "layer_types": ["full_attention"] }),
            "layer_types: expected 2, one for each layer, got 1",
        ),
        (
            "qwen2",
            json!({ "layer_types": ["full_attention", "linear_attention"] }),
            "layer_types: \"linear_attention\" is not supported",
        ),
        (
            "gemma2",
            json!({ "sliding_window_pattern": 6 }),
            "sliding_window_pattern 6 is not supported for gemma2 (supported: 2)",
        ),
        ("gemma2", json!({ "sliding_window": null }), "sliding_window: expected a number above 0"),
        (
            "smollm3",
            json!({ "no_rope_layers": null, "no_rope_layer_interval": 2 }),
            "no_rope_layer_interval 2 is not supported (supported: 4)",
        ),
        (
            "qwen2",
            json!({ "rope_parameters": { "rope_type": "default", "mrope_section": [8, 8] } }),
            "rope parameter mrope_section [8,8] is not supported",
        ),
        (
            "qwen2",
            json!({ "rope_scaling": { "type": "mrope" } }),
            "rope scaling \"mrope\" is not supported (supported: default",
        ),
        (
            "qwen2",
            json!({ "rope_scaling": { "rope_type": "proportional" } }),
            "rope scaling \"proportional\" is not supported",
        ),
        (
            "qwen2",
            json!({ "rope_scaling": { "factor": 4.0 } }),
            "rope scaling by a factor of 4 without a type is not supported",
        ),
        (
            "qwen2",
            json!({ "rope_scaling": { "type": "yarn", "factor": 4.0, "truncate": false } }),
            "rope parameter truncate false is not supported",
        ),
        (
            "gemma3",
            json!({ "rope_scaling": null, "rope_parameters": { "rope_theta": 1e4 } }),
            "rope_parameters: rope_theta is not supported for gemma3_text",
        ),
        (
            "gemma3",
            json!({ "rope_parameters": { "sliding_attention": { "rope_type": "linear", "factor": 2.0 } } }),
            "rope scaling \"linear\" of sliding_attention is not supported",
        ),
        (
            "gemma3",
            json!({ "use_bidirectional_attention": true }),
            "use_bidirectional_attention true is not supported for gemma3_text (supported: false)",
        ),
        (
            "qwen2",
            json!({ "hidden_act": "gelu" }),
            "activation \"gelu\" is not supported for qwen2 (supported: silu)",
        ),
    ];
    for (case, changes, text) in cases {
        let mut files = repository(case);
        change(&mut files, |config| {
            config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        });
        let error = refusal(&files);
        assert!(error.starts_with(&format!("config.json: {text}")), "{changes}: {error}");
    }
}

#[test]
fn keys_at_their_neutral_values_change_nothing() {
    let mut files = repository("qwen2");
    let plain = load(files.clone(), None).unwrap();
    change(&mut files, |config| {
        let neutral = json!({
            "residual_multiplier": 1.0, "clip_qkv": null, "num_experts": 0, "partial_rotary_factor": 1.0, "use_bias": false,
            "rope_scaling": { "rope_type": "default" }, "transformers_version": "5.0.0", "attention_dropout": 0.1,
        });
        config.as_object_mut().unwrap().extend(neutral.as_object().unwrap().clone());
    });
    let sequence = plain_sequence(&[1, 7, 9, 20]);
    let neutral = load(files, None).unwrap();
    let [plain, neutral] = [&plain, &neutral].map(|model| logits(model, None, &[&sequence]));
    assert_eq!(plain, neutral);
}

/// An index of the two files of a repository, changed.
fn with_index(change: impl Fn(&mut serde_json::Map<String, Value>)) -> Files {
    let mut files = repository("qwen3");
    let mut map = serde_json::Map::new();
    for (file, bytes) in files.iter().filter(|(file, _)| file.ends_with(".safetensors")) {
        for name in SafeTensors::deserialize(bytes).unwrap().names() {
            map.insert(name.to_owned(), file.clone().into());
        }
    }
    change(&mut map);
    let index = json!({ "metadata": {}, "weight_map": map }).to_string().into_bytes();
    files.push(("model.safetensors.index.json".to_owned(), index));
    files
}

#[test]
fn the_index_decides_which_files_count() {
    let norm = "model.norm.weight";
    let mut files = with_index(|_| ());
    files.push(("consolidated.safetensors".to_owned(), b"not read".to_vec()));
    load(files, None).expect("a file that the index does not name is left out");
    let missing = with_index(|map| drop(map.insert(norm.to_owned(), "model-9.safetensors".into())));
    let text = "model.safetensors.index.json: file \"model-9.safetensors\" is missing";
    assert_eq!(refusal(&missing), text);
    let elsewhere =
        refusal(&with_index(|map| drop(map.insert(norm.to_owned(), "model-1.safetensors".into()))));
    assert!(
        elsewhere.contains("tensor \"model.norm.weight\" is not in \"model-1.safetensors\""),
        "{elsewhere}"
    );
    let unnamed = refusal(&with_index(|map| drop(map.remove(norm))));
    assert!(
        unnamed.contains("tensor \"model.norm.weight\" of \"model-0.safetensors\" is not named"),
        "{unnamed}"
    );
    let mut broken = repository("qwen3");
    broken.push(("model.safetensors.index.json".to_owned(), b"{}".to_vec()));
    assert!(
        refusal(&broken).starts_with("model.safetensors.index.json: missing field"),
        "{}",
        refusal(&broken)
    );
}

/// A change to one of a repository's files of JSON.
fn change_file(files: &mut Files, name: &str, change: impl Fn(&mut Value)) {
    let (_, bytes) = files.iter_mut().find(|(file, _)| file == name).expect(name);
    let mut json = serde_json::from_slice(bytes).expect("JSON");
    change(&mut json);
    *bytes = json.to_string().into_bytes();
}

fn with_tokenizer() -> Files {
    let mut files = repository("qwen3");
    tokenizer(&mut files);
    files
}

fn add_file(files: &mut Files, name: &str, json: &Value) {
    files.push((name.to_owned(), json.to_string().into_bytes()));
}

#[test]
fn more_tokens_than_rows_of_the_embedding_are_an_error() {
    let mut files = with_tokenizer();
    add_file(&mut files, "added_tokens.json", &json!({ "<extra>": 288 }));
    let error = open(&Backend::cpu(), &files).err().expect("an error").to_string();
    let text = "the tokenizer has 289 tokens, the embedding 288 rows: expected a row for each token";
    assert_eq!(error, text);
    change_file(&mut files, "added_tokens.json", |json| *json = json!({ "<image_soft_token>": 288 }));
    let engine = open(&Backend::cpu(), &files).expect("Gemma 3 has no row for it");
    assert!(engine.tokenizer().encode("<image_soft_token>", true, false).iter().all(|id| *id < 288));
}

#[test]
fn tokens_of_other_files_are_added() {
    let encode = |files: &Files, text: &str| {
        open(&Backend::cpu(), files).expect("it loads").tokenizer().encode(text, true, false)
    };
    let mut files = with_tokenizer();
    add_file(&mut files, "added_tokens.json", &json!({ "<x>": 286 }));
    assert_eq!(encode(&files, "a<x>b"), [259, 286, 260]);
    change_file(&mut files, "tokenizer_config.json", |config| {
        config["added_tokens_decoder"] = json!({
            "285": { "content": "<m>", "lstrip": true, "rstrip": true, "normalized": false, "single_word": false, "special": true },
            "287": { "content": "cat", "lstrip": false, "rstrip": false, "normalized": false, "single_word": true, "special": false },
        });
    });
    assert_eq!(encode(&files, "a <m> b"), [259, 285, 260]);
    assert_eq!(encode(&files, "cat"), [287]);
    assert_eq!(encode(&files, "cats"), [261, 259, 278, 277]);
    change_file(&mut files, "tokenizer_config.json", |config| {
        config["added_tokens_decoder"] = json!({ "7": { "content": "a" } });
    });
    let error = open(&Backend::cpu(), &files).err().expect("an error").to_string();
    assert_eq!(error, "token \"a\" has the ids 259 and 7: expected one");
}

#[test]
fn generation_ends_at_the_tokens_that_the_configuration_names() {
    let ends = |files: &Files| {
        open(&Backend::cpu(), files).expect("it loads").tokenizer().ends().collect::<Vec<u32>>()
    };
    let mut files = with_tokenizer();
    assert_eq!(ends(&files), [2]);
    change(&mut files, |config| config["eos_token_id"] = 260.into());
    assert_eq!(ends(&files), [2, 260]);
    change(&mut files, |config| config["eos_token_id"] = json!([260, 261]));
    assert_eq!(ends(&files), [2, 260, 261]);
    add_file(&mut files, "generation_config.json", &json!({ "eos_token_id": [265] }));
    assert_eq!(ends(&files), [2, 265]);
}

/// Whatever stands in a file of JSON: an error by name, or a model.
#[test]
fn files_of_json_that_lie_are_errors() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let layers = json!({ "num_hidden_layers": u32::MAX, "use_sliding_window": true, "max_window_layers": 0 });
    let values: Vec<Value> = vec![
        json!(null),
        json!(7),
        json!("x"),
        json!([]),
        serde_json::from_str(&deep).unwrap(),
        json!({ "weight_map": 7 }),
        json!({ "weight_map": { "x": "../config.json" } }),
        json!({ "added_tokens_decoder": { "x": {} } }),
        json!({ "added_tokens_decoder": { "4294967295": { "content": "q" } } }),
        json!({ "added_tokens_decoder": { "5": 7 } }),
        json!({ "a": -1, "b": {} }),
        json!({ "q": u32::MAX }),
        json!({ "eos_token_id": [-1, {}, 4294967295u32] }),
    ];
    let names = [
        "config.json",
        "tokenizer_config.json",
        "added_tokens.json",
        "generation_config.json",
        "model.safetensors.index.json",
    ];
    let mut n_errors = 0;
    for name in names {
        for value in &values {
            let mut files = with_tokenizer();
            files.retain(|(file, _)| file != name);
            add_file(&mut files, name, value);
            if let Err(error) = open(&Backend::cpu(), &files) {
                n_errors += 1;
                let kinds = [webreft::ErrorKind::File, webreft::ErrorKind::Unsupported];
                assert!(kinds.contains(&error.kind()), "{name} of {value}: {error}");
            }
        }
    }
    assert!(n_errors > 2 * values.len(), "{n_errors} of {}", names.len() * values.len());
    let mut files = with_tokenizer();
    change(&mut files, |config| config.as_object_mut().unwrap().extend(layers.as_object().unwrap().clone()));
    let error = open(&Backend::cpu(), &files).err().expect("an error").to_string();
    assert!(error.contains("4294967295 layers: the file has"), "{error}");
    let mut files = with_tokenizer();
    add_file(&mut files, "added_tokens.json", &json!({ "<x>": u32::MAX }));
    let error = open(&Backend::cpu(), &files).err().expect("an error").to_string();
    assert!(error.contains("a token has the id 4294967295: expected less than the file's"), "{error}");
}

/// Added tokens of every kind in every form of the pipeline, as Hugging Face's own library finds them.
#[test]
fn added_tokens_are_found_as_the_tokenizers_library_finds_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).expect(name)).expect("JSON")
    };
    let (mut json, cases) = (read("tokenizer.json"), read("cases.json"));
    let added = json["added_tokens"].as_array_mut().expect("an array");
    // Content, then single_word, lstrip, rstrip, normalized, special.
    for (number, (content, [single_word, lstrip, rstrip, normalized, special])) in [
        ("<m>", [false, true, true, false, true]),
        ("cat", [true, false, false, false, false]),
        ("cats and", [false, false, true, false, false]),
        ("dog", [true, true, false, true, false]),
        ("<n>", [false, false, false, true, true]),
        ("dogma", [false, false, false, true, false]),
    ]
    .into_iter()
    .enumerate()
    {
        added.push(json!({
            "id": 320 + number, "content": content, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": normalized, "special": special,
        }));
    }
    let texts = [
        "the cat sat",
        "cats and  dogs",
        "a <m> b<m><m>  c",
        "<n> dog <n>dog dogma <n>",
        "dog",
        " dog\n\n<m>\tdog<n>cat",
        "cat cats and cat",
        "zoé dogé écat 猫cat",
        "",
        "<m>",
    ];
    for (name, form) in cases["forms"].as_object().expect("forms") {
        for step in ["normalizer", "pre_tokenizer"] {
            json[step] = form[step].clone();
        }
        let bytes = serde_json::to_vec(&json).expect("JSON");
        let theirs = tokenizers::Tokenizer::from_bytes(&bytes).expect(name);
        let text =
            webreft::token::HubText::read(|file| (file == "tokenizer.json").then_some(bytes.as_slice()));
        let ours = text.expect(name).tokenizer;
        for text in texts {
            let want = theirs.encode(text, false).expect("ids");
            assert_eq!(ours.encode(text, true, false), want.get_ids(), "{name}: {text:?}");
        }
    }
}
