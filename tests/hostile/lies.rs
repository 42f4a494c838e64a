//! Counts, lengths, offsets and names that are not what they should be.

use webreft::ErrorKind;

use super::file::{ARRAY, BOOL, F32, File, STRING, U32, array, array_head, string};
use super::{alone, refused};

const TENSOR: &str = "blk.0.attn_k.weight";

#[test]
fn counts_that_no_file_holds() {
    for count in [1 << 20, 1 << 32, 1 << 60, u64::MAX / 33, u64::MAX / 13, u64::MAX] {
        let number = count.to_string();
        refused(ErrorKind::File, |file| file.n_entries = Some(count), &[&number, "cut off"]);
        refused(ErrorKind::File, |file| file.n_tensors = Some(count), &[&number, "cut off"]);
    }
}

#[test]
fn counts_that_are_a_few_too_many_or_too_few() {
    let (n_entries, n_tensors) = (File::tiny().entries.len() as u64, File::tiny().tensors.len() as u64);
    for n in [0, 1, n_entries - 1, n_entries + 1] {
        refused(ErrorKind::File, |file| file.n_entries = Some(n), &[]);
    }
    for n in [0, 1, n_tensors - 1, n_tensors + 1] {
        refused(ErrorKind::File, |file| file.n_tensors = Some(n), &[]);
    }
}

#[test]
fn lengths_of_strings_that_no_file_holds() {
    for len in [1 << 30, 1 << 31, 1 << 32, i64::MAX as u64, u64::MAX - 8, u64::MAX] {
        let claim = move |file: &mut File| file.set("k", STRING, len.to_le_bytes().to_vec());
        refused(ErrorKind::File, claim, &["\"k\"", "cut off"]);
        let one = move |file: &mut File| file.set("k", ARRAY, array(STRING, &[len.to_le_bytes().to_vec()]));
        refused(ErrorKind::File, one, &["\"k\"", "cut off"]);
    }
}

#[test]
fn lengths_of_arrays_that_no_file_holds() {
    for item in 0..=12 {
        for len in [1 << 24, 1 << 32, u64::MAX / 8 + 1, u64::MAX / 4 + 1, u64::MAX] {
            refused(
                ErrorKind::File,
                |file| file.set("k", ARRAY, array_head(item, len)),
                &["\"k\"", "cut off"],
            );
        }
    }
}

#[test]
fn types_that_are_none() {
    for kind in [13, 255, 1 << 31, u32::MAX] {
        refused(
            ErrorKind::File,
            |file| file.set("k", kind, vec![0; 8]),
            &["\"k\"", "value type", "expected 0 to 12"],
        );
        refused(ErrorKind::File, |file| file.set("k", ARRAY, array_head(kind, 1)), &["\"k\"", "value type"]);
    }
    for kind in [36, 99, 1 << 31, u32::MAX] {
        refused(ErrorKind::Unsupported, |file| file.tensor(TENSOR).kind = kind, &[TENSOR, "is not known"]);
    }
    refused(ErrorKind::File, |file| file.set("k", BOOL, vec![2]), &["\"k\"", "a bool of 2"]);
}

#[test]
fn arrays_in_arrays() {
    let nested = |depth| (0..depth).fold(array(0, &[vec![1]]), |inner, _| array(ARRAY, &[inner]));
    let mut file = File::tiny();
    file.set("k", ARRAY, nested(3));
    alone().load(&file.bytes()).expect("arrays four deep");
    for depth in [4, 5, 10_000] {
        refused(ErrorKind::File, |file| file.set("k", ARRAY, nested(depth)), &["\"k\"", "at most 4 deep"]);
    }
    // Wide instead of deep: each claims a quarter of a million more.
    let wide = array(ARRAY, &vec![array_head(ARRAY, 1 << 18); 100]);
    refused(ErrorKind::File, |file| file.set("k", ARRAY, wide), &["\"k\"", "cut off"]);
}

#[test]
fn keys_and_names_that_are_none() {
    let key = |key: Vec<u8>| move |file: &mut File| file.entries.push((key, U32, vec![0; 4]));
    refused(ErrorKind::File, key(vec![0xff, 0xfe]), &["metadata key", "not UTF-8"]);
    refused(ErrorKind::File, key(vec![b'k'; 65_536]), &["metadata key", "at most 65535"]);
    refused(
        ErrorKind::File,
        |file| file.tensors[3].name = "n".repeat(70_000),
        &["tensor 3", "at most 65535"],
    );
    let mut file = File::tiny();
    for name in [vec![], vec![0], vec![b'k'; 65_535], "\u{202e}\u{1b}[31m".into()] {
        file.entries.push((name, U32, vec![0; 4]));
    }
    alone().load(&file.bytes()).expect("keys that nobody asks for");
}

#[test]
fn names_that_stand_twice() {
    refused(
        ErrorKind::File,
        |file| file.entries.push(("general.name".into(), U32, vec![0; 4])),
        &["\"general.name\"", "twice"],
    );
    refused(
        ErrorKind::File,
        |file| file.tensors.push(file.tensors[3].clone()),
        &[&File::tiny().tensors[3].name, "twice"],
    );
    let tokens = ["<unk>", "<s>", "</s>", "a", "a", "b", "ab", "▁a"];
    refused(
        ErrorKind::File,
        |file| file.set_strs("tokenizer.ggml.tokens", &tokens),
        &["tokens 3 and 4 are both"],
    );
}

