//! Inputs to begin with: sound ones, so that little has to be guessed.

use std::path::Path;

use pollster::block_on;
use webreft::engine::Engine;
use webreft::quant::Format;
use webreft::reft::ReftConfig;
use webreft::reft::foreign;

use crate::file::{ARRAY, File, STRING, array, array_head};

/// The smallest model that answers.
pub(crate) fn tiny() -> Engine {
    let bytes = File::tiny().bytes();
    crate::load(&bytes).expect("a sound file")
}

/// The tiny model's header alone, a file with a value of every type, and one of every number of dimensions.
pub(crate) fn headers() -> Vec<Vec<u8>> {
    let mut types = empty();
    for kind in 0..=12 {
        let value = match kind {
            STRING => crate::file::string("a"),
            ARRAY => array(ARRAY, &[array(STRING, &[crate::file::string("a")]), array_head(0, 0)]),
            _ => vec![0; 8][..[1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind as usize]].to_vec(),
        };
        types.set(&format!("k{kind}"), kind, value);
    }
    let mut shapes = empty();
    for n_dims in 1..=4 {
        shapes.push(&format!("t{n_dims}"), &vec![1; n_dims], 0, vec![0; 4]);
    }
    vec![vocabulary(&File::tiny()).bytes(), types.bytes(), shapes.bytes()]
}

fn empty() -> File {
    File { entries: Vec::new(), tensors: Vec::new(), n_entries: None, n_tensors: None }
}

fn vocabulary(file: &File) -> File {
    File { tensors: Vec::new(), ..file.clone() }
}

/// A vocabulary with scores, and one with joins.
pub(crate) fn vocabularies() -> Vec<Vec<u8>> {
    let spm = vocabulary(&File::tiny());
    let mut bpe = spm.clone();
    bpe.set_str("tokenizer.ggml.model", "gpt2");
    bpe.remove("tokenizer.ggml.scores");
    bpe.set_strs("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "Ġ", "a", "b", "ab", "Ġa"]);
    bpe.set_strs("tokenizer.ggml.merges", &["a b", "Ġ a"]);
    let pre = ["default", "gpt-2", "llama-bpe", "qwen2"].map(|pre| {
        let mut bpe = bpe.clone();
        bpe.set_str("tokenizer.ggml.pre", pre);
        bpe.bytes()
    });
    [spm.bytes()].into_iter().chain(pre).collect()
}

/// That of the golden model.
pub(crate) const TOKENIZER_FILE: &[u8] = include_bytes!("../../tests/tokenizers/tokenizer.json");

/// One with characters, and one with letters for bytes.
pub(crate) fn tokenizer_files() -> Vec<Vec<u8>> {
    let letters = r#"{"added_tokens":[{"id":4,"content":"<s>","special":true,"rstrip":true}],"normalizer":{"type":"NFC"},
        "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
        {"type":"Split","pattern":{"Regex":"\\s?\\p{L}+|\\p{N}{1,3}"},"behavior":"Isolated"},{"type":"ByteLevel","add_prefix_space":false}]},
        "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}]},
        "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"Ġ":3},"merges":[["a","b"]],"ignore_merges":true}}"#;
    vec![TOKENIZER_FILE.to_vec(), letters.as_bytes().to_vec()]
}

/// Files beside the repository's weights, a zero between each.
pub(crate) fn beside() -> Vec<u8> {
    let layer = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "input_layernorm",
        "post_attention_layernorm",
    ];
    let layer = layer.map(|name| format!("model.layers.0.{name}.weight"));
    let others = ["model.embed_tokens.weight", "model.norm.weight"].map(str::to_owned);
    let names = layer.into_iter().chain(others).map(|name| format!(r#""{name}":"model.safetensors""#));
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, names.collect::<Vec<_>>().join(","));
    let config = r#"{"added_tokens_decoder":{"319":{"content":"0","lstrip":true,"rstrip":true,"single_word":true,
        "normalized":true,"special":true}},"eos_token":"</s>"}"#;
    let files = [index.as_str(), config, r#"{"'":318}"#, r#"{"eos_token_id":[2,3]}"#];
    files.join("\0").into_bytes()
}

