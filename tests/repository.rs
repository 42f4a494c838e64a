//! Models as Transformers keeps them: those of llama.cpp's references, written as repositories, answer as the references do.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use pollster::block_on;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use support::{Tensors, logits, plain_sequence};
use webreft::ErrorKind;
use webreft::backend::Backend;
use webreft::bytes::FileSource;
use webreft::engine::{Engine, Example, Input};
use webreft::files::{self, ModelFiles};
use webreft::generate::GenerateOptions;
use webreft::model::{LoadOptions, Model};
use webreft::quant::{self, format_of, quantizer};
use webreft::reft::ReftConfig;
use webreft::token::HubText;
use webreft::train::{TrainOptions, Trainer};

/// What the issue allows between logits.
const LOGITS: f32 = 2e-4;

type Files = Vec<(String, Vec<u8>)>;

fn reference(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/llamacpp/data/archs").join(name)
}

/// What a case's configuration says beside its dims.
fn configuration(case: &str) -> Value {
    match case {
        "llama_odd" => json!({ "model_type": "llama", "rope_theta": 10000.0, "hidden_act": "silu" }),
        "qwen2" => {
            json!({ "model_type": "qwen2", "rope_theta": 1000000.0, "sliding_window": 5, "use_sliding_window": false })
        }
        "qwen3" => {
            json!({ "model_type": "qwen3", "rope_theta": 1000000.0, "head_dim": 64, "attention_bias": false })
        }
        "gemma2" => json!({
            "model_type": "gemma2", "rope_theta": 10000.0, "head_dim": 32, "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": 10, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 6.0, "query_pre_attn_scalar": 32
        }),
        "gemma3" => json!({
            "model_type": "gemma3_text", "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "head_dim": 32,
            "rope_scaling": { "rope_type": "linear", "factor": 8.0 }, "sliding_window": 12, "sliding_window_pattern": 6,
            "query_pre_attn_scalar": 32, "hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": null
        }),
        "phi3" => {
            json!({ "model_type": "phi3", "rope_theta": 10000.0, "original_max_position_embeddings": 512 })
        }
        "smollm3" => {
            json!({ "model_type": "smollm3", "rope_theta": 5000000.0, "no_rope_layers": [1, 1, 1, 0, 1] })
        }
        "olmo2" => json!({ "model_type": "olmo2", "rope_theta": 500000.0 }),
        other => panic!("{other}: a case without a configuration"),
    }
}

