//! Adapters as people bring them: every form of peft's and pyreft's directories gives the right answer, or is refused by name.
//!
//! `tests/cases/adapters` has the directories, and in `greedy.json` the right token ids, which its `make.py` computes in float64.

#![allow(missing_docs, reason = "a test")]

mod support;

use half::{bf16, f16};
use pollster::block_on;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use webreft::backend::Backend;
use webreft::engine::{Engine, Imported};
use webreft::generate::{GenerateOptions, Persona, Prompt};
use webreft::reft::foreign::{File, Unsaved, pack_directory, unpack_directory};
use webreft::reft::{Pooling, Reft};
use webreft::{ErrorKind, Result};

const IDS: [u32; 15] = [1, 293, 308, 273, 290, 289, 273, 279, 259, 304, 259, 292, 259, 305, 314];
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const ROOT: &str = "base_model.model.model.layers";

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn engine() -> Engine {
    support::load(&Backend::cpu(), &tests().join("golden/llama/model-f32.gguf"))
}

/// The files of a directory under `tests`.
fn directory(path: &str) -> Vec<File> {
    let entries = std::fs::read_dir(tests().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        (
            path.file_name().expect("a name").to_string_lossy().into_owned(),
            std::fs::read(path).expect("a file"),
        )
    };
    entries.map(file).collect()
}

fn case(name: &str) -> Vec<File> {
    directory(&format!("cases/adapters/{name}"))
}

/// The right answer of this name.
fn right(name: &str) -> Vec<u32> {
    let text = std::fs::read(tests().join("cases/adapters/greedy.json")).expect("the right answers");
    let answers: BTreeMap<String, Vec<u32>> = serde_json::from_slice(&text).expect("JSON");
    answers[name].clone()
}

fn import(engine: &Engine, files: &[File]) -> Result<Imported> {
    engine.import_reft(files, &Unsaved::default())
}

fn answer(engine: &Engine, reft: Reft) -> Vec<u32> {
    let prompt = Prompt { tokens: IDS.to_vec(), personas: vec![Persona::new(Rc::new(reft))] };
    let options = GenerateOptions { max_tokens: 24, ..GenerateOptions::default() };
    let mut generation = engine.generate(&[prompt], &options).expect("a generation");
    let mut next = || block_on(generation.next(engine.tokenizer())).expect("tokens");
    std::iter::from_fn(&mut next).flatten().map(|piece| piece.id).collect()
}

/// Checks the answer of a directory.
fn check(engine: &Engine, what: &str, files: &[File], expected: &str) {
    let imported = import(engine, files).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer(engine, imported.reft), right(expected), "{what}");
}

fn refused<T>(what: &str, result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let error = result.err().unwrap_or_else(|| panic!("{what} is not refused"));
    assert_eq!(error.kind(), kind, "{what}: {error}");
    parts
        .iter()
        .for_each(|part| assert!(error.to_string().contains(part), "{what}: {part:?} is not in: {error}"));
}

/// A directory with some keys set in its configuration.
fn with(mut files: Vec<File>, keys: &[(&str, Value)]) -> Vec<File> {
    let file = files.iter_mut().find(|(name, _)| name.ends_with("config.json")).expect("a configuration");
    let mut config: Value = serde_json::from_slice(&file.1).expect("JSON");
    keys.iter().for_each(|(key, value)| config[*key] = value.clone());
    file.1 = config.to_string().into_bytes();
    files
}

/// Type, shape and bytes of a tensor.
type Raw = (Dtype, Vec<usize>, Vec<u8>);

fn f32s(shape: &[usize], value: impl Fn(usize) -> f32) -> Raw {
    let values = (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes());
    (Dtype::F32, shape.to_vec(), values.collect())
}

/// A directory with other tensors.
fn with_tensors(mut files: Vec<File>, change: impl FnOnce(&mut BTreeMap<String, Raw>)) -> Vec<File> {
    let file = files.iter_mut().find(|(name, _)| name == WEIGHTS).expect("its tensors");
    let read = SafeTensors::deserialize(&file.1).expect("a sound file");
    let raw = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let mut tensors = read.iter().map(|(name, view)| (name.to_owned(), raw(view))).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("the shape holds the bytes"))
    });
    file.1 = safetensors::serialize(views, None).expect("every tensor is whole");
    files
}

