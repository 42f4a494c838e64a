//! SentencePiece as llama.cpp has it: neighbours are joined into tokens, the best score first.
//!
//! Every character starts as a symbol. Of all neighbours whose join is a token, those of the highest score are joined,
//! the leftmost first, until none are left. A symbol that is no token becomes the tokens of its bytes. The queue holds
//! at most three joins for each character, so the time is n·log n. Source: `llm_tokenizer_spm_session` in
//! `llama-vocab.cpp`.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use super::vocab::{SPACE, Tokens, check_len};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

const NONE: usize = usize::MAX;

/// A vocabulary with a score for each token.
#[derive(Debug)]
pub(super) struct Spm {
    tokens: HashMap<Vec<u8>, Scored>,
    /// The token of each byte.
    bytes: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Scored {
    id: u32,
    score: f32,
}

/// Bytes of the text between its neighbours; empty once joined to the one before it.
struct Symbol {
    start: usize,
    end: usize,
    before: usize,
    after: usize,
}

/// A join that is possible: of symbols `left` and `right` into `len` bytes.
struct Join {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Join {
    fn cmp(&self, other: &Join) -> Ordering {
        self.score.total_cmp(&other.score).then(Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Join {
    fn partial_cmp(&self, other: &Join) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Join {
    fn eq(&self, other: &Join) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Join {}

impl Spm {
    pub(super) fn from_gguf(metadata: &Metadata, tokens: &Tokens, unknown: Option<u32>) -> Result<Spm> {
        const KEY: &str = "tokenizer.ggml.scores";
        let scores = metadata.f32s(KEY)?;
        check_len(KEY, scores.len(), tokens.texts.len())?;
        let bytes = (0..=u8::MAX).map(|byte| byte_token(tokens, byte).or(unknown)).collect::<Option<_>>();
        let scored = (0..).zip(scores).map(|(id, score)| Scored { id, score: score + 0.0 });
        Ok(Spm {
            tokens: tokens.texts.iter().map(|text| text.to_vec()).zip(scored).collect(),
            bytes: bytes
                .ok_or_else(|| Error::file("the vocabulary has no tokens for bytes and no unknown token"))?,
        })
    }

    /// Appends the tokens of a text.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let text = text.replace(' ', SPACE);
        let mut joining =
            Joining { spm: self, text: text.as_bytes(), symbols: symbols(&text), queue: BinaryHeap::new() };
        joining.run();
        for symbol in joining.symbols.iter().filter(|symbol| symbol.start < symbol.end) {
            let bytes = &text.as_bytes()[symbol.start..symbol.end];
            match self.tokens.get(bytes) {
                Some(token) => ids.push(token.id),
                None => ids.extend(bytes.iter().map(|&byte| self.bytes[usize::from(byte)])),
            }
        }
    }
}

/// The token of one byte: `<0x0A>`, or the byte itself.
fn byte_token(tokens: &Tokens, byte: u8) -> Option<u32> {
    tokens.id(format!("<0x{byte:02X}>")).or_else(|| tokens.id([byte]))
}

/// The characters of a text.
fn symbols(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = text
        .char_indices()
        .enumerate()
        .map(|(i, (start, c))| Symbol {
            start,
            end: start + c.len_utf8(),
            before: i.wrapping_sub(1),
            after: i + 1,
        })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.after = NONE;
    }
    symbols
}

/// A text on its way to tokens.
struct Joining<'a> {
    spm: &'a Spm,
    text: &'a [u8],
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Join>,
}

impl Joining<'_> {
    fn run(&mut self) {
        for right in 1..self.symbols.len() {
            self.offer(right - 1, right);
        }
        while let Some(Join { left, right, len, .. }) = self.queue.pop() {
            let [a, b] = [&self.symbols[left], &self.symbols[right]];
            let is_current = a.start < a.end && b.start < b.end && b.end - a.start == len;
            if is_current {
                self.join(left, right);
            }
        }
    }

    fn join(&mut self, left: usize, right: usize) {
        let (end, after) = (self.symbols[right].end, self.symbols[right].after);
        self.symbols[right].start = end;
        self.symbols[left].end = end;
        self.symbols[left].after = after;
        if after != NONE {
            self.symbols[after].before = left;
        }
        self.offer(self.symbols[left].before, left);
        self.offer(left, after);
    }

    /// Puts the join of two neighbours in the queue if it is a token.
    fn offer(&mut self, left: usize, right: usize) {
        if left == NONE || right == NONE {
            return;
        }
        let bytes = &self.text[self.symbols[left].start..self.symbols[right].end];
        if let Some(token) = self.spm.tokens.get(bytes) {
            self.queue.push(Join { score: token.score, left, right, len: bytes.len() });
        }
    }
}
