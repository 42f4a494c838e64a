//! What is known against other readers of GGUF, a case each.
//!
//! Left out are advisories that are not about a model's file: Ollama's CVE-2024-39719, -39721 and -39722 (paths on a server),
//! CVE-2024-12886 (a packed answer of a registry), and llama.cpp's CVE-2026-21869 (a server's parameter).

use webreft::ErrorKind;
use webreft::engine::Input;

use super::file::{ARRAY, F32, File, STRING, U32, array, array_head, string};
use super::{Alone, alone};

const TENSOR: &str = "blk.0.ffn_up.weight";

/// The tiny file with a change must be damaged, and its error say all of `parts`.
fn damaged(change: impl FnOnce(&mut File), parts: &[&str]) {
    let alone = alone();
    let mut file = File::tiny();
    change(&mut file);
    alone.refuses(&file.bytes(), ErrorKind::File, parts);
}

/// ggml: more dimensions of a tensor than the four there is room for were written over the heap.
#[test]
fn cve_2024_21802_dimensions() {
    damaged(|file| file.tensor(TENSOR).ne = vec![1; 4096], &[TENSOR, "4096 dimensions"]);
}

/// ggml: the bytes of an array of strings overflowed, and the strings were written beyond it.
#[test]
fn cve_2024_21825_array_of_strings() {
    for len in [u64::MAX / 16 + 1, 1 << 60, u64::MAX / 8 + 2] {
        damaged(|file| file.set("k", ARRAY, array_head(STRING, len)), &["\"k\"", "array of", "cut off"]);
    }
}

/// ggml: the bytes of the table of tensors overflowed.
#[test]
fn cve_2024_21836_n_tensors() {
    for n in [u64::MAX / 88 + 1, 1 << 61, u64::MAX] {
        damaged(|file| file.n_tensors = Some(n), &["tensors", "cut off"]);
    }
}

/// ggml: a string of 2⁶⁴ − 1 bytes took a buffer of none, one being added for its end.
#[test]
fn cve_2024_23496_string() {
    for len in [u64::MAX, u64::MAX - 1] {
        damaged(|file| file.set("k", STRING, len.to_le_bytes().to_vec()), &["\"k\"", "cut off"]);
    }
}

/// ggml: the bytes of the table of keys overflowed.
#[test]
fn cve_2024_23605_n_kv() {
    for n in [u64::MAX / 48 + 1, 1 << 60, u64::MAX] {
        damaged(|file| file.n_entries = Some(n), &["metadata keys", "cut off"]);
    }
}

/// llama.cpp: a key that could not be read left others that were never set, which were freed.
#[test]
fn cve_2024_32878_keys_after_a_bad_one() {
    let bad = |file: &mut File| {
        file.entries.insert(1, (b"bad".to_vec(), ARRAY, array_head(99, 1)));
        file.entries.truncate(2);
        file.n_entries = Some(20);
    };
    damaged(bad, &["\"bad\"", "value type 99"]);
}

/// llama-cpp-python: the chat template ran with all of Python behind it.
#[test]
fn cve_2024_34359_template() {
    let alone = alone();
    for source in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
        "{{ self.__init__.__globals__.__builtins__.__import__('os').system('id') }}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as p %}",
    ] {
        let mut file = File::tiny();
        file.set_str("tokenizer.chat_template", source);
        let engine = alone.load(&file.bytes()).expect("its words are sound");
        let error = engine.prompt(&Input::Text("a".to_owned()), vec![]).err().expect(source);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{source}: {error}");
    }
}

/// Ollama: a file of the four bytes `GGUF` ended the server.
#[test]
fn cve_2024_39720_four_bytes() {
    alone().refuses(&b"GGUF".to_vec(), ErrorKind::File, &["cut off"]);
}

/// Ollama: a block count of another type was taken for zero and divided by.
#[test]
fn cve_2024_8063_block_count() {
    let key = "llama.block_count";
    damaged(|file| file.set_str(key, "1"), &[key, "expected u32"]);
    damaged(|file| file.set(key, F32, 1f32.to_le_bytes().to_vec()), &[key, "expected u32"]);
    damaged(|file| file.set(key, ARRAY, array_head(U32, 0)), &[key, "expected u32"]);
    damaged(|file| file.set_u32(key, 0), &["zero"]);
}