#[test]
fn strings_that_are_no_text() {
    for (key, kind) in [("general.architecture", ErrorKind::File), ("general.name", ErrorKind::File)] {
        refused(kind, |file| file.set(key, STRING, string([0xff])), &[key, "expected string of UTF-8"]);
    }
    refused(
        ErrorKind::Unsupported,
        |file| file.set_str("general.architecture", "\0llama"),
        &["architecture", "not supported"],
    );
    refused(
        ErrorKind::Unsupported,
        |file| file.set_str("tokenizer.ggml.model", &"m".repeat(100_000)),
        &["tokenizer"],
    );
    // A token is bytes; it need not be text.
    let mut file = File::tiny();
    let tokens: [&[u8]; 8] = [b"<unk>", b"<s>", b"</s>", b"\xff", b"\0", b"b", &[b'x'; 70_000], b"\xe2\x96"];
    file.set_strs("tokenizer.ggml.tokens", &tokens);
    alone().load(&file.bytes()).expect("a vocabulary of bytes");
}

#[test]
fn alignments_that_are_none() {
    for alignment in [0, 3, 24, u32::MAX] {
        let set = |file: &mut File| file.set_u32("general.alignment", alignment);
        refused(ErrorKind::File, set, &["general.alignment", "power of two", &alignment.to_string()]);
    }
    refused(ErrorKind::File, |file| file.set_u32("general.alignment", 1 << 31), &["tensor", "multiple of"]);
    refused(
        ErrorKind::File,
        |file| file.set("general.alignment", STRING, string("32")),
        &["general.alignment"],
    );
}

#[test]
fn offsets_that_lie_outside_or_overflow() {
    for offset in [1 << 20, 1 << 32, 1 << 63, u64::MAX - 31] {
        refused(ErrorKind::File, |file| file.tensor(TENSOR).offset = Some(offset), &[TENSOR, "cut off"]);
    }
    for offset in [1, 16, 33, u64::MAX] {
        refused(
            ErrorKind::File,
            |file| file.tensor(TENSOR).offset = Some(offset),
            &[TENSOR, "multiple of 32"],
        );
    }
}

#[test]
fn tensors_that_share_bytes() {
    refused(ErrorKind::File, |file| file.tensor(TENSOR).offset = Some(0), &["overlaps"]);
    let all_at_once = |file: &mut File| file.tensors.iter_mut().for_each(|tensor| tensor.offset = Some(0));
    refused(ErrorKind::File, all_at_once, &["overlaps", "; "]);
}

#[test]
fn shapes_that_are_none_or_overflow() {
    for ne in [
        vec![0, 16],
        vec![32, 0],
        vec![1 << 32, 1 << 32],
        vec![u64::MAX, u64::MAX],
        vec![1 << 62, 4],
        vec![32, 1 << 31, 1 << 31, 1 << 31],
        vec![1 << 63],
        vec![33, 16],
    ] {
        refused(ErrorKind::File, |file| file.tensor(TENSOR).ne = ne.clone(), &[TENSOR, "shape"]);
    }
    for n_dims in [0, 5, 64, 4096] {
        let long = |file: &mut File| file.tensor(TENSOR).ne = vec![1; n_dims];
        refused(ErrorKind::File, long, &[TENSOR, "dimensions: expected 1 to 4"]);
    }
    // Sizes that fit a number but no file.
    refused(ErrorKind::File, |file| file.tensor(TENSOR).ne = vec![32, u32::MAX.into()], &[TENSOR, "cut off"]);
}

#[test]
fn shapes_of_another_model() {
    for (name, ne) in [
        (TENSOR, vec![32, 15]),
        ("token_embd.weight", vec![8]),
        ("output_norm.weight", vec![16, 2]),
        ("blk.0.ffn_norm.weight", vec![1, 32]),
    ] {
        refused(
            ErrorKind::File,
            |file| {
                let tensor = file.tensor(name);
                (tensor.ne, tensor.kind) = (ne.clone(), 0);
                tensor.data = vec![0; 4 * ne.iter().product::<u64>() as usize];
            },
            &[name, "expected shape"],
        );
    }
}

#[test]
fn values_of_another_type() {
    let keys: Vec<String> = File::tiny().entries.iter().map(|entry| text(&entry.0)).collect();
    let others = [
        (F32, f32::NAN.to_le_bytes().to_vec()),
        (11, (-1i64).to_le_bytes().to_vec()),
        (10, u64::MAX.to_le_bytes().to_vec()),
        (BOOL, vec![1]),
        (STRING, string("")),
        (ARRAY, array_head(U32, 0)),
        (ARRAY, array_head(STRING, 0)),
        (ARRAY, array_head(ARRAY, 0)),
    ];
    let alone = alone();
    for key in keys.iter() {
        for (kind, value) in &others {
            let mut file = File::tiny();
            file.set(key, *kind, value.clone());
            match alone.load(&file.bytes()) {
                Ok(_) => assert!(
                    [F32, STRING].contains(kind),
                    "{key} of type {kind} was taken for what it should be"
                ),
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::File | ErrorKind::Unsupported),
                        "{key}, type {kind}: {error}"
                    );
                }
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
