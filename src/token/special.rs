//! Cuts a text at the special tokens that it spells out.
//!
//! The longest special token is looked for first, in the whole text, then the next in what is left: the order of
//! `tokenizer_st_partition` in `llama-vocab.cpp`. One pass over the text says which are worth looking for.

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::vocab::{Kind, Tokens};
use crate::error::{Error, Result};

/// Bytes of all special tokens at most; known vocabularies stay below a tenth of it.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text that is still to be cut into tokens.
    Text(&'t str),
    /// A special token.
    Token(u32),
}

/// Whether a token takes the white space after it along: most special tokens of Phi-3 do, which a GGUF file does not say, so that
/// llama.cpp goes by the model's name.
pub(super) fn strips_right_in(model_name: &str) -> impl Fn(u32, &str) -> bool {
    let name = model_name.to_lowercase();
    let is_phi3 = name.contains("phi-3") || name.contains("phi3");
    move |_, text| is_phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&text)
}

/// The tokens that are found before all others.
#[derive(Debug)]
pub(super) struct Specials {
    /// Longest first.
    list: Vec<Special>,
    finder: AhoCorasick,
}

#[derive(Debug)]
struct Special {
    id: u32,
    text: String,
    /// Only when special tokens are asked for.
    hidden: bool,
    /// Whether it takes the white space after it along.
    strips_right: bool,
}

impl Specials {
    /// Control, unknown and user-defined tokens; `strips_right` says of id and text whether it takes white space along.
    pub(super) fn new(tokens: &Tokens, strips_right: impl Fn(u32, &str) -> bool) -> Result<Specials> {
        let mut list = Vec::new();
        for (id, (text, &kind)) in (0..).zip(tokens.texts.iter().zip(&tokens.kinds)) {
            if text.is_empty() || !(kind.is_hidden() || kind == Kind::UserDefined) {
                continue;
            }
            let Ok(text) = String::from_utf8(text.to_vec()) else { continue };
            list.push(Special { id, strips_right: strips_right(id, &text), text, hidden: kind.is_hidden() });
        }
        list.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
        let bytes: usize = list.iter().map(|special| special.text.len()).sum();
        if bytes > MAX_BYTES {
            let text = format!("special tokens of {bytes} bytes in all: expected at most {MAX_BYTES}");
            return Err(Error::file(text));
        }
        let finder = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(list.iter().map(|special| &special.text))
            .map_err(|e| Error::file(format!("special tokens: {e}")))?;
        Ok(Specials { list, finder })
    }

    /// Cuts a text; hidden tokens are found only if `parse_special`.
    pub(super) fn cut<'t>(&self, text: &'t str, parse_special: bool) -> Vec<Part<'t>> {
        let mut present = vec![false; self.list.len()];
        for found in self.finder.find_overlapping_iter(text) {
            present[found.pattern().as_usize()] = true;
        }
        let mut parts = vec![Part::Text(text)];
        for (special, present) in self.list.iter().zip(present) {
            if present && (parse_special || !special.hidden) {
                parts = parts.into_iter().flat_map(|part| special.cut(part)).collect();
            }
        }
        parts.retain(|part| *part != Part::Text(""));
        parts
    }
}

impl Special {
    fn cut<'t>(&self, part: Part<'t>) -> Vec<Part<'t>> {
        let Part::Text(text) = part else { return vec![part] };
        let mut parts = Vec::new();
        for (i, mut text) in text.split(self.text.as_str()).enumerate() {
            if i > 0 {
                parts.push(Part::Token(self.id));
                if self.strips_right {
                    text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
                }
            }
            parts.push(Part::Text(text));
        }
        parts
    }
}