/// Ollama: an array was read beyond what the file holds.
#[test]
fn cve_2024_12055_read_beyond_the_end() {
    let key = "tokenizer.ggml.tokens";
    damaged(|file| file.set(key, ARRAY, [array_head(STRING, 9), string("a")].concat()), &[]);
    damaged(|file| file.set(key, ARRAY, array(STRING, &[])), &[]);
}

/// Ollama: what a file did not have was used as if it had it.
#[test]
fn cve_2025_0312_what_is_missing() {
    for name in File::tiny().tensors.iter().map(|tensor| &tensor.name) {
        damaged(|file| file.tensors.retain(|tensor| tensor.name != *name), &[name, "is missing"]);
    }
    let optional = [
        "general.name",
        "llama.attention.head_count_kv",
        "llama.rope.dimension_count",
        "llama.rope.freq_base",
        "tokenizer.ggml.token_type",
        "tokenizer.chat_template",
    ];
    let alone = alone();
    for key in File::tiny().entries.iter().map(|entry| String::from_utf8_lossy(&entry.0)) {
        let mut file = File::tiny();
        file.remove(&key);
        let loaded = alone.load(&file.bytes());
        assert_eq!(
            loaded.is_ok() || key == "llama.attention.head_count_kv",
            optional.contains(&&*key),
            "{key}"
        );
    }
}

/// Ollama: a small file could ask for any memory.
#[test]
fn cve_2025_0315_memory() {
    many_empty_things(&alone());
}

/// Ollama, issue 17042: the same again, by counts of keys and of arrays' items.
#[test]
fn ollama_17042_memory() {
    damaged(|file| file.set("k", ARRAY, array_head(0, 1 << 34)), &["\"k\"", "cut off"]);
    damaged(|file| file.n_entries = Some(1 << 34), &["metadata keys", "cut off"]);
}

/// Things that cost the file next to nothing, as many as a file of a megabyte holds.
fn many_empty_things(alone: &Alone) {
    let mut strings = File::tiny();
    strings.set("k", ARRAY, array(STRING, &vec![string(""); 1 << 17]));
    alone.load(&strings.bytes()).expect("an array that nobody asks for");
    let mut arrays = File::tiny();
    arrays.set("k", ARRAY, array(ARRAY, &vec![array_head(0, 0); 1 << 16]));
    alone.load(&arrays.bytes()).expect("an array that nobody asks for");
    let mut keys = File::tiny();
    keys.entries.extend((0..1u32 << 16).map(|n| (n.to_le_bytes().map(|b| b & 0x7f).to_vec(), 0, vec![0])));
    assert_eq!(alone.error(&keys.bytes()).kind(), ErrorKind::File, "some keys stand twice");
    let mut tokens = File::tiny();
    tokens.set_strs("tokenizer.ggml.tokens", &vec![""; 1 << 16]);
    assert_eq!(alone.error(&tokens.bytes()).kind(), ErrorKind::File, "scores are missing");
    let mut tensors = File::tiny();
    for n in 0..1 << 14 {
        tensors.push(&format!("{n}"), &[1], 24, vec![]);
    }
    assert_eq!(alone.error(&tensors.bytes()).kind(), ErrorKind::File, "they overlap");
}

/// Ollama: an alignment of zero was divided by.
#[test]
fn cve_2025_0317_alignment() {
    damaged(|file| file.set_u32("general.alignment", 0), &["general.alignment", "power of two, got 0"]);
}

/// llama.cpp: the length of a token's text was cut to 32 bits before it was held against the buffer it was copied to.
#[test]
fn cve_2025_49847_length_of_a_token() {
    for len in [1 << 31, (1 << 32) + 1, u64::MAX] {
        let tokens = array(STRING, &[len.to_le_bytes().to_vec()]);
        damaged(|file| file.set("tokenizer.ggml.tokens", ARRAY, tokens), &["cut off"]);
    }
    let alone = alone();
    let mut file = File::tiny();
    let long = "x".repeat(1 << 20);
    file.set_strs("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", &long]);
    let engine = alone.load(&file.bytes()).expect("a long token");
    assert_eq!(engine.tokenizer().decode(&[7], true).len(), long.len());
}

/// llama.cpp: the number of a text's tokens was cut to 32 bits before it was held against the room for them.
#[test]
fn cve_2025_52566_number_of_tokens() {
    let alone = alone();
    let engine = alone.load(&File::tiny().bytes()).expect("a sound file");
    let text = "b".repeat(1 << 20);
    let tokens = engine.tokenizer().encode(&text, true, false);
    // The space in front makes no token with the first letter, so it is one of its own.
    assert_eq!(tokens.len(), text.len() + 1);
}

