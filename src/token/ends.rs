//! Which tokens end a generation: those the file names, and those whose text says so.
//!
//! Source: `special_eog_ids` in `llama-vocab.cpp`. Files often name one end and leave others, such as the end of a
//! turn, to their text.

use std::collections::BTreeSet;

use super::vocab::{Kind, Tokens};
use crate::error::Result;
use crate::gguf::Metadata;

/// Keys of tokens that end a generation, besides the end of a text.
const KEYS: [&str; 5] = ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"];

/// Texts that end a generation whatever the file says of them.
const TEXTS: [&str; 30] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Texts of tokens around a gap to fill in: control tokens whatever the file says of them.
const GAPS: [&str; 24] = [
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];

/// The ids of tokens that end a generation; tokens known by their text become control tokens.
pub(super) fn find(metadata: &Metadata, tokens: &mut Tokens, eos: Option<u32>) -> Result<BTreeSet<u32>> {
    let mut ends: BTreeSet<u32> = eos.into_iter().collect();
    for key in KEYS {
        ends.extend(special(metadata, &format!("tokenizer.ggml.{key}_token_id"), tokens)?);
    }
    ends.extend(by_text(tokens));
    Ok(ends)
}

/// Tokens that are control tokens by their text, with it.
pub(super) fn known_texts(tokens: &Tokens) -> impl Iterator<Item = (u32, &'static str)> {
    TEXTS.into_iter().chain(GAPS).filter_map(|text| Some((tokens.id(text)?, text)))
}

/// The ids of tokens whose text says that they end a generation. They and those around a gap become control tokens.
pub(super) fn by_text(tokens: &mut Tokens) -> Vec<u32> {
    for (id, _) in known_texts(tokens).collect::<Vec<_>>() {
        tokens.kinds[id as usize] = Kind::Control;
    }
    TEXTS.into_iter().filter_map(|text| tokens.id(text)).collect()
}

/// What is said of keys that name tokens beyond the vocabulary.
pub(super) fn out_of_range(metadata: &Metadata, tokens: &Tokens) -> Result<Vec<String>> {
    let n = tokens.texts.len();
    let mut warnings = Vec::new();
    for name in ["bos", "eos", "unknown"].into_iter().chain(KEYS) {
        let key = format!("tokenizer.ggml.{name}_token_id");
        if let Some(id) = metadata.get::<u32>(&key)?.filter(|id| *id as usize >= n) {
            warnings.push(format!("metadata {key:?}: expected a token below {n}, got {id}; it is ignored"));
        }
    }
    Ok(warnings)
}

/// The token that a key names, if the file has the key and the vocabulary the token.
pub(super) fn special(metadata: &Metadata, key: &str, tokens: &Tokens) -> Result<Option<u32>> {
    Ok(metadata.get::<u32>(key)?.filter(|id| (*id as usize) < tokens.texts.len()))
}
