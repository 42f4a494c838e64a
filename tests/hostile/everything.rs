//! One error lists everything that is wrong.

use webreft::ErrorKind;

use super::alone;
use super::file::File;

#[test]
fn tokenizer_shape_and_tensors_are_told_at_once() {
    let mut file = File::tiny();
    file.set_str("tokenizer.ggml.model", "unigram");
    file.set_u32("general.name", 3);
    file.set_str("llama.rope.scaling.type", "dynamic");
    file.tensor("blk.0.attn_q.weight").name = "blk.0.attn_x.weight".to_owned();
    let (up, down) = ("blk.0.ffn_up.weight", "blk.0.ffn_down.weight");
    (file.tensor(up).kind, file.tensor(up).data) = (24, vec![0; 1024]);
    file.tensor(down).ne = vec![32, 30];
    let parts = [
        "tokenizer \"unigram\" is not supported",
        "\"general.name\": expected string",
        "rope scaling \"dynamic\" is not supported",
        "\"blk.0.attn_q.weight\" is missing",
        "\"blk.0.ffn_up.weight\": format I8 is not supported",
        "\"blk.0.ffn_down.weight\": expected shape [32, 32], got [30, 32]",
    ];
    alone().refuses(&file.bytes(), ErrorKind::File, &parts);
}

#[test]
fn everything_that_is_only_unsupported_is_unsupported() {
    let mut file = File::tiny();
    file.set_str("general.architecture", "mamba");
    file.set_str("tokenizer.ggml.model", "rwkv");
    let parts = ["architecture \"mamba\" is not supported", "tokenizer \"rwkv\" is not supported"];
    alone().refuses(&file.bytes(), ErrorKind::Unsupported, &parts);
}

#[test]
fn all_keys_that_are_missing_are_told_at_once() {
    let mut file = File::tiny();
    for key in ["llama.block_count", "llama.context_length", "llama.attention.head_count"] {
        file.remove(key);
    }
    file.set_str("llama.embedding_length", "wide");
    let parts = [
        "\"llama.block_count\": expected u32, missing",
        "\"llama.context_length\": expected u32, missing",
        "\"llama.attention.head_count\": expected u32, missing",
        "\"llama.embedding_length\": expected u32, got string",
    ];
    alone().refuses(&file.bytes(), ErrorKind::File, &parts);
}

#[test]
fn all_entries_of_the_table_that_are_wrong_are_told_at_once() {
    let mut file = File::tiny();
    file.tensors[0].kind = 99;
    file.tensors[2].ne = vec![0, 16];
    file.tensors[4].ne = vec![33, 32];
    let parts = [
        "\"token_embd.weight\": ggml type 99 is not known",
        "\"blk.0.attn_k.weight\": shape [16, 0]",
        "\"blk.0.attn_output.weight\": shape [32, 33]",
    ];
    alone().refuses(&file.bytes(), ErrorKind::File, &parts);
}

#[test]
fn a_file_cut_off_in_its_weights_tells_the_first_tensor_and_how_many() {
    let file = File::tiny();
    let bytes = file.bytes()[..file.header().len() + 64].to_vec();
    let parts =
        ["tensor \"token_embd.weight\": the file is cut off", "11 tensors do not end within the file"];
    alone().refuses(&bytes, ErrorKind::File, &parts);
}

#[test]
fn a_context_beyond_the_models_own_is_told_beside_the_rest() {
    let mut file = File::tiny();
    let load = |file: &File| {
        let bytes = file.bytes();
        super::load_for(&bytes, Some(65)).err().expect("an error")
    };
    assert_eq!(load(&file).kind(), ErrorKind::Input);
    file.tensors.pop();
    let error = load(&file);
    assert_eq!(error.kind(), ErrorKind::File);
    for part in ["context of 65 tokens", "\"output_norm.weight\" is missing"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
