//! Text and token ids, as the GGUF file or the repository says; chat templates.
//!
//! Two kinds of vocabulary: `gpt2`, byte-level BPE over the `tokenizers` crate, and `llama`, SentencePiece with scores.
//! Ids are those of llama.cpp (`llama_vocab::impl::tokenize`), whose files these are.

mod added;
mod bpe;
mod chat;
mod date;
mod ends;
mod hashes;
mod huggingface;
mod jinja;
mod pre;
mod special;
mod spm;
mod stream;
mod turns;
mod vocab;

use std::borrow::Cow;
use std::collections::BTreeSet;

use tokenizers::NormalizedString;

pub use self::chat::{ChatInputs, ChatOptions, ChatTemplate, Message};
pub use self::hashes::TextHashes;
pub use self::huggingface::HubText;
pub use self::stream::TextStream;
pub use self::turns::Turns;

use self::added::AddedTokens;
use self::bpe::Bpe;
use self::pre::Pre;
use self::special::{Part, Specials, strips_right_in};
use self::spm::Spm;
use self::vocab::{Spelling, Tokens, Vocab};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// A vocabulary and how text becomes tokens of it.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    specials: Found,
    model: Model,
    bos: Option<u32>,
    eos: Option<u32>,
    ends: BTreeSet<u32>,
    add_bos: bool,
    add_eos: bool,
    space: Space,
    warnings: Vec<String>,
    /// Whether characters are composed before anything else: Unicode's form C.
    composes: bool,
    /// Whether a decoded text loses its spaces before punctuation: `clean_up_tokenization_spaces` of transformers.
    cleans_spaces: bool,
}

/// The tokens that are found in a text before all others.
#[derive(Debug)]
enum Found {
    /// As llama.cpp finds a GGUF file's.
    ByLength(Specials),
    /// As `tokenizers` finds a repository's.
    Added(AddedTokens),
}

/// Tokens that may be more than the embedding has rows, and why. They are not found in a text then.
const WITHOUT_ROW: [(&str, &str); 1] =
    [("<image_soft_token>", "Gemma 3's models of text alone have no row for images")];

/// Which texts get a space in front; special tokens cut one text into several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    /// None.
    Never,
    /// Each.
    Always,
    /// Each that does not begin with one.
    Lacking,
    /// The one that begins the whole, if it does not begin with one.
    First,
}

#[derive(Debug)]
enum Model {
    Spm(Spm),
    Bpe(Box<Bpe>),
}

impl Tokenizer {
    /// The tokenizer that a GGUF file describes.
    ///
    /// # Errors
    ///
    /// An unsupported error for a kind of vocabulary or a pre-tokenizer that is not here; a file error if keys are missing
    /// or contradict each other.
    pub fn from_gguf(metadata: &Metadata) -> Result<Tokenizer> {
        match metadata.str("tokenizer.ggml.model")? {
            "llama" => Tokenizer::spm(metadata),
            "gpt2" => Tokenizer::bpe(metadata),
            other => Err(Error::unsupported(format!(
                "metadata \"tokenizer.ggml.model\": tokenizer {other:?} is not supported (supported: llama, gpt2)"
            ))),
        }
    }

    /// Where the file names no special tokens, they are 0 `<unk>`, 1 `<s>` and 2 `</s>`.
    fn spm(metadata: &Metadata) -> Result<Tokenizer> {
        let mut tokens = Tokens::from_gguf(metadata)?;
        let known = |default: u32| Some(default).filter(|&id| (id as usize) < tokens.texts.len());
        let [unknown, bos, eos] = [("unknown", 0), ("bos", 1), ("eos", 2)].map(|(name, default)| {
            let id = ends::special(metadata, &format!("tokenizer.ggml.{name}_token_id"), &tokens)?;
            Ok(id.or(known(default)))
        });
        let model = Model::Spm(Spm::from_gguf(metadata, &tokens, unknown?)?);
        Tokenizer {
            add_bos: true,
            space: match metadata.get("tokenizer.ggml.add_space_prefix")? {
                Some(false) => Space::Never,
                _ => Space::Always,
            },
            ..Tokenizer::new(metadata, &mut tokens, Spelling::Spaces, model, [bos?, eos?])?
        }
        .with_flags(metadata)
    }

