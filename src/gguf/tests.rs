use proptest::collection::vec;
use proptest::prelude::{prop_assert, proptest};

use super::testing::{Writer, array, header, string};
use super::{Header, MAX_HEADER, Origin, Strings};
use crate::bytes::ByteSource;
use crate::error::{Error, ErrorKind, Result};

fn golden(kind: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/llama/model-{kind}.gguf", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn message(file: Result<Header>) -> String {
    file.unwrap_err().to_string()
}

#[test]
fn a_golden_file_says_what_it_is() {
    let file = header(golden("q8_0")).unwrap();
    let metadata = &file.metadata;
    assert_eq!(file.origin, Origin::Gguf(3));
    assert_eq!(metadata.str("general.architecture").unwrap(), "llama");
    assert_eq!(metadata.u32("llama.block_count").unwrap(), 4);
    assert_eq!(metadata.u32("llama.embedding_length").unwrap(), 64);
    assert_eq!(metadata.f32("llama.rope.freq_base").unwrap(), 10000.0);
    assert!(metadata.bool("tokenizer.ggml.add_bos_token").unwrap());
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap();
    assert_eq!((tokens.len(), tokens.get(1), tokens.get(320)), (320, Some(&b"<s>"[..]), None));
    assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap().len(), 320);
    assert_eq!(metadata.f32s("tokenizer.ggml.scores").unwrap().len(), 320);
}

#[test]
fn a_tensor_is_a_row_major_matrix_at_a_place_in_the_file() {
    let bytes = golden("q8_0");
    let n = bytes.len() as u64;
    let file = header(bytes).unwrap();
    let up = file.tensor("blk.0.ffn_up.weight").unwrap();
    assert_eq!((&up.dims[..], up.rows(), up.cols(), up.format.name), (&[160, 64][..], 160, 64, "Q8_0"));
    assert_eq!((up.row_bytes(), up.bytes, up.offset % 32), (68, 160 * 68, 0));
    assert!(file.tensors.iter().all(|t| t.offset + t.bytes <= n));
    assert!(file.tensor("blk.4.ffn_up.weight").is_none());
}

#[test]
fn version_2_reads_as_version_3() {
    let writer = Writer::default().u32("a", 7);
    let file = header(writer.bytes_with(2, 0, 1)).unwrap();
    assert_eq!((file.origin, file.metadata.u32("a").unwrap()), (Origin::Gguf(2), 7));
}

#[test]
fn integers_of_any_width_answer_for_each_other_when_they_fit() {
    let writer = Writer::default()
        .entry("u8", 0, &[200])
        .entry("i8", 1, &[0x80])
        .entry("u64", 10, &(1_u64 << 32).to_le_bytes())
        .entry("i64", 11, &7_i64.to_le_bytes());
    let metadata = writer.header().unwrap().metadata;
    assert_eq!((metadata.u32("u8").unwrap(), metadata.u32("i64").unwrap()), (200, 7));
    let error = metadata.u32("i8").unwrap_err().to_string();
    assert_eq!(error, "metadata \"i8\": expected u32, got i8 -128");
    let error = metadata.u32("u64").unwrap_err().to_string();
    assert_eq!(error, "metadata \"u64\": expected u32, got u64 4294967296");
}

#[test]
fn a_wrong_or_missing_value_is_told_as_expected_and_got() {
    let metadata = Writer::default().str("name", "tiny").f32s("xs", &[1.0, 2.0]).header().unwrap().metadata;
    let errors = [
        (metadata.u32("llama.block_count").err(), "metadata \"llama.block_count\": expected u32, missing"),
        (metadata.bool("name").err(), "metadata \"name\": expected bool, got string \"tiny\""),
        (metadata.f32("xs").err(), "metadata \"xs\": expected f32, got array of 2 f32"),
        (metadata.i32s("xs").err(), "metadata \"xs\": expected array of i32, got array of 2 f32"),
        (metadata.strings("xs").err(), "metadata \"xs\": expected array of string, got array of 2 f32"),
    ];
    for (error, text) in errors {
        assert_eq!(error, Some(Error::file(text)));
    }
    assert_eq!(metadata.get::<u32>("llama.block_count").unwrap(), None);
    assert_eq!(metadata.get::<&str>("name").unwrap(), Some("tiny"));
}

#[test]
fn arrays_of_strings_are_read_by_index() {
    let metadata = Writer::default().strs("words", &["", "two", "ü"]).header().unwrap().metadata;
    let words = metadata.strings("words").unwrap();
    assert_eq!(words.iter().collect::<Vec<_>>(), [&b""[..], b"two", "ü".as_bytes()]);
    assert!(!words.is_empty());
}