/// llama.cpp: sizes of tensors were added up beyond 2⁶⁴.
#[test]
fn cve_2025_53630_sum_of_sizes() {
    let huge = |file: &mut File| {
        for tensor in &mut file.tensors {
            (tensor.ne, tensor.kind) = (vec![1 << 31, (1 << 30) - 1], 0);
        }
    };
    damaged(huge, &["tensors do not end within the file"]);
    damaged(|file| file.tensor(TENSOR).offset = Some(u64::MAX - 31), &[TENSOR, "cut off"]);
}

/// llama.cpp: the same again, by what padding and the table itself add.
#[test]
fn cve_2026_27940_sum_of_sizes_again() {
    let last = |file: &mut File| {
        let size = 1088u64.wrapping_neg() & !31;
        file.tensor(TENSOR).offset = Some(size);
        file.set_u32("general.alignment", 32);
    };
    damaged(last, &[TENSOR, "cut off"]);
}

/// llama.cpp: the bytes of one tensor overflowed, so that its values lay beyond its memory.
#[test]
fn cve_2026_33298_bytes_of_a_tensor() {
    for ne in [vec![1 << 32, 1 << 32], vec![32, 1 << 40, 1 << 20], vec![1 << 20, 1 << 20, 1 << 20, 1 << 6]] {
        damaged(|file| file.tensor(TENSOR).ne = ne.clone(), &[TENSOR, "is not possible"]);
    }
}

/// Ollama: shapes and offsets beyond the file's end were read, and what lay in memory there was given away.
#[test]
fn cve_2026_7482_shape_beyond_the_end() {
    damaged(|file| file.tensor(TENSOR).ne = vec![32, 1 << 20], &[TENSOR, "cut off"]);
    damaged(|file| file.tensor(TENSOR).offset = Some(1 << 30), &[TENSOR, "cut off"]);
}

/// llama.cpp, GHSA-3p75-pq92-q28f: a dimension of zero was divided by.
#[test]
fn ghsa_3p75_pq92_q28f_dimension_of_zero() {
    for ne in [vec![0], vec![32, 0], vec![32, 32, 0], vec![32, 32, 1, 0]] {
        damaged(|file| file.tensor(TENSOR).ne = ne.clone(), &[TENSOR, "is not possible"]);
    }
}

/// llama.cpp, pull request 24263: a key without a name failed an assertion.
#[test]
fn llama_cpp_24263_key_without_a_name() {
    let mut file = File::tiny();
    file.entries.push((vec![], U32, vec![0; 4]));
    alone().load(&file.bytes()).expect("a key that nobody asks for");
}

/// llama.cpp, pull request 19856: a negative type of a tensor was an index.
#[test]
fn llama_cpp_19856_negative_type() {
    for kind in [-1, i32::MIN, -40] {
        let mut file = File::tiny();
        file.tensor(TENSOR).kind = kind as u32;
        alone().refuses(&file.bytes(), ErrorKind::Unsupported, &[TENSOR, "is not known"]);
    }
}

/// llama.cpp, issue 27226: the byte token `<0x-1>` was an index of −1.
#[test]
fn llama_cpp_27226_negative_byte_token() {
    let mut file = File::tiny();
    file.set_strs(
        "tokenizer.ggml.tokens",
        &["<unk>", "<s>", "</s>", "<0x-1>", "<0xZZ>", "<0x100>", "<0x>", "<0xé>"],
    );
    file.set("tokenizer.ggml.token_type", ARRAY, array(5, &vec![6i32.to_le_bytes().to_vec(); 8]));
    let engine = alone().load(&file.bytes()).expect("tokens that are no bytes");
    assert_eq!(engine.tokenizer().decode(&[3, 4], true), "<0x-1><0xZZ>");
}

/// Ollama, issue 7802: a file with next to nothing in it.
#[test]
fn ollama_7802_next_to_nothing() {
    let mut file = File::tiny();
    file.tensors.clear();
    file.entries.truncate(1);
    alone().refuses(
        &file.bytes(),
        ErrorKind::File,
        &["tokenizer.ggml.model", "llama.block_count", "missing"],
    );
}