fn renamed(name: &str, rename: impl Fn(&str) -> String) -> Vec<File> {
    with_tensors(case(name), |tensors| {
        *tensors = std::mem::take(tensors).into_iter().map(|(name, raw)| (rename(&name), raw)).collect();
    })
}

#[test]
fn ranks_and_alphas_by_module_give_the_right_answers() {
    let engine = engine();
    check(&engine, "plain", &case("plain"), "plain");
    check(&engine, "rank_pattern", &case("rank_pattern"), "rank_pattern");
    let rslora = [("use_rslora", json!(true))];
    check(&engine, "rslora", &with(case("rank_pattern"), &rslora), "rank_pattern with rslora");
    let same = [("use_rslora", json!(true)), ("lora_alpha", json!(4))];
    check(&engine, "alpha / √r", &with(case("plain"), &same), "plain");
    let alphas = |pattern: Value| with(case("plain"), &[("alpha_pattern", pattern)]);
    for pattern in ["k_proj", "self_attn.k_proj", ".*k_proj", r"model\.layers\.\d+\.self_attn\.k_proj$"] {
        check(&engine, pattern, &alphas(json!({ pattern: 16 })), "alpha_pattern");
    }
    for pattern in
        ["layers.1.self_attn.k_proj", "^model.layers.1.self_attn.k_proj", r"model\.layers\.1\..*k_proj"]
    {
        check(&engine, pattern, &alphas(json!({ pattern: 40 })), "alpha_pattern of one module");
    }
    for pattern in ["^q_proj", "proj", "layers.1", "mlp.q_proj"] {
        let dead = [("rank_pattern", json!({ pattern: 8 })), ("alpha_pattern", json!({ pattern: 100 }))];
        check(&engine, pattern, &with(case("plain"), &dead), "plain");
    }
}

#[test]
fn doras_with_patterns_give_the_right_answer() {
    let engine = engine();
    let model = std::fs::read(tests().join("golden/llama/model/model.safetensors")).expect("the model");
    let model = SafeTensors::deserialize(&model).expect("a sound file");
    let files = with_tensors(case("rank_pattern"), |tensors| {
        let names: Vec<String> = tensors.keys().filter(|name| name.contains("lora_A")).cloned().collect();
        for name in names {
            let module = name.trim_end_matches(".lora_A.weight").trim_start_matches("base_model.model.");
            let weight = model.tensor(&format!("{module}.weight")).expect("the matrix");
            let rows: Vec<f32> = bytemuck::pod_collect_to_vec(weight.data());
            let length = |row: usize| {
                let of_row = rows.chunks_exact(weight.shape()[1]).nth(row).expect("a row");
                let square: f64 = of_row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
                (square.sqrt() * (1.0 + (row % 3) as f64 / 10.0)) as f32
            };
            let magnitude = f32s(&[weight.shape()[0]], length);
            tensors.insert(name.replace("lora_A.weight", "lora_magnitude_vector"), magnitude);
        }
    });
    let dora = with(files, &[("use_dora", json!(true))]);
    check(&engine, "dora", &dora, "rank_pattern with dora");
    let reft = import(&engine, &dora).expect("a dora").reft;
    let files = block_on(engine.export_reft(&reft, "peft")).expect("files");
    check(&engine, "dora that was exported", &files, "rank_pattern with dora");
}

#[test]
fn patterns_are_exported() {
    let engine = engine();
    for (name, keys) in [
        ("rank_pattern", vec![]),
        ("rank_pattern", vec![("use_rslora", json!(true))]),
        ("plain", vec![("alpha_pattern", json!({ "layers.1.self_attn.k_proj": 40 }))]),
    ] {
        let theirs = with(case(name), &keys);
        let reft = import(&engine, &theirs).expect("an adapter").reft;
        let files = block_on(engine.export_reft(&reft, "peft")).expect("files");
        let ours = webreft::reft::foreign::peft::read(&files).expect("what was written");
        let theirs = webreft::reft::foreign::peft::read(&theirs).expect("an adapter");
        assert_eq!(ours.pairs, theirs.pairs, "{name}");
        assert_eq!(ours.rslora, theirs.rslora, "{name}");
    }
}

