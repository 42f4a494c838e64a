//! Weights that are not numbers: nothing panics, and every token is one of the vocabulary.

use half::f16;
use webreft::ErrorKind;

use super::alone;
use super::file::File;

const WRONG: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

#[test]
fn scales_of_blocks_that_are_no_numbers() {
    let alone = alone();
    let names: Vec<String> = File::tiny().tensors.iter().map(|tensor| tensor.name.clone()).collect();
    for name in names.iter().filter(|name| !name.contains("norm")) {
        for scale in WRONG {
            let mut file = File::tiny();
            for block in file.tensor(name).data.chunks_mut(34) {
                block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            }
            alone.load(&file.bytes()).unwrap_or_else(|error| panic!("{name} of {scale}: {error}"));
        }
    }
}

#[test]
fn vectors_that_hold_no_numbers() {
    for name in ["blk.0.attn_norm.weight", "output_norm.weight"] {
        for value in WRONG {
            let mut file = File::tiny();
            file.tensor(name).data[4..8].copy_from_slice(&value.to_le_bytes());
            alone().refuses(&file.bytes(), ErrorKind::File, &[name, "value 1", &value.to_string()]);
        }
    }
}

#[test]
fn scores_of_tokens_that_are_no_numbers() {
    for score in WRONG {
        let mut file = File::tiny();
        let scores: Vec<Vec<u8>> = (0..8).map(|_| score.to_le_bytes().to_vec()).collect();
        file.set("tokenizer.ggml.scores", super::file::ARRAY, super::file::array(super::file::F32, &scores));
        alone().load(&file.bytes()).expect("an order of tokens like any other");
    }
}
