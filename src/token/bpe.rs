//! BPE: letters are joined in the order the model learned.
//!
//! A text is cut by its pre-tokenizer, each byte becomes a letter (GPT-2's table, so that a space is `Ġ`), and the
//! `tokenizers` crate joins the letters of each piece. In a `tokenizer.json` characters may stand for themselves, with `▁` for a
//! space and a token for each byte of those that have none.

use tokenizers::Model;
use tokenizers::models::bpe::{self, BPE};

use super::pre::Pre;
use super::vocab::{SPACE, Spelling, Tokens};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Two parts that are joined.
pub(super) type Merge = (String, String);

/// A vocabulary with the joins it learned.
#[derive(Debug)]
pub(super) struct Bpe {
    pre: Pre,
    model: BPE,
    spelling: Spelling,
    /// Whether each byte has a token.
    known: Vec<bool>,
}

impl Bpe {
    pub(super) fn from_gguf(metadata: &Metadata, tokens: &Tokens, pre: Pre) -> Result<Bpe> {
        let strings = metadata.strings("tokenizer.ggml.merges")?;
        let mut merges = Vec::with_capacity(strings.len());
        for (i, text) in (0..).zip(strings.iter()) {
            let text = utf8(text, "merge", i)?;
            let (a, b) = text.split_once(' ').ok_or_else(|| {
                Error::file(format!("merge {i}: expected two parts with a space between, got {text:?}"))
            })?;
            merges.push((a.to_owned(), b.to_owned()));
        }
        Bpe::new(tokens, merges, pre, Spelling::Letters, None)
    }

    /// `unknown` is the token for characters that have neither a token nor tokens for their bytes.
    pub(super) fn new(
        tokens: &Tokens,
        merges: Vec<Merge>,
        pre: Pre,
        spelling: Spelling,
        unknown: Option<&str>,
    ) -> Result<Bpe> {
        let mut vocab = bpe::Vocab::default();
        for (id, text) in (0..).zip(&tokens.texts) {
            vocab.insert(utf8(text, "token", id)?, id);
        }
        let mut builder = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(pre.whole_pieces);
        if spelling == Spelling::Spaces {
            builder = builder.byte_fallback(true).fuse_unk(true);
        }
        if let Some(unknown) = unknown {
            builder = builder.unk_token(unknown.to_owned());
        }
        let model = builder.build().map_err(|e| Error::file(format!("merges: {e}")))?;
        let known = LETTERS.iter().map(|letter| tokens.id(letter.to_string()).is_some()).collect();
        Ok(Bpe { pre, model, spelling, known })
    }

    /// Appends the tokens of a text. Bytes that have no token are left out, and nothing is joined across them.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        for piece in self.pre.cut(text) {
            if self.spelling == Spelling::Spaces {
                self.join(&piece.replace(' ', SPACE), ids);
                continue;
            }
            for bytes in piece.as_bytes().split(|byte| !self.known[usize::from(*byte)]) {
                self.join(&bytes.iter().copied().map(letter).collect::<String>(), ids);
            }
        }
    }

    fn join(&self, spelled: &str, ids: &mut Vec<u32>) {
        let tokens = self.model.tokenize(spelled);
        let tokens = tokens.expect("without dropout and with a known unknown token it cannot fail");
        ids.extend(tokens.iter().map(|token| token.id));
    }

    /// How texts are cut, and what else goes with the name of that.
    pub(super) fn pre(&self) -> &Pre {
        &self.pre
    }
}

fn utf8(text: &[u8], what: &str, i: u32) -> Result<String> {
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::file(format!("{what} {i}: expected UTF-8, got \"{}\"", text.escape_ascii()))),
    }
}

/// The letter of each byte: itself if it is printable, else the next from U+0100 on.
const LETTERS: [char; 256] = {
    let mut letters = ['\0'; 256];
    let (mut byte, mut next) = (0, 0x100);
    while byte < 256 {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_printable { byte } else { next };
        next += !is_printable as u32;
        letters[byte as usize] = match char::from_u32(code) {
            Some(letter) => letter,
            None => unreachable!(),
        };
        byte += 1;
    }
    letters
};

/// The byte of each letter below U+0144, where the table ends; −1 for those that are none.
const BYTES: [i16; 0x144] = {
    let mut bytes = [-1; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[LETTERS[byte] as usize] = byte as i16;
        byte += 1;
    }
    bytes
};

fn letter(byte: u8) -> char {
    LETTERS[usize::from(byte)]
}

/// The bytes that letters spell; what is no letter of the table stands for itself.
pub(super) fn bytes_of_letters(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in String::from_utf8_lossy(text).chars() {
        match BYTES.get(c as usize).map(|&byte| u8::try_from(byte)) {
            Some(Ok(byte)) => bytes.push(byte),
            _ => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{bytes_of_letters, letter};

    #[test]
    fn every_byte_has_a_letter_and_comes_back() {
        for byte in 0..=255 {
            assert_eq!(bytes_of_letters(letter(byte).to_string().as_bytes()), [byte]);
        }
        assert_eq!([letter(b' '), letter(b'\n'), letter(b'a'), letter(0xff)], ['Ġ', 'Ċ', 'a', 'ÿ']);
        assert_eq!(bytes_of_letters("Ġ日".as_bytes()), " 日".as_bytes());
    }
}