#[test]
fn arrays_in_arrays_are_passed_over_up_to_a_depth() {
    let nested = |depth| (0..depth).fold(array(0, &[vec![1]]), |inner, _| array(9, &[inner]));
    let file = Writer::default().entry("deep", 9, &nested(3)).u32("after", 5).header().unwrap();
    assert_eq!(file.metadata.u32("after").unwrap(), 5);
    let error = message(Writer::default().entry("deep", 9, &nested(4)).header());
    assert_eq!(error, "metadata \"deep\": arrays in arrays: expected at most 4 deep");
}

#[test]
fn other_files_are_refused_by_name() {
    for (bytes, kind, text) in [
        (
            b"<!DOCTYPE html>".to_vec(),
            ErrorKind::File,
            "not a GGUF file: expected magic \"GGUF\", got \"<!DO\"",
        ),
        (
            b"GG".to_vec(),
            ErrorKind::File,
            "not a GGUF file: the file is cut off: expected 4 bytes at offset 0, the file has 2 bytes",
        ),
        (
            Writer::default().bytes_with(1, 0, 0),
            ErrorKind::Unsupported,
            "GGUF version 1 is not supported (supported: 2, 3)",
        ),
        (
            Writer::default().bytes_with(0, 0, 0),
            ErrorKind::Unsupported,
            "GGUF version 0 is not supported (supported: 2, 3)",
        ),
        (
            Writer::default().bytes_with(3_u32.swap_bytes(), 0, 0),
            ErrorKind::Unsupported,
            "GGUF of big-endian byte order is not supported (supported: little-endian)",
        ),
    ] {
        let error = header(bytes).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (kind, text.to_owned()));
    }
}

#[test]
fn lying_counts_and_lengths_are_held_against_the_file() {
    let writer = Writer::default().u32("a", 1);
    let huge = [4_u32.to_le_bytes().as_slice(), &u64::MAX.to_le_bytes()].concat();
    for (file, text) in [
        (
            header(writer.bytes_with(3, 0, u64::MAX)),
            format!("{} metadata keys: the file is cut off", u64::MAX),
        ),
        (header(writer.bytes_with(3, 1 << 40, 1)), "1099511627776 tensors: the file is cut off".to_owned()),
        (
            Writer::default().entry("k", 9, &huge).header(),
            "metadata \"k\": array of 18446744073709551615".to_owned(),
        ),
        (
            Writer::default().entry("k", 8, &u64::MAX.to_le_bytes()).header(),
            "metadata \"k\": the file is cut off".to_owned(),
        ),
        (
            Writer::default().entry("k", 13, &[]).header(),
            "metadata \"k\": value type 13: expected 0 to 12".to_owned(),
        ),
        (
            Writer::default().entry("k", 7, &[2]).header(),
            "metadata \"k\": a bool of 2: expected 0 or 1".to_owned(),
        ),
        (
            Writer::default().u32("a", 1).u32("a", 2).header(),
            "metadata \"a\": the key stands twice".to_owned(),
        ),
        (
            Writer::default().u32(&"k".repeat(1 << 17), 1).header(),
            "metadata key 0: a name of 131072 bytes: expected at most 65535".to_owned(),
        ),
        (
            Writer::default().u32("general.alignment", 24).header(),
            "metadata \"general.alignment\": expected a power of two, got 24".to_owned(),
        ),
    ] {
        let error = message(file);
        assert!(error.starts_with(&text), "{error}");
    }
}

#[test]
fn impossible_tensors_are_refused_by_name() {
    let tensor =
        |ne: &[u64], kind, offset| Writer::default().tensor("t", ne, kind, offset).data(256).header();
    for (file, text) in [
        (tensor(&[], 0, 0), "tensor \"t\": 0 dimensions: expected 1 to 4"),
        (tensor(&[1; 5], 0, 0), "tensor \"t\": 5 dimensions: expected 1 to 4"),
        (tensor(&[4, 0], 0, 0), "tensor \"t\": shape [0, 4] is not possible"),
        (tensor(&[1 << 31, 1 << 31, 1 << 31], 0, 0), "tensor \"t\": shape"),
        (tensor(&[1 << 40], 0, 0), "tensor \"t\": shape [1099511627776] is not possible"),
        (
            tensor(&[33, 2], 8, 0),
            "tensor \"t\": shape [2, 33]: expected rows of a multiple of 32 values for Q8_0",
        ),
        (tensor(&[8], 99, 0), "tensor \"t\": ggml type 99 is not known"),
        (tensor(&[8], 0, 16), "tensor \"t\": expected an offset that is a multiple of 32, got 16"),
        (tensor(&[65], 0, 0), "tensor \"t\": the file is cut off: expected 260 bytes at offset"),
        (tensor(&[8], 0, u64::MAX - 31), "tensor \"t\": the file is cut off"),
    ] {
        let error = message(file);
        assert!(error.starts_with(text), "{error}");
    }
}

