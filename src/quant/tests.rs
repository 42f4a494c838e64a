use half::f16;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::{BF16, F16, F32, FORMATS, Format, Packed, Q4_0, Q4_K, Q8_0, Words, format_of};
use crate::gguf::testing::{Writer, header};
use crate::gguf::{GgmlType, Header};

fn decoded(format: &Format, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / format.block_bytes * format.block_values];
    format.decode(bytes, &mut out);
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_block_of_q8_0_is_its_bytes_times_its_scale() {
    let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
    block.extend([0x80, 0x7f]);
    block.extend([0; 30]);
    let out = decoded(&Q8_0, &block);
    assert_eq!((out[0], out[1]), (-64.0, 63.5));
    let packed = Q8_0.repack(&block);
    assert_eq!((packed.qs.len(), packed.qs[0] & 0xffff, packed.scales), (8, 0x7f80, vec![0x3800]));
}

#[test]
fn a_block_of_q4_0_is_low_nibbles_then_high_nibbles_less_eight() {
    let mut block = f16::from_f32(-2.0).to_le_bytes().to_vec();
    block.extend((0..16).map(|j: u8| j | (15 - j) << 4));
    let out = decoded(&Q4_0, &block);
    for j in 0..16 {
        assert_eq!(out[j], -2.0 * (j as f32 - 8.0));
        assert_eq!(out[j + 16], -2.0 * (7.0 - j as f32));
    }
    let packed = Q4_0.repack(&block);
    assert_eq!((packed.qs[0], packed.qs.len(), packed.scales), (0xc3d2_e1f0, 4, vec![0xc000]));
}

#[test]
fn halves_keep_subnormals_infinities_and_zero_signs() {
    let halves = [0x0001_u16, 0x03ff, 0x7c00, 0xfc00, 0x8000, 0x3c00];
    let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    let want = [2_f32.powi(-24), 1023.0 * 2_f32.powi(-24), f32::INFINITY, f32::NEG_INFINITY, -0.0, 1.0];
    assert_eq!(bits(&decoded(&F16, &bytes)), bits(&want));
    let want: Vec<f32> = halves.iter().map(|&h| f32::from_bits(u32::from(h) << 16)).collect();
    assert_eq!(bits(&decoded(&BF16, &bytes)), bits(&want));
    assert_eq!(F16.repack(&bytes).qs, [0x03ff_0001, 0xfc00_7c00, 0x3c00_8000]);
    assert_eq!(bits(&decoded(&Q8_0, &[&[1, 0][..], &[255; 32]].concat())), bits(&[-(2_f32.powi(-24)); 32]));
}

#[test]
fn words_count_what_repack_makes() {
    assert_eq!(Q4_0.words(3, 32), Words { qs: 12, scales: 2 });
    assert_eq!(Q8_0.words(2, 64), Words { qs: 32, scales: 2 });
    assert_eq!(F32.words(2, 4), Words { qs: 8, scales: 0 });
    assert_eq!(F16.words(3, 8), Words { qs: 12, scales: 0 });
    for f in FORMATS {
        for n in 0..4 {
            let Packed { qs, scales } = f.repack(&vec![7; n * f.block_bytes]);
            assert_eq!(Words { qs: qs.len(), scales: scales.len() }, f.words(n, f.block_values));
        }
    }
}

#[test]
fn ggml_and_this_list_agree_on_names_and_blocks() {
    for f in FORMATS {
        let t = GgmlType::from_id(f.ggml_type).unwrap();
        assert_eq!(
            (t.name, t.block_values as usize, t.block_bytes as usize),
            (f.name, f.block_values, f.block_bytes)
        );
    }
}