    fn bpe(metadata: &Metadata) -> Result<Tokenizer> {
        let pre = Pre::named(metadata.get("tokenizer.ggml.pre")?.unwrap_or("default"))?;
        let mut tokens = Tokens::from_gguf(metadata)?;
        let [bos, eos] = ["bos", "eos"]
            .map(|name| ends::special(metadata, &format!("tokenizer.ggml.{name}_token_id"), &tokens));
        let bpe = Bpe::from_gguf(metadata, &tokens, pre)?;
        Tokenizer {
            add_bos: bpe.pre().add_bos,
            cleans_spaces: bpe.pre().cleans_spaces,
            ..Tokenizer::new(
                metadata,
                &mut tokens,
                Spelling::Letters,
                Model::Bpe(Box::new(bpe)),
                [bos?, eos?],
            )?
        }
        .with_flags(metadata)
    }

    /// Without flags: nothing is added to a text.
    fn new(
        metadata: &Metadata,
        tokens: &mut Tokens,
        spelling: Spelling,
        model: Model,
        [bos, eos]: [Option<u32>; 2],
    ) -> Result<Tokenizer> {
        let ends = ends::find(metadata, tokens, eos)?;
        let name = metadata.get("general.name")?.unwrap_or_default();
        Ok(Tokenizer {
            vocab: Vocab::new(tokens, spelling),
            specials: Found::ByLength(Specials::new(tokens, strips_right_in(name))?),
            model,
            bos,
            eos,
            ends,
            add_bos: false,
            add_eos: false,
            space: Space::Never,
            warnings: ends::out_of_range(metadata, tokens)?,
            composes: false,
            cleans_spaces: false,
        })
    }

    /// What the file says about adding tokens to a text.
    fn with_flags(mut self, metadata: &Metadata) -> Result<Tokenizer> {
        self.add_bos = metadata.get("tokenizer.ggml.add_bos_token")?.unwrap_or(self.add_bos);
        self.add_eos = metadata.get("tokenizer.ggml.add_eos_token")?.unwrap_or(self.add_eos);
        for (name, add, id) in [("bos", self.add_bos, self.bos), ("eos", self.add_eos, self.eos)] {
            let key = format!("tokenizer.ggml.{name}_token_id");
            if add && id.is_none() && metadata.get::<u32>(&key)?.is_none() {
                return Err(Error::file(format!("metadata {key:?}: expected u32, missing")));
            }
        }
        Ok(self)
    }

    /// The tokens of a text.
    ///
    /// `parse_special`: `<s>` in the text is the token of that name, not three characters. User-defined tokens are found
    /// either way. `add_special`: the begin and end tokens are put around it if the file says so.
    pub fn encode(&self, text: &str, parse_special: bool, add_special: bool) -> Vec<u32> {
        let mut ids = Vec::new();
        if add_special && self.add_bos {
            ids.extend(self.bos);
        }
        let parts = match &self.specials {
            Found::ByLength(specials) => specials.cut(text, parse_special),
            Found::Added(added) => added.raw.cut(text, parse_special),
        };
        for (number, part) in parts.into_iter().enumerate() {
            match part {
                Part::Token(id) => ids.push(id),
                Part::Text(text) => self.encode_text(text, number == 0, parse_special, &mut ids),
            }
        }
        if add_special && self.add_eos {
            ids.extend(self.eos);
        }
        ids
    }

    fn encode_text(&self, text: &str, is_first: bool, parse_special: bool, ids: &mut Vec<u32>) {
        let text = normalized(text, self.composes, self.space);
        match &self.specials {
            Found::Added(added) if !added.normalized.is_empty() => {
                let text = if added.replaces_spaces { text.replace(' ', "▁").into() } else { text };
                for (number, part) in added.normalized.cut(&text, parse_special).into_iter().enumerate() {
                    match part {
                        Part::Token(id) => ids.push(id),
                        Part::Text(text) => self.encode_piece(text.into(), is_first && number == 0, ids),
                    }
                }
            }
            _ => self.encode_piece(text, is_first, ids),
        }
    }

