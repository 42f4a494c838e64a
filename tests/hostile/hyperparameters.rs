//! Hyperparameters that no model has.

use webreft::ErrorKind::{File as Damaged, Unsupported};

use super::file::{ARRAY, F32, File, U32, array};
use super::{alone, refused};

const ABSURD: [u32; 4] = [0, (1 << 24) + 1, 1 << 31, u32::MAX];

#[test]
fn counts_of_zero_or_more_than_there_can_be() {
    for what in [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
    ] {
        for n in ABSURD {
            refused(
                if what == "attention.value_length" { Unsupported } else { Damaged },
                |file| file.set_u32(&format!("llama.{what}"), n),
                &[&n.to_string()],
            );
        }
    }
    for n in [1 << 10, 1 << 20, 1 << 24] {
        refused(Damaged, |file| file.set_u32("llama.block_count", n), &["layers", "tensors"]);
    }
}

#[test]
fn counts_that_do_not_fit_each_other() {
    for (what, n, part) in [
        ("attention.head_count", 3, "head of 10 values"),
        ("attention.head_count_kv", 3, "cannot share 3"),
        ("attention.head_count", 1 << 24, "a dimension is zero"),
        ("attention.key_length", 1 << 24, "head of 16777216 values"),
        ("attention.key_length", 18, "head of 18 values"),
        ("attention.key_length", 260, "head of 260 values"),
        ("rope.dimension_count", 15, "15 rotary values"),
        ("rope.dimension_count", 1 << 31, "2147483648 rotary values"),
        ("embedding_length", 30, "widths 30"),
        ("feed_forward_length", 1 << 24, "expected shape"),
    ] {
        let set = |file: &mut File| {
            file.set_u32(&format!("llama.{what}"), n);
            if what == "attention.key_length" {
                file.set_u32("llama.attention.value_length", n);
            }
        };
        refused(Damaged, set, &[part]);
    }
}

#[test]
fn heads_that_are_too_wide_together() {
    let change = |file: &mut File| {
        for (key, n) in
            [("head_count", 1 << 20), ("head_count_kv", 1), ("key_length", 256), ("value_length", 256)]
        {
            file.set_u32(&format!("llama.attention.{key}"), n);
        }
    };
    refused(Damaged, change, &["1048576 heads of 256 values"]);
}

#[test]
fn numbers_that_are_none() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
        for key in [
            "attention.layer_norm_rms_epsilon",
            "rope.freq_base",
            "rope.scaling.factor",
            "rope.scaling.attn_factor",
            "attn_logit_softcapping",
            "final_logit_softcapping",
        ] {
            refused(Damaged, |file| file.set_f32(&format!("llama.{key}"), value), &[&value.to_string()]);
        }
    }
    for value in [0.0, f32::MIN_POSITIVE / 2.0, f32::MAX] {
        let mut file = File::tiny();
        file.set_f32("llama.rope.scaling.factor", value);
        file.set_f32("llama.rope.freq_base", value);
        let _ = alone().load(&file.bytes());
    }
}

#[test]
fn numbers_that_are_absurd_but_sound() {
    for (key, value) in [
        ("llama.rope.freq_base", f32::MAX),
        ("llama.rope.freq_base", f32::MIN_POSITIVE),
        ("llama.attention.layer_norm_rms_epsilon", 0.0),
        ("llama.rope.scaling.factor", 1e30),
    ] {
        let mut file = File::tiny();
        file.set_f32(key, value);
        alone().load(&file.bytes()).unwrap_or_else(|error| panic!("{key} {value}: {error}"));
    }
}

#[test]
fn yarn_of_no_context() {
    for ctx in [0, 1, u32::MAX] {
        for base in [1.0, 10000.0] {
            let mut file = File::tiny();
            file.set_str("llama.rope.scaling.type", "yarn");
            file.set_f32("llama.rope.scaling.factor", 4.0);
            file.set_u32("llama.rope.scaling.original_context_length", ctx);
            file.set_f32("llama.rope.freq_base", base);
            let _ = alone().load(&file.bytes());
        }
    }
}

#[test]
fn windows_of_any_size() {
    for pattern in [0, 1, 2, u32::MAX] {
        for window in [0, 1, 64, u32::MAX] {
            let mut file = File::tiny();
            file.set_u32("llama.attention.sliding_window", window);
            file.set_u32("llama.attention.sliding_window_pattern", pattern);
            match alone().load(&file.bytes()) {
                Ok(_) => assert_ne!(window, 1, "of {pattern}"), // none, or the whole context
                Err(error) => {
                    assert_eq!((window, error.kind()), (1, Unsupported), "of {pattern}: {error}");
                    assert!(error.to_string().contains("attention.sliding_window"), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_long_context_takes_no_more_than_a_usual_one() {
    let mut file = File::tiny();
    file.set_u32("llama.context_length", 1 << 24);
    alone().load(&file.bytes()).expect("angles of 4096 positions");
}

#[test]
fn counts_for_each_layer() {
    let key = "llama.attention.head_count_kv";
    let counts = |counts: &[u32]| {
        let items: Vec<Vec<u8>> = counts.iter().map(|n| n.to_le_bytes().to_vec()).collect();
        array(U32, &items)
    };
    let mut file = File::tiny();
    file.set(key, ARRAY, counts(&[1, 1]));
    alone().load(&file.bytes()).expect("one for all");
    refused(Unsupported, |file| file.set(key, ARRAY, counts(&[1, 2])), &[key, "differ from layer to layer"]);
    refused(Damaged, |file| file.set(key, ARRAY, counts(&[])), &[key, "expected u32"]);
    refused(Damaged, |file| file.set(key, ARRAY, counts(&[0, 0])), &["zero"]);
    let real = array(F32, &[1.0f32.to_le_bytes().to_vec()]);
    refused(Damaged, |file| file.set(key, ARRAY, real), &[key, "expected u32"]);
}

#[test]
fn special_tokens_beyond_the_vocabulary() {
    for id in [8, 1 << 31, u32::MAX] {
        for name in ["bos", "eos", "unknown", "eot"] {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let mut file = File::tiny();
            file.set_u32(&key, id);
            let engine = alone().load(&file.bytes()).unwrap_or_else(|error| panic!("{key} {id}: {error}"));
            let warning = format!("metadata {key:?}: expected a token below 8, got {id}; it is ignored");
            assert!(engine.warnings().contains(&warning), "{:?}", engine.warnings());
        }
    }
}

#[test]
fn a_vocabulary_of_one_token_and_of_none() {
    for n in [0, 1] {
        let mut file = File::tiny();
        file.set_strs("tokenizer.ggml.tokens", &["<unk>"][..n]);
        file.set_u32("llama.vocab_size", n as u32);
        if let Ok(engine) = alone().load(&file.bytes()) {
            assert_eq!(engine.tokenizer().n_vocab(), n);
        }
    }
}