#[test]
fn tensors_that_share_a_name_or_a_byte_are_refused() {
    let two =
        |a, b, offset| Writer::default().tensor(a, &[16], 0, 0).tensor(b, &[8], 0, offset).data(128).header();
    assert!(two("a", "b", 64).is_ok());
    assert_eq!(message(two("a", "a", 64)), "tensor \"a\": the name stands twice");
    let error = message(two("a", "b", 32));
    assert!(
        error.starts_with("tensor \"b\" at offset ") && error.contains("overlaps tensor \"a\""),
        "{error}"
    );
}

#[test]
fn names_in_errors_are_escaped_and_short() {
    let error = message(Writer::default().entry(&"\n".repeat(1000), 13, &[]).header());
    assert!(error.len() < 300 && !error.contains('\n'), "{error}");
}

/// A file that is longer than what is in it, and counts what is read of it.
struct Sparse {
    start: Vec<u8>,
    len: u64,
    furthest: std::cell::Cell<u64>,
}

impl ByteSource for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.furthest.set(self.furthest.get().max(offset + buf.len() as u64));
        for (i, byte) in (offset as usize..).zip(buf) {
            *byte = self.start.get(i).copied().unwrap_or(0);
        }
        Ok(())
    }
}

fn sparse(start: Vec<u8>, len: u64) -> (Result<Header>, u64) {
    let source = Sparse { start, len, furthest: 0.into() };
    (pollster::block_on(super::read(&source)), source.furthest.get())
}

#[test]
fn a_large_header_is_read_in_pieces_that_stay_near_its_size() {
    let words: Vec<String> = (0..100_000).map(|i| format!("word {i}")).collect();
    let bytes = Writer::default().strs("words", &words).u32("after", 3).bytes();
    let n = bytes.len() as u64;
    let (file, furthest) = sparse(bytes, 8 << 30);
    let metadata = file.unwrap().metadata;
    assert!(metadata.strings("words").unwrap().iter().zip(&words).all(|(a, b)| a == b.as_bytes()));
    assert_eq!(metadata.u32("after").unwrap(), 3);
    assert!(furthest <= 2 * n, "{furthest} of {n}");
}

#[test]
fn a_header_that_never_ends_is_given_up() {
    let endless = Writer::default().entry(
        "k",
        9,
        &[array(0, &[])[..4].to_vec(), (1_u64 << 32).to_le_bytes().to_vec()].concat(),
    );
    let (file, furthest) = sparse(endless.bytes(), 8 << 30);
    assert!(message(file).starts_with("the header goes on to byte 4294967"));
    assert!(furthest <= 2 * MAX_HEADER);
    let empty_strings = [8_u32.to_le_bytes().as_slice(), &(1_u64 << 29).to_le_bytes()].concat();
    let (file, _) = sparse(Writer::default().entry("k", 9, &empty_strings).bytes(), 8 << 30);
    assert!(message(file).starts_with("the header goes on to byte 671"));
}

/// The golden file cut off anywhere in its header or its data is refused.
#[test]
fn a_file_cut_at_any_byte_is_an_error() {
    let whole = golden("q8_0");
    let file = header(whole.clone()).unwrap();
    let end = file.tensors.iter().map(|t| t.offset + t.bytes).max().unwrap() as usize;
    let start = file.tensors.iter().map(|t| t.offset).min().unwrap() as usize;
    for n in (0..start + 40).chain((start..end).step_by(997)).chain([end - 1]) {
        let error = header(whole[..n].to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File, "cut at {n}: {error}");
        assert!(error.to_string().contains("cut off"), "cut at {n}: {error}");
    }
}

/// A flipped bit may change a value unseen, but is never worse than an error.
#[test]
fn a_flipped_bit_never_panics() {
    let whole = golden("q8_0");
    let start = header(whole.clone()).unwrap().tensors.iter().map(|t| t.offset).min().unwrap() as usize;
    for i in 0..start {
        for bit in [0, 3, 6, 7] {
            let mut bytes = whole.clone();
            bytes[i] ^= 1 << bit;
            if let Ok(file) = header(bytes) {
                file.metadata.describe().for_each(drop);
                let _ =
                    file.metadata.strings("tokenizer.ggml.tokens").map(|words: Strings| words.iter().count());
            }
        }
    }
}

proptest! {
    #[test]
    fn noise_after_the_magic_is_an_error(counts in [0_u64..9, 0..9], noise in vec(0_u8..14, 0..400)) {
        let head = Writer::default().bytes_with(3, counts[0], counts[1]);
        let parsed = header([&head[..24], &noise].concat());
        prop_assert!(parsed.is_err() || counts == [0, 0] || noise.len() >= 13);
    }
}

#[test]
fn strings_that_are_not_utf8_are_bytes_and_no_text() {
    let metadata =
        Writer::default().entry("k", 8, &string(b"\xff")).strs("ks", &[b"\xff"]).header().unwrap().metadata;
    assert_eq!(metadata.strings("ks").unwrap().get(0), Some(&b"\xff"[..]));
    assert!(metadata.str("k").is_err());
}