/// A llama of one layer: `config.json`, a zero, `model.safetensors`.
pub(crate) fn repository() -> Vec<u8> {
    let config = r#"{"model_type":"llama","hidden_size":32,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
        "intermediate_size":32,"max_position_embeddings":64,"rms_norm_eps":1e-5,"rope_theta":10000.0,"vocab_size":320,"tie_word_embeddings":true}"#;
    let layer = [
        ("self_attn.q_proj", 32),
        ("self_attn.k_proj", 16),
        ("self_attn.v_proj", 16),
        ("self_attn.o_proj", 32),
        ("mlp.gate_proj", 32),
        ("mlp.up_proj", 32),
        ("mlp.down_proj", 32),
        ("input_layernorm", 0),
        ("post_attention_layernorm", 0),
    ];
    let layer = layer.map(|(name, rows)| (format!("model.layers.0.{name}.weight"), rows));
    let others = [("model.embed_tokens.weight", 320), ("model.norm.weight", 0)];
    let (mut header, mut at) = (Vec::new(), 0);
    for (name, rows) in layer.into_iter().chain(others.map(|(name, rows)| (name.to_owned(), rows))) {
        let shape = if rows == 0 { "[32]".to_owned() } else { format!("[{rows},32]") };
        let end = at + 4 * 32 * rows.max(1);
        header.push(format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{at},{end}]}}"#));
        at = end;
    }
    let header = format!("{{{}}}", header.join(","));
    let values = 0.5f32.to_le_bytes().repeat(at / 4);
    [config.as_bytes(), &[0], &(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()
}

/// Templates of real models, and a short one.
pub(crate) fn templates() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/llamacpp/data/templates");
    let entries = std::fs::read_dir(&folder).expect("the repository's templates");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let jinja = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jinja"));
    let short = b"{% for m in messages %}{{ m['content'] | trim }}{% endfor %}".to_vec();
    jinja.map(|path| std::fs::read(path).expect("a template")).chain([short]).collect()
}

/// Blocks of zeros, of ones, and of all bytes under scales as they usually are.
pub(crate) fn blocks(format: &Format) -> Vec<Vec<u8>> {
    let len = 4 * format.block_bytes;
    let mut usual: Vec<u8> = (0..len).map(|i| (167 * i) as u8).collect();
    format.tame(&mut usual, 1.0);
    vec![vec![0; len], vec![0xff; len], usual]
}

fn exported() -> Vec<foreign::File> {
    let engine = tiny();
    let config = ReftConfig { rank: 2, ..Default::default() };
    let reft = engine.reft(&[config]).expect("a configuration");
    block_on(engine.export_reft(&reft, "pyreft")).expect("pyreft has the kind")
}

/// The pickles of an intervention that pyreft could have written.
pub(crate) fn pickles() -> Vec<Vec<u8>> {
    let files = exported().into_iter().filter(|(name, _)| name.ends_with(".bin"));
    let entries = files.flat_map(|(_, bytes)| foreign::unpack_directory(&bytes).expect("torch's archive"));
    entries.filter(|(name, _)| name.ends_with("data.pkl")).map(|(_, bytes)| bytes).collect()
}

/// A file of torch's around a pickle: four storages of numbers.
pub(crate) fn torch_file(pickle: &[u8]) -> Vec<u8> {
    let file = |name: &str, bytes: &[u8]| (format!("archive/{name}"), bytes.to_vec());
    let numbers: Vec<u8> = (0..64u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let mut files = vec![file("data.pkl", pickle), file("byteorder", b"little")];
    files.extend((0..4).map(|number| file(&format!("data/{number}"), &numbers)));
    foreign::pack_directory(&files)
}

/// A file of torch's, and a directory.
pub(crate) fn archives() -> Vec<Vec<u8>> {
    let files = exported();
    let torch = files.iter().filter(|(name, _)| name.ends_with(".bin")).map(|(_, bytes)| bytes.clone());
    torch.chain([foreign::pack_directory(&files)]).collect()
}

/// Each container and each form of training examples.
pub(crate) fn examples() -> Vec<Vec<u8>> {
    let alpaca = r#"{"instruction": "a", "input": "", "output": "b"}"#;
    let texts = [
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"completion\": \"b\"}\n",
        &format!("[{alpaca}, {alpaca}]"),
        "prompt,completion\n\"a, b\",c\n",
        "text\tlabel\na\t0\nb\t1\n",
        r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": [{"type": "text", "text": "b"}]}]}"#,
        r#"{"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]}"#,
        r#"{"text": "a", "labels": ["x", "y"]}"#,
        r#"{"text": "a", "values": [0.5, -1]}"#,
        "{\n\"base\": \"a\",\n\"source\": \"b\",\n\"expected\": \"c\"\n}\n",
    ];
    let utf16 = "\u{feff}prompt;completion\na;b\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    texts.iter().map(|text| text.as_bytes().to_vec()).chain([utf16]).collect()
}

/// A saved intervention.
pub(crate) fn interventions() -> Vec<u8> {
    let engine = tiny();
    let reft = engine.reft(&[ReftConfig { rank: 2, ..Default::default() }]).expect("a configuration");
    block_on(reft.save(engine.model())).expect("a file")
}

/// Adapters of peft and pyreft, those of the tests: configuration, zero, tensors.
pub(crate) fn adapters() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/adapters");
    let seed = |config: &str, weights: &str| {
        let [config, weights] = [config, weights].map(|name| std::fs::read(folder.join(name)).expect(name));
        [config, vec![0], weights].concat()
    };
    vec![
        seed("rank_pattern/adapter_config.json", "rank_pattern/adapter_model.safetensors"),
        seed("bin/adapter_config.json", "bin/adapter_model.bin"),
        seed("bin_legacy/adapter_config.json", "bin_legacy/adapter_model.bin"),
        seed("py_pr179/config.json", "py_pr179/intkey_layer_1_comp_block_output_unit_pos_nunit_1#0.bin"),
    ]
}
