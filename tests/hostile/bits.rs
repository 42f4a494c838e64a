//! Headers cut at every byte, and with every bit flipped.

use std::path::PathBuf;

use webreft::ErrorKind;
use webreft::gguf::Metadata;
use webreft::token::{ChatTemplate, Tokenizer};

use super::alone;
use super::file::File;

/// Of real files' flipped bits, one in so many is loaded whole; a prime, so that every place in a byte has its turn.
const LOADED: usize = 211;

/// Real files of every architecture, the smallest there is of each.
fn real() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let archs = std::fs::read_dir(root.join("llamacpp/data/archs")).expect("the references");
    let archs = archs.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        archs.filter(|path| path.to_string_lossy().ends_with("-q8_0.gguf")).collect();
    files.push(root.join("golden/llama/model-q8_0.gguf"));
    files.sort();
    files
}

/// Where the data begin.
fn header_len(bytes: &Vec<u8>) -> usize {
    let header = pollster::block_on(webreft::gguf::read(bytes)).expect("a sound file");
    header.tensors.iter().map(|tensor| tensor.offset).min().expect("tensors") as usize
}

#[test]
fn the_tiny_model_is_sound() {
    let engine = alone().load(&File::tiny().bytes()).expect("a sound file");
    assert_eq!(engine.info().n_vocab, 8);
    assert!(engine.info().chat);
}

#[test]
fn a_model_cut_at_any_byte_is_refused() {
    let (alone, whole) = (alone(), File::tiny().bytes());
    for n in 0..whole.len() {
        alone.refuses(&whole[..n].to_vec(), ErrorKind::File, &["cut off"]);
    }
}

#[test]
fn real_files_cut_at_any_byte_of_their_header_are_refused() {
    let alone = alone();
    for path in real() {
        let whole = std::fs::read(&path).expect("a file");
        for n in 0..header_len(&whole) {
            let error = alone.header(&whole[..n].to_vec()).expect_err("a header that is cut");
            assert_eq!(error.kind(), ErrorKind::File, "{} cut at {n}: {error}", path.display());
        }
    }
}

#[test]
fn a_model_with_any_bit_of_its_header_flipped_loads_or_is_refused() {
    let (alone, whole) = (alone(), File::tiny().bytes());
    let mut refused = 0;
    for bit in 0..8 * File::tiny().header().len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Err(error) = alone.load(&bytes) {
            assert!(matches!(error.kind(), ErrorKind::File | ErrorKind::Unsupported), "bit {bit}: {error}");
            refused += 1;
        }
    }
    assert!(refused > 1000, "only {refused} are refused");
}

/// Header, tokenizer and template for every bit; the whole model for one bit in 211.
#[test]
fn real_files_with_any_bit_of_their_header_flipped_load_or_are_refused() {
    let alone = alone();
    for path in real() {
        let mut bytes = std::fs::read(&path).expect("a file");
        for bit in 0..8 * header_len(&bytes) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if bit % LOADED == 0 {
                let _ = alone.load(&bytes);
            } else if let Ok(header) = alone.header(&bytes) {
                alone.bounded(bytes.len(), || read_text(&header.metadata));
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

fn read_text(metadata: &Metadata) {
    let Ok(tokenizer) = Tokenizer::from_gguf(metadata) else { return };
    let ids = tokenizer.encode("Zoë sat. <s>\n", true, true);
    let _ = tokenizer.decode(&ids, true);
    let _ = ChatTemplate::from_gguf(metadata, &tokenizer);
}