/// Transformers' name of a tensor of GGUF.
fn name_of(gguf: &str, arch: &str) -> Option<String> {
    let whole = [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
    ];
    if let Some((_, name)) = whole.iter().find(|(name, _)| *name == gguf) {
        return Some((*name).to_owned());
    }
    let mut parts = gguf.strip_prefix("blk.")?.split('.');
    let (number, stem, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let around = ["gemma2", "gemma3"].contains(&arch);
    let stem = match stem {
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_qkv" => "self_attn.qkv_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" if arch == "phi3" => "mlp.gate_up_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        "attn_norm" => "input_layernorm",
        "ffn_norm" if around => "pre_feedforward_layernorm",
        "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        other => panic!("{other}: a tensor without a name"),
    };
    Some(format!("model.layers.{number}.{stem}.{kind}"))
}

/// A reference as the files of a repository, its tensors in two of them.
fn repository(case: &str) -> Files {
    let file = FileSource::open(reference(&format!("{case}-f32.gguf"))).expect("the references");
    let model = block_on(ModelFiles::gguf(file)).expect("a sound file");
    let (metadata, arch) =
        (&model.header.metadata, model.header.metadata.str("general.architecture").unwrap());
    let count = |key: &str| metadata.get::<u32>(&format!("{arch}.{key}")).unwrap().map(|n| n as usize);
    let (n_head, n_head_kv) =
        (count("attention.head_count").unwrap(), count("attention.head_count_kv").unwrap());
    let mut config = configuration(case);
    for (theirs, key) in [
        ("hidden_size", "embedding_length"),
        ("num_hidden_layers", "block_count"),
        ("num_attention_heads", "attention.head_count"),
        ("num_key_value_heads", "attention.head_count_kv"),
        ("intermediate_size", "feed_forward_length"),
        ("max_position_embeddings", "context_length"),
    ] {
        config[theirs] = count(key).into();
    }
    config["rms_norm_eps"] =
        metadata.f32(&format!("{arch}.attention.layer_norm_rms_epsilon")).unwrap().into();
    config["tie_word_embeddings"] = model.header.tensor("output.weight").is_none().into();

    let mut parts = [BTreeMap::new(), BTreeMap::new()];
    for tensor in &model.header.tensors {
        let mut bytes = vec![0; tensor.bytes as usize];
        block_on(webreft::bytes::ByteSource::read(&model.sources[0], tensor.offset, &mut bytes)).unwrap();
        let mut values = vec![0.0; tensor.rows() * tensor.cols()];
        format_of(tensor).unwrap().decode(&bytes, &mut values);
        let Some(name) = name_of(&tensor.name, arch) else {
            let key = if tensor.name.contains("long") { "long_factor" } else { "short_factor" };
            config["rope_scaling"]["type"] = "longrope".into();
            config["rope_scaling"]["attention_factor"] = 1.19.into();
            config["rope_scaling"][key] = values.into();
            continue;
        };
        let n_heads = [("q_proj.weight", n_head), ("k_proj.weight", n_head_kv)];
        let n_heads = n_heads.into_iter().find(|(ending, _)| name.ends_with(ending));
        if let Some((_, n_heads)) = n_heads.filter(|_| ["llama", "smollm3"].contains(&arch)) {
            values = in_halves(&values, tensor.rows() / n_heads, tensor.cols());
        }
        if arch.starts_with("gemma") && name.contains("norm") {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        let part = usize::from(name.contains("mlp"));
        parts[part].insert(name, (tensor.dims.clone(), bytemuck::cast_slice(&values).to_vec()));
    }
    let mut files = vec![("config.json".to_owned(), config.to_string().into_bytes())];
    for (number, part) in parts.iter().enumerate() {
        let views = part.iter().map(|(name, (dims, bytes)): (&String, &(Vec<usize>, Vec<u8>))| {
            (name, TensorView::new(Dtype::F32, dims.clone(), bytes).unwrap())
        });
        files.push((format!("model-{number}.safetensors"), serialize(views, None).unwrap()));
    }
    files
}

/// Rows of heads whose rotary pairs are neighbours, with the first of each pair before all of the second.
fn in_halves(values: &[f32], head_dim: usize, cols: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = values.chunks_exact(cols).collect();
    let of_head = |head: &[&[f32]]| {
        let firsts = head.iter().step_by(2).copied();
        let seconds = head.iter().skip(1).step_by(2).copied();
        firsts.chain(seconds).flatten().copied().collect::<Vec<f32>>()
    };
    rows.chunks_exact(head_dim).flat_map(of_head).collect()
}

fn load(files: Files, quantize: Option<&str>) -> webreft::Result<Model> {
    let quantize = quantize.map(quantizer).transpose()?;
    let options = LoadOptions { n_ctx: Some(512), quantize };
    block_on(async {
        let files = ModelFiles::open(files).await?;
        Model::load(&Backend::cpu(), &files.header, &files.sources, &options, &mut |_| ()).await
    })
}

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

fn change(files: &mut Files, change: impl Fn(&mut Value)) {
    let mut config = serde_json::from_slice(&files[0].1).unwrap();
    change(&mut config);
    files[0].1 = config.to_string().into_bytes();
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

/// A tokenizer of characters, with a token for each byte.
fn tokenizer(files: &mut Files) {
    let ids = |id: usize| match id {
        0..3 => ["<unk>", "<s>", "</s>"][id].to_owned(),
        3..259 => format!("<0x{:02X}>", id - 3),
        _ => char::from_u32(id as u32 - 259 + 97).unwrap().to_string(),
    };
    let vocab: serde_json::Map<String, Value> = (0..285).map(|id| (ids(id), id.into())).collect();
    let added = |id: usize| json!({ "id": id, "content": ids(id), "special": true });
    let json = json!({
        "added_tokens": [added(0), added(1), added(2)],
        "model": { "type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": true, "unk_token": "<unk>" }
    });
    files.push(("tokenizer.json".to_owned(), json.to_string().into_bytes()));
    let config =
        json!({ "bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ messages[0].content }}" });
    files.push(("tokenizer_config.json".to_owned(), config.to_string().into_bytes()));
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
