//! The tokens of a vocabulary: what each prints and what it is for.

use std::borrow::Cow;
use std::collections::HashMap;

use super::bpe;
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// What a token is for: `tokenizer.ggml.token_type`, `enum llama_token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Normal,
    /// Stands for what no token says.
    Unknown,
    /// Structure: the begin of a text, the end of a turn.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// A gap in the vocabulary.
    Unused,
    /// One byte, written `<0x0A>`.
    Byte,
}

impl Kind {
    fn from_type(n: i32) -> Kind {
        match n {
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => Kind::Normal,
        }
    }

    /// Whether the token is part of no text: it is parsed from one and shown in one only when asked.
    pub(super) fn is_hidden(self) -> bool {
        matches!(self, Kind::Control | Kind::Unknown)
    }
}

/// How a normal token is spelled in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As it prints, but `▁` for a space: SentencePiece, and BPE of characters.
    Spaces,
    /// A letter for each byte: byte-level BPE.
    Letters,
}

/// The tokens as the file spells them: what a tokenizer is built from.
pub(super) struct Tokens<'a> {
    /// Spelling of each token.
    pub(super) texts: Vec<Cow<'a, [u8]>>,
    /// What each token is for.
    pub(super) kinds: Vec<Kind>,
    ids: HashMap<Cow<'a, [u8]>, u32>,
}

impl<'a> Tokens<'a> {
    /// Reads `tokenizer.ggml.tokens` and `token_type`. Tokens without a text get one that says so, as in llama.cpp.
    pub(super) fn from_gguf(metadata: &'a Metadata) -> Result<Tokens<'a>> {
        let strings = metadata.strings("tokenizer.ggml.tokens")?;
        let texts: Vec<Cow<[u8]>> = (0..)
            .zip(strings.iter())
            .map(|(id, text): (u32, _)| match text {
                [] => format!("[EMPTY_{id}]").into_bytes().into(),
                text => text.into(),
            })
            .collect();
        let kinds = read_kinds(metadata, texts.len())?;
        Tokens::new(texts, kinds)
    }

    /// Tokens in the order of their ids; a file error if two are spelled alike.
    pub(super) fn new(texts: Vec<Cow<'a, [u8]>>, kinds: Vec<Kind>) -> Result<Tokens<'a>> {
        let mut ids = HashMap::with_capacity(texts.len());
        for (id, text) in (0..).zip(&texts) {
            if let Some(other) = ids.insert(text.clone(), id) {
                let text = String::from_utf8_lossy(text);
                return Err(Error::file(format!("tokens {other} and {id} are both {text:?}")));
            }
        }
        Ok(Tokens { texts, kinds, ids })
    }

    /// The token of this spelling.
    pub(super) fn id(&self, text: impl AsRef<[u8]>) -> Option<u32> {
        self.ids.get(text.as_ref()).copied()
    }
}

fn read_kinds(metadata: &Metadata, n: usize) -> Result<Vec<Kind>> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let Some(types) = metadata.get::<Vec<i32>>(KEY)? else { return Ok(vec![Kind::Normal; n]) };
    check_len(KEY, types.len(), n)?;
    Ok(types.into_iter().take(n).map(Kind::from_type).collect())
}

/// Fails unless an array beside the tokens has an item for each.
pub(super) fn check_len(key: &str, len: usize, n_tokens: usize) -> Result<()> {
    if len >= n_tokens {
        return Ok(());
    }
    Err(Error::file(format!("metadata {key:?}: expected an item for each of {n_tokens} tokens, got {len}")))
}

/// What each token prints.
#[derive(Debug)]
pub(super) struct Vocab {
    kinds: Vec<Kind>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Vocab {
    pub(super) fn new(tokens: &Tokens, spelling: Spelling) -> Vocab {
        let mut vocab = Vocab { kinds: tokens.kinds.clone(), bytes: Vec::new(), ends: Vec::new() };
        for (text, &kind) in tokens.texts.iter().zip(&tokens.kinds) {
            vocab.bytes.extend(piece(text, kind, spelling));
            vocab.ends.push(vocab.bytes.len());
        }
        vocab
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// What a token prints; nothing if it is hidden and `show_special` is not set, or if there is no such token.
    pub(super) fn piece(&self, id: u32, show_special: bool) -> &[u8] {
        let id = id as usize;
        match self.kinds.get(id) {
            Some(kind) if show_special || !kind.is_hidden() => {
                let start = if id == 0 { 0 } else { self.ends[id - 1] };
                &self.bytes[start..self.ends[id]]
            }
            _ => &[],
        }
    }
}

/// `llama_vocab::impl::token_to_piece`.
fn piece(text: &[u8], kind: Kind, spelling: Spelling) -> Vec<u8> {
    match (kind, spelling) {
        (Kind::Unused, _) => Vec::new(),
        (Kind::Byte, _) => byte_of(text).map_or_else(|| text.to_vec(), |byte| vec![byte]),
        (Kind::Normal, Spelling::Spaces) => unescape_spaces(text),
        (Kind::Normal, Spelling::Letters) => bpe::bytes_of_letters(text),
        (Kind::Unknown | Kind::Control | Kind::UserDefined, _) => text.to_vec(),
    }
}

/// The byte that `<0x0A>` names.
fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// `▁`, which stands for a space: U+2581.
pub(super) const SPACE: &str = "▁";

fn unescape_spaces(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (byte, next) = match rest.strip_prefix(SPACE.as_bytes()) {
            Some(next) => (b' ', next),
            None => (*first, tail),
        };
        out.push(byte);
        rest = next;
    }
    out
}