#[test]
fn every_form_of_a_file_gives_the_same_answer() {
    let engine = engine();
    check(&engine, "bin", &case("bin"), "plain");
    check(&engine, "bin_legacy", &case("bin_legacy"), "plain");
    check(&engine, "default_keys", &case("default_keys"), "plain");
    let both = [case("plain"), case("bin")].concat();
    let both: Vec<File> = both.into_iter().skip_while(|(name, _)| name != CONFIG).collect();
    let config = both.iter().position(|(name, _)| name == CONFIG).expect("a configuration");
    let one: Vec<File> = both
        .iter()
        .enumerate()
        .filter(|(at, (name, _))| name != CONFIG || *at == config)
        .map(|(_, file)| file.clone())
        .collect();
    check(&engine, "both", &one, "plain");
    let zip = unpack_directory(&pack_directory(&case("bin"))).expect("an archive");
    check(&engine, "zip", &zip, "plain");
    let nested: Vec<File> =
        case("bin").into_iter().map(|(name, bytes)| (format!("a/b/{name}"), bytes)).collect();
    check(&engine, "in a folder", &unpack_directory(&pack_directory(&nested)).expect("an archive"), "plain");
    let windows: Vec<File> =
        case("bin").into_iter().map(|(name, bytes)| (format!(r"a\b\{name}"), bytes)).collect();
    check(
        &engine,
        "zipped by Windows",
        &unpack_directory(&pack_directory(&windows)).expect("an archive"),
        "plain",
    );
    type Rename = (&'static str, fn(&str) -> String);
    let renames: [Rename; 7] = [
        ("no prefix", |name| name.replace("base_model.model.", "")),
        ("of DistributedDataParallel", |name| format!("module.{name}")),
        ("of torch.compile", |name| name.replace("base_model.model.", "base_model.model._orig_mod.")),
        ("of a model without a head", |name| name.replace("model.model.model.", "model.model.")),
        ("of a model that sees", |name| name.replace("model.layers", "model.language_model.layers")),
        ("another adapter's name", |name| name.replace(".weight", ".my-adapter.weight")),
        ("no .weight", |name| name.replace(".weight", "")),
    ];
    for (what, rename) in renames {
        check(&engine, what, &renamed("plain", rename), "plain");
    }
    type Convert = fn(f32) -> [u8; 2];
    let to_bf16: Convert = |value| bf16::from_f32(value).to_le_bytes();
    let to_f16: Convert = |value| f16::from_f32(value).to_le_bytes();
    for (dtype, convert, expected) in [(Dtype::BF16, to_bf16, "bf16"), (Dtype::F16, to_f16, "f16")] {
        let files = with_tensors(case("plain"), |tensors| {
            for raw in tensors.values_mut() {
                let values: Vec<f32> = bytemuck::pod_collect_to_vec(&raw.2);
                *raw = (dtype, raw.1.clone(), values.into_iter().flat_map(convert).collect());
            }
        });
        check(&engine, expected, &files, expected);
    }
}

#[test]
fn keys_that_change_nothing_are_harmless() {
    let engine = engine();
    for (key, value) in [
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("fan_in_fan_out", json!(true)),
        ("init_lora_weights", json!(false)),
        ("init_lora_weights", json!("gaussian")),
        ("init_lora_weights", json!("eva")),
        ("init_lora_weights", json!("orthogonal")),
        ("layers_to_transform", json!([1, 3])),
        ("layers_pattern", json!("layers")),
        ("target_modules", json!("all-linear")),
        ("exclude_modules", json!(["v_proj.x", "lm_head"])),
        ("exclude_modules", json!(".*mlp.*")),
        ("modules_to_save", json!([])),
        ("alora_invocation_tokens", Value::Null),
        ("trainable_token_indices", json!([])),
        ("eva_config", json!({ "rho": 2.0, "tau": 0.99 })),
        ("loftq_config", json!({ "loftq_bits": 4 })),
        ("lora_dropout", json!(0.1)),
        ("task_type", json!("FEATURE_EXTRACTION")),
        ("auto_mapping", json!({ "base_model_class": "LlamaForCausalLM" })),
        ("a_key_of_tomorrow", Value::Null),
        ("a_key_of_tomorrow", json!(false)),
        ("a_key_of_tomorrow", json!({})),
    ] {
        check(&engine, &format!("{key} {value}"), &with(case("plain"), &[(key, value)]), "plain");
    }
}

/// What `save_pretrained` of peft 0.21.2 writes of a configuration with nothing set.
#[test]
fn the_defaults_of_the_newest_peft_load() {
    let engine = engine();
    let common = json!({
        "auto_mapping": null, "base_model_name_or_path": null, "inference_mode": true, "peft_version": "0.21.2",
        "revision": null, "task_type": "CAUSAL_LM",
    });
    let lora = json!({
        "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "bias": "none", "corda_config": null,
        "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
        "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
        "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
        "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
        "monteclora_config": null, "peft_type": "LORA", "qalora_group_size": 16, "r": 4, "rank_pattern": {},
        "target_modules": ["q_proj", "k_proj", "v_proj"], "target_parameters": null, "trainable_token_indices": null,
        "use_bdlora": null, "use_dora": false, "use_qalora": false, "use_rslora": false, "velora_config": null,
    });
    let ia3 = json!({
        "exclude_modules": null, "fan_in_fan_out": false, "feedforward_modules": ["down_proj"], "init_ia3_weights": true,
        "modules_to_save": null, "peft_type": "IA3", "target_modules": ["k_proj", "v_proj", "down_proj"],
    });
    let prompt = json!({
        "modules_to_save": null, "num_attention_heads": 4, "num_layers": 4, "num_transformer_submodules": 1,
        "num_virtual_tokens": 5, "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": null, "token_dim": 64, "tokenizer_kwargs": null, "tokenizer_name_or_path": null,
    });
    let encoder = json!({
        "encoder_dropout": 0.0, "encoder_hidden_size": 16, "encoder_num_layers": 2,
        "encoder_reparameterization_type": "MLP", "modules_to_save": null, "num_attention_heads": 4, "num_layers": 4,
        "num_transformer_submodules": 1, "num_virtual_tokens": 5, "peft_type": "P_TUNING", "token_dim": 64,
    });
    let prefix = json!({
        "encoder_hidden_size": 32, "init_weights": null, "modules_to_save": null, "num_attention_heads": 2, "num_layers": 4,
        "num_transformer_submodules": 1, "num_virtual_tokens": 5, "peft_type": "PREFIX_TUNING",
        "prefix_projection": false, "token_dim": 32,
    });
    for (files, own, kind) in [
        (case("plain"), lora, "lora"),
        (directory("traces/peft_save/ia3"), ia3, "ia3"),
        (directory("traces/peft_save/prompt_tuning"), prompt, "prompt_tuning"),
        (directory("traces/peft_save/p_tuning"), encoder, "prompt_tuning"),
        (directory("traces/peft_save/prefix_tuning"), prefix, "prefix_tuning"),
    ] {
        let before = import(&engine, &files).expect("an adapter").reft;
        let mut config = common.clone();
        own.as_object().expect("keys").iter().for_each(|(key, value)| config[key] = value.clone());
        let mut files = files;
        files.iter_mut().find(|(name, _)| name == CONFIG).expect("it is there").1 =
            config.to_string().into_bytes();
        let reft = import(&engine, &files).unwrap_or_else(|error| panic!("{kind}: {error}")).reft;
        assert_eq!(reft.configs[0].kind, kind);
        assert_eq!(reft.configs, before.configs, "{kind}");
        assert_eq!(answer(&engine, reft), answer(&engine, before), "{kind}");
    }
}

#[test]
fn keys_that_change_the_computation_are_refused_by_name() {
    let engine = engine();
    let merge = "merge_and_unload";
    for (key, value, parts) in [
        ("init_lora_weights", json!("pissa"), ["\"pissa\"", "path_initial_model_for_weight_conversion"]),
        ("init_lora_weights", json!("pissa_niter_16"), ["\"pissa_niter_16\"", "base model's weights"]),
        ("init_lora_weights", json!("olora"), ["\"olora\"", "base model's weights"]),
        ("init_lora_weights", json!("corda"), ["\"corda\"", "base model's weights"]),
        ("init_lora_weights", json!("loftq"), ["\"loftq\"", "base model's weights"]),
        ("init_lora_weights", json!("lora_ga"), ["\"lora_ga\"", "base model's weights"]),
        (
            "init_lora_weights",
            json!("of tomorrow"),
            ["\"of tomorrow\"", "expected true, false, \"gaussian\""],
        ),
        ("alora_invocation_tokens", json!([1, 305]), ["[1,305]", "only from these tokens on"]),
        ("trainable_token_indices", json!([7]), ["[7]", "rows of the embedding"]),
        ("trainable_token_indices", json!({ "embed_tokens": [7] }), ["embed_tokens", merge]),
        ("target_parameters", json!(["mlp.experts.gate_up_proj"]), ["gate_up_proj", merge]),
        ("layer_replication", json!([[0, 4], [2, 4]]), ["[[0,4],[2,4]]", "run several times"]),
        ("megatron_config", json!({ "tensor_model_parallel_size": 2 }), ["Megatron", merge]),
        ("lora_bias", json!(true), ["lora_B has a bias", merge]),
        ("use_qalora", json!(true), ["pooled", merge]),
        ("use_bdlora", json!({ "nblocks": 2 }), ["block-diagonal", merge]),
        ("arrow_config", json!({ "top_k": 3 }), ["router", merge]),
        ("monteclora_config", json!({ "num_samples": 8 }), ["sampled", merge]),
        ("kasa_config", json!({ "beta": 1e-4 }), ["base model's weights", merge]),
        ("velora_config", json!({ "scale": 1.0 }), ["tensors of its own", merge]),
        ("enable_lora", json!([true, false, true]), ["fused matrix", merge]),
        ("modules_to_save", json!(["lm_head"]), ["[\"lm_head\"]", "expected \"score\""]),
        ("modules_to_save", json!(["embed_tokens", "score"]), ["embed_tokens", "expected \"score\""]),
        ("a_key_of_tomorrow", json!("on"), ["does not know this key", "set it to null"]),
        ("use_dora", json!(7), ["7", "false or true"]),
        ("use_rslora", json!("yes"), ["\"yes\"", "false or true"]),
        ("peft_type", json!("ADALORA"), ["ADALORA", "expected LORA, IA3"]),
    ] {
        let files = with(case("plain"), &[(key, value.clone())]);
        let what = format!("{key} {value}");
        let parts = [&[CONFIG, key], &parts[..]].concat();
        refused(&what, import(&engine, &files), ErrorKind::Unsupported, &parts);
    }
    let two = [("use_qalora", json!(true)), ("lora_bias", json!(true))];
    let parts = ["use_qalora true", "lora_bias true"];
    refused("two keys", import(&engine, &with(case("plain"), &two)), ErrorKind::Unsupported, &parts);
    for (key, value, part) in [
        ("r", json!(0), "expected a count"),
        ("r", Value::Null, "expected a count"),
        ("lora_alpha", json!("8"), "expected a number"),
        ("rank_pattern", json!({ "k_proj": 0 }), "expected a count"),
        (
            "rank_pattern",
            json!({ "k_proj": 8 }),
            "expected [8, in], the rank of r or rank_pattern, got [4, 64]",
        ),
        ("rank_pattern", json!([8]), "a dict of patterns"),
        ("alpha_pattern", json!({ "k_proj": "much" }), "expected a number"),
        ("layers_to_transform", json!([1]), "layers_to_transform [1] leaves layer 3 out"),
        ("exclude_modules", json!(["k_proj"]), "exclude_modules [\"k_proj\"] excludes it"),
        ("modules_to_save", json!(["classifier", "score"]), "score.weight is missing"),
    ] {
        let files = with(case("plain"), &[(key, value.clone())]);
        refused(&format!("{key} {value}"), import(&engine, &files), ErrorKind::File, &[part]);
    }
    for (key, value, part) in [
        ("alpha_pattern", json!({ "k_proj": 0 }), "alpha 0"),
        ("rank_pattern", json!({ "(?=k)k_proj": 4 }), "rank_pattern: pattern"),
    ] {
        let files = with(case("plain"), &[(key, value.clone())]);
        refused(&format!("{key} {value}"), import(&engine, &files), ErrorKind::Unsupported, &[part]);
    }
}

#[test]
fn keys_of_other_kinds_are_refused_by_name() {
    let engine = engine();
    let head = json!(["lm_head"]);
    for (name, key, value, part) in [
        ("ia3", "modules_to_save", head.clone(), "expected \"score\""),
        ("ia3", "use_dora", json!(true), "does not know this key"),
        ("prompt_tuning", "modules_to_save", head.clone(), "expected \"score\""),
        ("prompt_tuning", "a_key_of_tomorrow", json!(1), "does not know this key"),
        ("p_tuning", "num_transformer_submodules", json!(2), "expected 1"),
        ("prefix_tuning", "modules_to_save", head, "expected \"score\""),
    ] {
        let files = with(directory(&format!("traces/peft_save/{name}")), &[(key, value)]);
        refused(name, import(&engine, &files), ErrorKind::Unsupported, &[CONFIG, key, part]);
    }
    let files = with(directory("traces/peft_save/ia3"), &[("exclude_modules", json!(["k_proj"]))]);
    refused("ia3", import(&engine, &files), ErrorKind::File, &["excludes it"]);
}

#[test]
fn tensors_that_are_not_loaded_are_refused_by_name() {
    let engine = engine();
    let head = "trained embeddings and output matrices";
    let bias = "trained biases";
    let other = "not one that webreft reads";
    for (name, shape, parts) in [
        ("base_model.model.lm_head.weight", &[320, 64][..], [head, "merge"]),
        ("base_model.model.lm_head.modules_to_save.default.weight", &[320, 64], [head, "merge"]),
        ("base_model.model.lm_head.base_layer.weight", &[320, 64], [head, "merge"]),
        ("base_model.model.model.embed_tokens.weight", &[320, 64], [head, "new tokens"]),
        ("base_model.model.model.embed_tokens.lora_embedding_A", &[4, 320], [head, "merge"]),
        ("base_model.model.model.embed_tokens.trainable_tokens_delta", &[1, 64], [head, "merge"]),
        ("base_model.model.lm_head.lora_A.weight", &[4, 64], [head, "merge"]),
        ("base_model.model.model.layers.1.self_attn.q_proj.bias", &[64], [bias, "bias \"none\""]),
        ("base_model.model.model.layers.1.self_attn.q_proj.base_layer.bias", &[64], [bias, "merge"]),
        ("base_model.model.model.layers.1.self_attn.q_proj.lora_B.bias", &[64], [bias, "lora_bias"]),
        ("base_model.model.model.layers.1.input_layernorm.weight", &[64], [other, "expected"]),
        (
            "base_model.model.model.layers.1.self_attn.qkv_proj.lora_A.weight",
            &[4, 64],
            [other, "<projection>"],
        ),
        ("base_model.model.model.layers.1.mlp.q_proj.lora_A.weight", &[4, 64], [other, "lora_A"]),
        (
            "base_model.model.vision_tower.layers.1.self_attn.q_proj.lora_A.weight",
            &[4, 64],
            [other, "expected"],
        ),
        ("base_model.model.classifier.weight", &[2, 64], [other, "score.weight"]),
        ("base_model.model.score.lora_A.weight", &[4, 64], [other, "score.weight"]),
        (
            "base_model.model.model.layers.3.self_attn.q_proj.lora_A.second.weight",
            &[4, 64],
            ["belongs to another adapter", "expected the tensors of one"],
        ),
    ] {
        let files = with_tensors(case("plain"), |tensors| {
            tensors.insert(name.to_owned(), f32s(shape, |_| 0.5));
        });
        refused(name, import(&engine, &files), ErrorKind::Unsupported, &[parts[0], parts[1], name]);
    }
    let lost = with_tensors(case("plain"), |tensors| {
        tensors.remove(&format!("{ROOT}.1.self_attn.q_proj.lora_B.weight"));
    });
    refused(
        "half a pair",
        import(&engine, &lost),
        ErrorKind::File,
        &["layer 1 q_proj", "both lora_A and lora_B"],
    );
    let none = with_tensors(case("plain"), BTreeMap::clear);
    refused("no pair", import(&engine, &none), ErrorKind::File, &["got none"]);
    let weights: Vec<File> = case("bin").into_iter().filter(|(name, _)| name != CONFIG).collect();
    refused(
        "no configuration",
        import(&engine, &weights),
        ErrorKind::File,
        &["adapter_config.json is missing"],
    );
    let whole: Vec<File> = case("plain").into_iter().filter(|(name, _)| name == CONFIG).collect();
    let parts = ["adapter_model.safetensors is missing", "adapter_model.bin"];
    refused("no tensors", import(&engine, &whole), ErrorKind::File, &parts);
}

#[test]
fn saved_heads_are_heads() {
    let engine = engine();
    let classifier = [("modules_to_save", json!(["classifier", "score"])), ("task_type", json!("SEQ_CLS"))];
    let weight = |i: usize| (i as f32).sin();
    for (directory, adapter) in [
        (case("plain"), "base_model.model.score"),
        (self::directory("traces/peft_save/ia3"), "base_model.model.score"),
        (self::directory("traces/peft_save/prompt_tuning"), "base_model.score"),
    ] {
        for end in ["weight", "modules_to_save.weight", "modules_to_save.default.weight"] {
            let files = with_tensors(with(directory.clone(), &classifier), |tensors| {
                tensors.insert(format!("{adapter}.{end}"), f32s(&[3, 64], weight));
                tensors.insert(format!("{adapter}.original_module.weight"), f32s(&[3, 64], |_| 9.0));
            });
            let imported = import(&engine, &files).unwrap_or_else(|error| panic!("{end}: {error}"));
            assert_eq!(imported.left_out, [""; 0]);
            let head = imported.reft.head.expect("a head");
            assert_eq!(
                (head.config.outputs, head.config.pooling, head.config.bias),
                (3, Pooling::Last, false)
            );
            let numbers = block_on(imported.reft.head_values()).expect("the numbers").expect("a head");
            assert_eq!(numbers.weight, (0..192).map(weight).collect::<Vec<f32>>());
        }
    }
    let score = |task: &str, shape: &[usize]| {
        let keys = [("modules_to_save", json!(["score"])), ("task_type", json!(task))];
        with_tensors(with(case("plain"), &keys), |tensors| {
            tensors.insert("base_model.model.score.weight".to_owned(), f32s(shape, weight));
        })
    };
    let parts = ["score.weight", "TOKEN_CLS", "expected \"SEQ_CLS\""];
    refused("of tokens", import(&engine, &score("TOKEN_CLS", &[3, 64])), ErrorKind::Unsupported, &parts);
    refused("a vector", import(&engine, &score("SEQ_CLS", &[64])), ErrorKind::File, &["[classes, width]"]);
    refused("too narrow", import(&engine, &score("SEQ_CLS", &[3, 32])), ErrorKind::Input, &["head"]);
}

/// The answers of interventions at the last token of the prompt, as pyreft gives them.
const PYREFT: [u32; 24] = [
    57, 228, 82, 55, 314, 47, 207, 5, 204, 120, 313, 280, 227, 317, 260, 227, 317, 260, 280, 298, 228, 128,
    280, 296,
];

#[test]
fn directories_of_every_pyreft_give_the_right_answer() {
    let engine = engine();
    for name in ["py_plain", "py_oldnames", "py_oldpath", "py_pr179"] {
        let reft = import(&engine, &case(name)).unwrap_or_else(|error| panic!("{name}: {error}")).reft;
        assert_eq!(answer(&engine, reft), PYREFT, "{name}");
        // As a trainer leaves it.
        let files: Vec<File> = case(name).into_iter().filter(|(name, _)| name != "config.json").collect();
        let reft = import(&engine, &files).unwrap_or_else(|error| panic!("{name}: {error}")).reft;
        assert_eq!(answer(&engine, reft), PYREFT, "{name} without a configuration");
    }
    let names = ["py_plain", "py_oldnames"].map(case).concat();
    let names: Vec<File> = names.into_iter().filter(|(name, _)| name != "config.json").collect();
    let twice = [case("py_plain"), names].concat();
    refused("twice", import(&engine, &twice), ErrorKind::Input, &["expected one file for an intervention"]);
}

#[test]
fn trained_tensors_of_the_base_model_are_left_out_with_a_warning() {
    let engine = engine();
    let mut files = case("py_plain");
    let tensors = files.iter().find(|(name, _)| name.ends_with(".bin")).expect("a file of torch's").1.clone();
    files.push(("pytorch_model.bin".to_owned(), tensors));
    let imported = import(&engine, &files).expect("an intervention");
    assert_eq!(imported.left_out, ["bias", "rotate_layer", "weight"]);
    let warning = imported.reft.warnings.join(" ");
    assert!(warning.contains("3 trained tensors") && warning.contains("\"bias\""), "{warning}");
    assert!(import(&engine, &case("py_plain")).expect("an intervention").reft.warnings.is_empty());
}

#[test]
fn three_interventions_at_one_place_are_read_in_their_order() {
    let engine = engine();
    let unsaved = Unsaved { positions: Some("5:12+5:12+5:12".to_owned()), ..Unsaved::default() };
    let reft = engine.import_reft(&case("py_three_diff"), &unsaved).expect("three interventions").reft;
    let params = block_on(reft.values()).expect("the parameters");
    assert_eq!(params.len(), 3);
    for (number, params) in params.iter().enumerate() {
        let mut alone = case("py_three_diff");
        let key = |number: usize| format!("intkey_layer_1_comp_block_output_unit_pos_nunit_1#{number}.bin");
        alone.retain(|(name, _)| *name == key(number));
        alone[0].0 = key(0);
        let alone = import(&engine, &alone).expect("an intervention").reft;
        assert_eq!(&block_on(alone.values()).expect("the parameters")[0].weight, &params.weight, "{number}");
    }
}

#[test]
fn keys_of_pyreft_that_change_the_computation_are_refused_by_name() {
    let engine = engine();
    let field = |number: usize, value: Value| {
        let mut place =
            json!([1, "block_output", "pos", 1, 4, null, null, null, null, null, null, null, null, null]);
        if number == 14 {
            place.as_array_mut().expect("a list").push(value);
        } else {
            place[number] = value;
        }
        ("representations", json!([place]))
    };
    for (change, part) in [
        (("mode", json!("serial")), "mode \"serial\": expected \"parallel\""),
        (("a_key_of_tomorrow", json!(2)), "a_key_of_tomorrow 2: webreft does not know this key"),
        (field(2, json!("h.pos")), "unit \"h.pos\": expected \"pos\""),
        (field(6, json!("x")), "intervention \"x\""),
        (field(7, json!([[0, 2], [2, 4]])), "subspace_partition [[0,2],[2,4]]"),
        (field(9, json!(1)), "intervention_link_key 1"),
        (field(10, json!(1)), "moe_key 1"),
        (field(12, json!(true)), "hidden_source_representation true"),
        (field(14, json!(true)), "field 14 true: webreft does not know this key"),
    ] {
        let files = with(case("py_plain"), &[change]);
        refused(part, import(&engine, &files), ErrorKind::Unsupported, &["config.json", part]);
    }
    for change in [
        ("sorted_keys", json!(["anything"])),
        ("intervention_dimensions", json!([null])),
        ("model_type", json!("<class 'LlamaForCausalLM'>")),
        ("torch_dtype", json!("bfloat16")),
        field(4, Value::Null),
        field(8, json!(0)),
        field(13, json!(7)),
        (
            "representations",
            json!([[1, "block_output", "pos", 1, 4, null, null, null, null, null, null, null, null]]),
        ),
    ] {
        let files = with(case("py_plain"), &[change]);
        assert_eq!(answer(&engine, import(&engine, &files).expect("harmless").reft), PYREFT);
    }
}

#[test]
fn a_rotation_that_is_not_the_one_beside_it_is_refused() {
    let engine = engine();
    let mut files = case("py_pr179");
    let plain = case("py_three_diff").into_iter().find(|(name, _)| name.ends_with("#1.bin")).expect("a file");
    let file = files.iter_mut().find(|(name, _)| name.ends_with(".bin")).expect("a file");
    // The numbers of another rotation in place of those of the third storage.
    let storage = |bytes: &[u8]| {
        let entries = unpack_directory(bytes).expect("torch's archive");
        entries.into_iter().find(|(name, _)| name.ends_with("data/2")).expect("a rotation").1
    };
    let [own, other] = [storage(&file.1), storage(&plain.1)];
    assert_ne!(own, other);
    let entries: Vec<File> = unpack_directory(&file.1)
        .expect("torch's archive")
        .into_iter()
        .map(|(name, bytes)| if name.ends_with("data/2") { (name, other.clone()) } else { (name, bytes) })
        .collect();
    file.1 = pack_directory(&entries);
    let parts = ["rotate_layer", "rotate_layer_original and rotate_layer_base make"];
    refused("another rotation", import(&engine, &files), ErrorKind::File, &parts);
}