    fn encode_piece(&self, mut text: Cow<'_, str>, is_first: bool, ids: &mut Vec<u32>) {
        if self.space.is_lacking(&text, is_first) {
            text = format!(" {text}").into();
        }
        match &self.model {
            Model::Bpe(bpe) => bpe.encode(&text, ids),
            Model::Spm(spm) => spm.encode(&text, ids),
        }
    }

    /// The tokenizer for an embedding of so many rows.
    ///
    /// # Errors
    /// `File` if there are more tokens than rows.
    pub fn for_rows(mut self, n_rows: usize) -> Result<Tokenizer> {
        let n_tokens = self.n_vocab();
        let is_known = |id: u32| WITHOUT_ROW.iter().any(|(text, _)| text.as_bytes() == self.piece(id, true));
        if !(n_rows as u32..n_tokens as u32).all(is_known) {
            return Err(Error::file(format!(
                "the tokenizer has {n_tokens} tokens, the embedding {n_rows} rows: expected a row for each token"
            )));
        }
        self.specials = match self.specials {
            Found::Added(added) if n_tokens > n_rows => Found::Added(added.keep_below(n_rows)?),
            specials => specials,
        };
        Ok(self)
    }

    /// The text of tokens, as `llama_detokenize` gives it; what is not UTF-8 becomes `U+FFFD`. The space that
    /// [`encode`](Tokenizer::encode) puts in front is taken off the first token, and some vocabularies lose spaces before
    /// punctuation, which the pieces still have.
    pub fn decode(&self, ids: &[u32], show_special: bool) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.piece(id, show_special)).copied().collect();
        let starts_with_space = ids.first().is_some_and(|&id| self.piece(id, show_special).starts_with(b" "));
        let skip = usize::from(self.space != Space::Never && starts_with_space);
        let text = String::from_utf8_lossy(&bytes[skip..]).into_owned();
        if self.cleans_spaces { without_spaces_before_punctuation(text) } else { text }
    }

    /// The bytes that a token prints: nothing for special tokens unless they are to be shown, and nothing for ids beyond the
    /// vocabulary, which a padded output matrix may have.
    pub fn piece(&self, id: u32, show_special: bool) -> &[u8] {
        self.vocab.piece(id, show_special)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether a token ends a generation: the end of a text, of a turn or of a message.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The tokens for which [`is_end`](Tokenizer::is_end) holds.
    pub fn ends(&self) -> impl Iterator<Item = u32> {
        self.ends.iter().copied()
    }

    /// What the file says that is ignored.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many tokens there are.
    pub fn n_vocab(&self) -> usize {
        self.vocab.len()
    }
}

impl Space {
    /// Whether a piece of a normalized text gets a space in front.
    fn is_lacking(self, text: &str, is_first: bool) -> bool {
        let begins_so = text.starts_with([' ', '▁']);
        match self {
            Space::Never | Space::Always => false,
            Space::Lacking => !begins_so,
            Space::First => is_first && !begins_so,
        }
    }
}

/// What normalization makes of a text, but that spaces stay spaces.
fn normalized(text: &str, composes: bool, space: Space) -> Cow<'_, str> {
    let text = if composes { Cow::from(composed(text)) } else { Cow::from(text) };
    if space == Space::Always { format!(" {text}").into() } else { text }
}

fn composed(text: &str) -> String {
    let mut text = NormalizedString::from(text);
    text.nfc();
    text.get().to_owned()
}

/// Source: `llama_vocab::impl::detokenize`, which leaves `'t`, `'d` and `'ll` alone.
fn without_spaces_before_punctuation(text: String) -> String {
    let marks = ["?", "!", ".", ","].map(|mark| (format!(" {mark}"), mark));
    let apostrophes = [(" ' ".to_owned(), "'")];
    let short_words = ["'s", "'m", "'re", "'ve"].map(|word| (format!(" {word}"), word));
    let all = marks.into_iter().chain(apostrophes).chain(short_words);
    all.fold(text, |text, (from, to)| text.replace(&from, to))
}

#[cfg(test)]
mod tests;
