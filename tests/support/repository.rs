//! llama.cpp's references, written as repositories of Transformers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pollster::block_on;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use webreft::backend::Backend;
use webreft::bytes::FileSource;
use webreft::files::ModelFiles;
use webreft::model::{LoadOptions, Model};
use webreft::quant::{format_of, quantizer};

pub(crate) type Files = Vec<(String, Vec<u8>)>;

pub(crate) fn reference(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/llamacpp/data/archs").join(name)
}

/// What a case's configuration says beside its dims.
pub(crate) fn configuration(case: &str) -> Value {
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
pub(crate) fn repository(case: &str) -> Files {
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

pub(crate) fn load(files: Files, quantize: Option<&str>) -> webreft::Result<Model> {
    let quantize = quantize.map(quantizer).transpose()?;
    let options = LoadOptions { n_ctx: Some(512), quantize };
    block_on(async {
        let files = ModelFiles::open(files).await?;
        Model::load(&Backend::cpu(), &files.header, &files.sources, &options, &mut |_| ()).await
    })
}

pub(crate) fn change(files: &mut Files, change: impl Fn(&mut Value)) {
    let mut config = serde_json::from_slice(&files[0].1).unwrap();
    change(&mut config);
    files[0].1 = config.to_string().into_bytes();
}

/// A tokenizer of characters, with a token for each byte.
pub(crate) fn tokenizer(files: &mut Files) {
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
