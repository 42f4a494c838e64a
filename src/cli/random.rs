//! `webreft lab random`: models with random weights in the shapes of real ones, for measuring where none can be had.
//!
//! Formats are those that llama.cpp's `llama_tensor_get_type` chooses for Q4_K_M; weights are random bits under scales that keep states small.

use clap::{Args, ValueEnum};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use webreft::gguf::{ALIGNMENT, Writer};
use webreft::quant::{F32, Format, Q4_K, Q5_0, Q6_K, Q8_0};
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    /// Whose shape.
    shape: Shape,
    /// Where to.
    file: PathBuf,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    #[value(name = "smollm2-135m")]
    SmolLm2,
    #[value(name = "qwen2.5-0.5b")]
    Qwen25,
    #[value(name = "llama-3.2-1b")]
    Llama32,
    /// Two narrow layers with heads of 256 values under Qwen 2.5's vocabulary: little to compute, and long loops.
    #[value(name = "wide-vocabulary")]
    WideVocabulary,
}

/// A shape, in the numbers of its `config.json`.
struct Sizes {
    architecture: &'static str,
    pre: &'static str,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_head_kv: usize,
    n_ff: usize,
    n_vocab: usize,
    n_ctx: u32,
    rope_base: f32,
}

impl Shape {
    fn sizes(self) -> Sizes {
        match self {
            Shape::SmolLm2 => Sizes {
                architecture: "llama",
                pre: "smollm",
                n_embd: 576,
                n_layer: 30,
                n_head: 9,
                n_head_kv: 3,
                n_ff: 1536,
                n_vocab: 49152,
                n_ctx: 8192,
                rope_base: 100_000.0,
            },
            Shape::Qwen25 => Sizes {
                architecture: "qwen2",
                pre: "qwen2",
                n_embd: 896,
                n_layer: 24,
                n_head: 14,
                n_head_kv: 2,
                n_ff: 4864,
                n_vocab: 151_936,
                n_ctx: 32768,
                rope_base: 1_000_000.0,
            },
            Shape::Llama32 => Sizes {
                architecture: "llama",
                pre: "llama-bpe",
                n_embd: 2048,
                n_layer: 16,
                n_head: 32,
                n_head_kv: 8,
                n_ff: 8192,
                n_vocab: 128_256,
                n_ctx: 131_072,
                rope_base: 500_000.0,
            },
            Shape::WideVocabulary => Sizes {
                architecture: "llama",
                pre: "qwen2",
                n_embd: 512,
                n_layer: 2,
                n_head: 2,
                n_head_kv: 1,
                n_ff: 512,
                n_vocab: 151_936,
                n_ctx: 2048,
                rope_base: 1_000_000.0,
            },
        }
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    write(options).map_err(|error| Error::file(format!("{}: {error}", options.file.display())))
}

/// A tensor: its name, its rows and its columns, and its format.
type Tensor = (String, usize, usize, &'static Format);

fn write(options: &Options) -> io::Result<()> {
    let sizes = options.shape.sizes();
    let tensors = tensors(&sizes);
    let mut writer = metadata(&sizes);
    let mut offset = 0;
    for (name, rows, cols, format) in &tensors {
        let shape: &[u64] = if *rows == 1 { &[*cols as u64] } else { &[*cols as u64, *rows as u64] };
        writer = writer.tensor(name, shape, format.ggml_type, offset);
        offset += bytes(*rows, *cols, format).next_multiple_of(ALIGNMENT) as u64;
    }
    let mut file = BufWriter::new(File::create(Path::new(&options.file))?);
    file.write_all(&writer.head())?;
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    for (_, rows, cols, format) in tensors {
        let mut row = vec![0; bytes(1, cols, format)];
        for _ in 0..rows {
            fill(&mut row, format, cols, &mut random);
            file.write_all(&row)?;
        }
        let len = rows * row.len();
        file.write_all(&vec![0; len.next_multiple_of(ALIGNMENT) - len])?;
    }
    file.flush()
}

fn bytes(rows: usize, cols: usize, format: &Format) -> usize {
    rows * cols / format.block_values * format.block_bytes
}

fn metadata(sizes: &Sizes) -> Writer {
    let key = |what: &str| format!("{}.{what}", sizes.architecture);
    let tokens = tokens(sizes.n_vocab);
    Writer::default()
        .str("general.architecture", sizes.architecture)
        .str("general.name", "random weights")
        .u32(&key("block_count"), sizes.n_layer as u32)
        .u32(&key("context_length"), sizes.n_ctx)
        .u32(&key("embedding_length"), sizes.n_embd as u32)
        .u32(&key("feed_forward_length"), sizes.n_ff as u32)
        .u32(&key("attention.head_count"), sizes.n_head as u32)
        .u32(&key("attention.head_count_kv"), sizes.n_head_kv as u32)
        .f32(&key("attention.layer_norm_rms_epsilon"), 1e-6)
        .f32(&key("rope.freq_base"), sizes.rope_base)
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", sizes.pre)
        .strs("tokenizer.ggml.tokens", &tokens)
        .strs("tokenizer.ggml.merges", &merges(&tokens))
        .u32("tokenizer.ggml.eos_token_id", 0)
        .u32("tokenizer.ggml.bos_token_id", 0)
}

/// The letters that byte-level BPE has for bytes, then words of them, each the merge of two before it: as many as a real vocabulary has.
fn tokens(n_vocab: usize) -> Vec<String> {
    let printable = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let others = (256..).take(256 - (0..256).filter(printable).count());
    let letters = (0..256).filter(printable).chain(others).filter_map(char::from_u32);
    let mut tokens: Vec<String> = letters.map(String::from).collect();
    for number in 0..n_vocab - tokens.len() {
        let (first, second) = pair(number);
        tokens.push(format!("{}{}", tokens[first], tokens[second]));
    }
    tokens
}

/// The two tokens of which the word of this number is made: all pairs of letters first, then pairs with one more letter.
fn pair(number: usize) -> (usize, usize) {
    (number / 256, number % 256)
}

fn merges(tokens: &[String]) -> Vec<String> {
    let words = 0..tokens.len() - 256;
    words.map(pair).map(|(first, second)| format!("{} {}", tokens[first], tokens[second])).collect()
}

fn tensors(sizes: &Sizes) -> Vec<Tensor> {
    let Sizes { n_embd, n_layer, n_head, n_head_kv, n_ff, n_vocab, .. } = *sizes;
    let kv = n_embd / n_head * n_head_kv;
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), n_vocab, n_embd, format(&Q6_K, n_embd)),
        ("output_norm.weight".to_owned(), 1, n_embd, &F32),
    ];
    for number in 0..n_layer {
        let better = if gets_more_bits(number, n_layer) { &Q6_K } else { &Q4_K };
        let matrices = [
            ("attn_q", n_embd, n_embd, &Q4_K),
            ("attn_k", kv, n_embd, &Q4_K),
            ("attn_v", kv, n_embd, better),
            ("attn_output", n_embd, n_embd, &Q4_K),
            ("ffn_gate", n_ff, n_embd, &Q4_K),
            ("ffn_up", n_ff, n_embd, &Q4_K),
            ("ffn_down", n_embd, n_ff, better),
        ];
        let name = |stem: &str, kind: &str| format!("blk.{number}.{stem}.{kind}");
        tensors.extend(["attn_norm", "ffn_norm"].map(|stem| (name(stem, "weight"), 1, n_embd, &F32)));
        tensors.extend(
            matrices
                .map(|(stem, rows, cols, wanted)| (name(stem, "weight"), rows, cols, format(wanted, cols))),
        );
        if sizes.architecture == "qwen2" {
            tensors.extend(
                [("attn_q", n_embd), ("attn_k", kv), ("attn_v", kv)]
                    .map(|(stem, len)| (name(stem, "bias"), 1, len, &F32)),
            );
        }
    }
    tensors
}

/// `use_more_bits`: an eighth of the layers at either end, and every third between them.
fn gets_more_bits(number: usize, n_layer: usize) -> bool {
    number < n_layer / 8 || number >= 7 * n_layer / 8 || (number - n_layer / 8) % 3 == 2
}

/// What is taken where rows are no whole blocks of 256.
fn format(wanted: &'static Format, cols: usize) -> &'static Format {
    match cols.is_multiple_of(wanted.block_values) {
        true => wanted,
        false if std::ptr::eq(wanted, &Q6_K) => &Q8_0,
        false => &Q5_0,
    }
}

/// Random bits, with scales that make values of about 1 / √cols; ones where the row is a norm.
fn fill(row: &mut [u8], format: &'static Format, cols: usize, random: &mut ChaCha8Rng) {
    if std::ptr::eq(format, &F32) {
        return row.as_chunks_mut().0.iter_mut().for_each(|value: &mut [u8; 4]| *value = 1f32.to_le_bytes());
    }
    random.fill_bytes(row);
    format.tame(row, 2.0 / (cols as f32).sqrt());
}
