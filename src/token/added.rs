//! Finds the added tokens of a repository in a text: from left to right, of those that begin at one place the longest.
//!
//! Source: `AddedVocabulary` of the `tokenizers` library. Unlike there, the time is linear whatever the tokens take along.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::Regex;

use super::special::{MAX_BYTES, Part};
use crate::error::{Error, Result};

/// A token that is found before all others, and how.
#[derive(Clone, Debug)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) text: String,
    /// Whether it is found only when special tokens are asked for.
    pub(super) special: bool,
    /// Whether no letter or digit may stand beside it.
    pub(super) single_word: bool,
    /// Whether it takes the white space before it along.
    pub(super) lstrip: bool,
    /// Whether it takes the white space after it along.
    pub(super) rstrip: bool,
    /// Whether it is found in the normalized text, and not in the text as it is.
    pub(super) normalized: bool,
}

impl AddedToken {
    /// A special token that is found as it is.
    pub(super) fn special(id: u32, text: &str) -> AddedToken {
        let (single_word, lstrip, rstrip, normalized) = (false, false, false, false);
        AddedToken { id, text: text.to_owned(), special: true, single_word, lstrip, rstrip, normalized }
    }
}

/// The added tokens of a repository.
#[derive(Debug)]
pub(super) struct AddedTokens {
    /// Those of the text as it is.
    pub(super) raw: Finder,
    /// Those of the normalized text.
    pub(super) normalized: Finder,
    /// Whether normalization writes `▁` for a space.
    pub(super) replaces_spaces: bool,
}

/// Tokens that are found together.
#[derive(Debug)]
pub(super) struct Finder {
    tokens: Vec<AddedToken>,
    finder: AhoCorasick,
}

impl AddedTokens {
    /// `normalize` does to a token's text what is done to a text.
    pub(super) fn new(
        tokens: Vec<AddedToken>,
        normalize: impl Fn(&str) -> String,
        replaces_spaces: bool,
    ) -> Result<AddedTokens> {
        let bytes: usize = tokens.iter().map(|token| token.text.len()).sum();
        if bytes > MAX_BYTES {
            let text = format!("added tokens of {bytes} bytes in all: expected at most {MAX_BYTES}");
            return Err(Error::file(text));
        }
        let tokens = tokens.into_iter().filter(|token| !token.text.is_empty());
        let (mut normalized, raw): (Vec<_>, Vec<_>) = tokens.partition(|token| token.normalized);
        normalized.iter_mut().for_each(|token| token.text = normalize(&token.text));
        Ok(AddedTokens { raw: Finder::new(raw)?, normalized: Finder::new(normalized)?, replaces_spaces })
    }

    /// Leaves out tokens whose ids are not below `n`.
    pub(super) fn keep_below(self, n: usize) -> Result<AddedTokens> {
        let below = |finder: Finder| {
            let tokens = finder.tokens.into_iter().filter(|token| (token.id as usize) < n);
            Finder::new(tokens.collect())
        };
        Ok(AddedTokens { raw: below(self.raw)?, normalized: below(self.normalized)?, ..self })
    }
}

impl Finder {
    fn new(tokens: Vec<AddedToken>) -> Result<Finder> {
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(tokens.iter().map(|token| &token.text))
            .map_err(|error| Error::file(format!("added tokens: {error}")))?;
        Ok(Finder { tokens, finder })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Cuts a text; special tokens are found only if `parse_special`.
    pub(super) fn cut<'t>(&self, text: &'t str, parse_special: bool) -> Vec<Part<'t>> {
        // Where what is cut ends, and where the white space ends that a token took along last.
        let (mut parts, mut done, mut spaces_end) = (Vec::new(), 0, 0);
        for found in self.finder.find_iter(text) {
            let (mut start, mut end) = (found.start(), found.end());
            let token = &self.tokens[found.pattern().as_usize()];
            if (token.special && !parse_special) || (token.single_word && !stands_alone(text, start, end)) {
                continue;
            }
            if token.lstrip {
                let before = &text[done.min(start)..start];
                start -= before.len() - before.trim_end().len();
            }
            if token.rstrip {
                if end >= spaces_end {
                    spaces_end = text.len() - text[end..].trim_start().len();
                }
                end = spaces_end;
            }
            if done < start {
                parts.push(Part::Text(&text[done..start]));
            }
            parts.push(Part::Token(token.id));
            done = end;
        }
        if done < text.len() {
            parts.push(Part::Text(&text[done..]));
        }
        parts
    }
}

/// Whether no character of a word stands before or after a part of a text.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\w$").expect("a sound pattern"));
    let is_word = |character: char| WORD.is_match(character.encode_utf8(&mut [0; 4]));
    let (before, after) = (text[..start].chars().next_back(), text[end..].chars().next());
    !before.is_some_and(is_word) && !after.is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::{AddedToken, AddedTokens};
    use crate::token::special::Part;

    const PLAIN: AddedToken = AddedToken {
        id: 0,
        text: String::new(),
        special: false,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
    };

    /// The parts of a text as strings: tokens by their ids.
    fn cut(tokens: Vec<AddedToken>, text: &str, parse_special: bool) -> Vec<String> {
        let added = AddedTokens::new(tokens, str::to_owned, false).unwrap();
        let told = |part| match part {
            Part::Text(text) => text.to_owned(),
            Part::Token(id) => format!("[{id}]"),
        };
        added.raw.cut(text, parse_special).into_iter().map(told).collect()
    }

    fn token(id: u32, text: &str) -> AddedToken {
        AddedToken { id, text: text.to_owned(), ..PLAIN }
    }

    #[test]
    fn the_leftmost_token_is_taken_and_of_those_the_longest() {
        let tokens = vec![token(1, "ab"), token(2, "abc"), token(3, "bcde")];
        assert_eq!(cut(tokens, "xabcdeab", true), ["x", "[2]", "de", "[1]"]);
    }

    #[test]
    fn white_space_goes_along_where_a_token_strips_it() {
        let strips = AddedToken { lstrip: true, rstrip: true, ..token(1, "<m>") };
        assert_eq!(
            cut(vec![strips, token(2, "<n>")], "a \n<m>\t <m> b <n> ", true),
            ["a", "[1]", "[1]", "b ", "[2]", " "]
        );
    }

    #[test]
    fn a_single_word_is_not_found_inside_another() {
        let word = AddedToken { single_word: true, ..token(1, "cat") };
        assert_eq!(cut(vec![word], "cat cats écat_ -cat", true), ["[1]", " cats écat_ -", "[1]"]);
    }

    #[test]
    fn special_tokens_are_found_only_when_asked_for() {
        let special = AddedToken { special: true, ..token(1, "<s>") };
        assert_eq!(cut(vec![special.clone()], "a<s>", false), ["a<s>"]);
        assert_eq!(cut(vec![special], "a<s>", true), ["a", "[1]"]);
    }

    #[test]
    fn a_million_spaces_that_strip_take_no_more_than_a_moment() {
        let space = AddedToken { lstrip: true, rstrip: true, ..token(1, " ") };
        assert_eq!(cut(vec![space], &" ".repeat(1 << 20), true).len(), 1 << 20);
    }
}