#[test]
fn an_unknown_format_lists_those_there_are() {
    let file = Writer::default().tensor("blk.3.ffn_up.weight", &[256], 17, 0).data(74).header().unwrap();
    let error = format_of(&file.tensors[0]).unwrap_err().to_string();
    let text = "tensor \"blk.3.ffn_up.weight\": format IQ2_XS is not supported (supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS)";
    assert_eq!(error, text);
    let error = F16.check_cols(12).unwrap_err().to_string();
    assert_eq!(error, "rows of 12 values in F16 are not supported (supported: a multiple of 8)");
    assert!(Q4_0.check_cols(64).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn repacked_blocks_decode_to_the_same_bits(bytes in vec(any::<u8>(), 210 * 8), n in 1_usize..8, first in 0_usize..8) {
        for f in FORMATS {
            let n = n.max(first + 1);
            let bytes = &bytes[..n * f.block_bytes];
            let whole = decoded(f, bytes);
            let Packed { qs, scales } = f.repack(bytes);
            let mut part = vec![0.0; (n - first) * f.block_values];
            f.decode_packed(&qs, &scales, first, &mut part);
            prop_assert_eq!(bits(&part), bits(&whole[first * f.block_values..]));
        }
    }

    #[test]
    fn pieces_of_whole_steps_join_into_the_whole(bytes in vec(any::<u8>(), 210 * 3 * 7), row_blocks in 1_usize..4, cut in 0_usize..4) {
        for f in FORMATS {
            let cols = row_blocks * f.cols_multiple;
            let row_bytes = cols / f.block_values * f.block_bytes;
            let rows = bytes.len() / row_bytes;
            let bytes = &bytes[..rows * row_bytes];
            let (a, b) = bytes.split_at((cut * f.rows_step(cols)).min(rows) * row_bytes);
            let [a, b, whole] = [a, b, bytes].map(|bytes| f.repack(bytes));
            prop_assert_eq!([a.qs, b.qs].concat(), whole.qs);
            prop_assert_eq!([a.scales, b.scales].concat(), whole.scales);
        }
    }

    #[test]
    fn quantizing_decoded_blocks_is_near(values in vec(-10_f32..10.0, 256)) {
        let largest = |x: &[f32]| x.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
        for (f, steps) in [(&F32, f32::INFINITY), (&F16, 1024.0), (&BF16, 128.0), (&Q8_0, 127.0), (&Q4_0, 8.0), (&Q4_K, 4.0)] {
            for (x, y) in values.chunks(32).zip(decoded(f, &f.quantize(&values)).chunks(32)) {
                let bound = largest(x) * (0.5 / steps + 1.0 / 1024.0) + if f.name == "Q4_0" { largest(x) / 8.0 } else { 0.0 };
                for (x, y) in x.iter().zip(y) {
                    assert!((x - y).abs() <= bound, "{f:?}: {x} became {y}, bound {bound}");
                }
            }
        }
    }
}

/// ggml writes the scale of a zero block as 0 for Q8_0 and −0 for Q4_0.
#[test]
fn quantizing_zeros_gives_zeros() {
    for f in FORMATS.into_iter().filter(|f| f.quantizes()) {
        assert_eq!(decoded(f, &f.quantize(&[0.0; 256])), [0.0; 256]);
    }
}

fn golden(kind: &str) -> (Vec<u8>, Header) {
    let path = format!("{}/tests/golden/llama/model-{kind}.gguf", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    (bytes.clone(), header(bytes).unwrap())
}

/// The golden files hold one model in four formats, quantized by ggml's own code.
#[test]
fn golden_files_hold_what_quantize_makes_of_their_f32_values() {
    let (exact_bytes, exact) = golden("f32");
    for kind in ["f16", "q8_0", "q4_0"] {
        let (bytes, file) = golden(kind);
        for t in &file.tensors {
            let f = format_of(t).unwrap();
            let e = exact.tensor(&t.name).unwrap();
            let values = decoded(&F32, &exact_bytes[e.offset as usize..][..e.bytes as usize]);
            let stored = &bytes[t.offset as usize..][..t.bytes as usize];
            assert!(f.quantize(&values) == stored, "{kind}: {}", t.name);
        }
    }
}
