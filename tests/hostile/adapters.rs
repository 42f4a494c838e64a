//! Adapters that lie: directories of peft's and pyreft's.

use std::path::PathBuf;

use webreft::reft::foreign::{self, File, Interventions, Unsaved};
use webreft::{ErrorKind, Result};

use super::{Alone, alone};

/// A directory of `tests/cases/adapters`: the configuration, then the tensors.
fn case(name: &str, [config, weights]: [&str; 2]) -> [File; 2] {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/adapters").join(name);
    [config, weights].map(|file| {
        let bytes = std::fs::read(folder.join(file));
        (file.to_owned(), bytes.unwrap_or_else(|error| panic!("{name}/{file}: {error}")))
    })
}

const PEFT: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];
const PICKLED: [&str; 2] = ["adapter_config.json", "adapter_model.bin"];
const PYREFT: [&str; 2] = ["config.json", "intkey_layer_1_comp_block_output_unit_pos_nunit_1#0.bin"];

fn cases() -> [[File; 2]; 4] {
    [case("plain", PEFT), case("bin", PICKLED), case("bin_legacy", PICKLED), case("py_pr179", PYREFT)]
}

impl Alone {
    fn read(&self, files: &[File]) -> Result<Interventions> {
        let len = files.iter().map(|(_, bytes)| bytes.len()).sum();
        self.bounded(len, || foreign::read(files, &Unsaved::default()))
    }

    fn refuses_adapter(&self, files: &[File], kind: ErrorKind, part: &str) {
        let error = self.read(files).expect_err("an error");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
        assert!(error.to_string().len() < 2000, "{} bytes of text", error.to_string().len());
    }
}

#[test]
fn adapters_that_are_cut_off_are_refused() {
    let alone = alone();
    for files in cases() {
        alone.read(&files).expect("a sound directory");
        for number in 0..2 {
            let whole = files[number].1.len();
            for end in (0..whole).step_by(1 + whole / 200) {
                let mut files = files.clone();
                files[number].1.truncate(end);
                let error = alone.read(&files).expect_err("cut off");
                assert!([ErrorKind::File, ErrorKind::Unsupported].contains(&error.kind()), "{error}");
            }
        }
    }
}

#[test]
fn no_damaged_byte_of_an_adapter_makes_the_reader_panic() {
    let alone = alone();
    for files in cases() {
        for number in 0..2 {
            let whole = files[number].1.len();
            let heads = 0..whole.min(3000);
            for at in heads.chain(whole.saturating_sub(1200)..whole).step_by(7) {
                for flip in [0x01, 0xff] {
                    let mut files = files.clone();
                    files[number].1[at] ^= flip;
                    let _ = alone.read(&files);
                }
            }
        }
    }
}

#[test]
fn configurations_of_great_size_are_bounded() {
    let alone = alone();
    let with_config = |text: String| {
        let mut files = case("plain", PEFT);
        files[0].1 = text.into_bytes();
        files
    };
    let lora = |rest: &str| with_config(format!(r#"{{"peft_type": "LORA", "r": 4, "lora_alpha": 8{rest}}}"#));
    let many: Vec<String> = (0..2000).map(|number| format!(r#""x{number}": 3"#)).collect();
    let patterns = lora(&format!(r#", "rank_pattern": {{{}}}"#, many.join(", ")));
    alone.read(&patterns).expect("patterns that match nothing");
    alone.refuses_adapter(
        &lora(r#", "rank_pattern": {"(((a{200}){200}){200}){200}": 3}"#),
        ErrorKind::Unsupported,
        "rank_pattern: pattern",
    );
    let nested = "(".repeat(20_000) + &")".repeat(20_000);
    alone.refuses_adapter(
        &lora(&format!(r#", "alpha_pattern": {{"{nested}": 3}}"#)),
        ErrorKind::Unsupported,
        "alpha_pattern: pattern",
    );
    let long = "9".repeat(100_000);
    alone.refuses_adapter(
        &lora(&format!(r#", "a_key_of_tomorrow": "{long}""#)),
        ErrorKind::Unsupported,
        "a_key_of_tomorrow",
    );
    let list = format!("[{}]", vec!["7"; 50_000].join(","));
    alone.refuses_adapter(
        &lora(&format!(r#", "modules_to_save": {list}"#)),
        ErrorKind::Unsupported,
        "modules_to_save",
    );
    let deep = "[".repeat(100_000);
    alone.refuses_adapter(&with_config(deep), ErrorKind::File, "recursion limit");
    alone.refuses_adapter(&with_config("[]".to_owned()), ErrorKind::Unsupported, "peft_type null");
    let large = lora(r#", "r": 18446744073709551615, "use_dora": false"#);
    alone.refuses_adapter(&large, ErrorKind::File, "expected [18446744073709551615, in]");
}

#[test]
fn storages_that_are_not_there_are_refused() {
    let alone = alone();
    let mut files = case("bin_legacy", PICKLED);
    let whole = files[1].1.clone();
    // The count in front of the last storage's 128 numbers.
    let at = whole.len() - 8 - 512;
    assert_eq!(whole[at..][..8], 128u64.to_le_bytes());
    files[1].1[at..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    alone.refuses_adapter(&files, ErrorKind::File, "is not whole");
    files[1].1[at..][..8].copy_from_slice(&127u64.to_le_bytes());
    alone.refuses_adapter(&files, ErrorKind::File, "expected 128 numbers of 4 bytes, got 508 bytes");
    let mut other = case("bin_legacy", PICKLED);
    let text = b"94000000000000";
    let last = whole.windows(text.len()).rposition(|window| window == text).expect("a key of the list");
    other[1].1[last + text.len() - 1] = b'1';
    alone.refuses_adapter(&other, ErrorKind::File, "no tensor has it");
}
