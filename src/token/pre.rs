//! Where byte-level BPE cuts a text before it joins letters: the pre-tokenizers by name, `tokenizer.ggml.pre`.
//!
//! The published patterns end in `\s+(?!\S)`: white space, but not the last of it before a word. A pattern here says
//! `\s+` and [`Pre::cut`] gives the last character back, which is the same and needs no look-ahead, so the time is
//! linear whatever the text. Where line ends have an alternative of their own, white space that ends in one came from it
//! and stays whole. Source: `llm_tokenizer_bpe` in `llama-vocab.cpp`.

use regex::Regex;

use crate::error::{Error, Result};

/// A row of the table: names that cut the same way.
struct Row {
    names: &'static [&'static str],
    /// Each cuts the pieces of the one before it.
    patterns: &'static [&'static str],
    /// Whether a piece that is a token is never joined from letters.
    whole_pieces: bool,
    /// Whether a text begins with the begin token where the file does not say.
    add_bos: bool,
}

/// The alternative for line ends, in the patterns that have one.
const LINES: &str = r"|\s*[\r\n]+|";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const DIGIT: &str = r"\p{N}";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";

const TABLE: [Row; 9] = [
    row(&["gpt-2", "phi-2", "olmo", "mpt", "exaone4", "jais", "trillion", "granite-docling"], &[GPT2]),
    row(&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"], &[DIGIT, GPT2]),
    Row {
        whole_pieces: true,
        add_bos: true,
        ..row(&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"], &[LLAMA3])
    },
    row(&["smaug-bpe", "dbrx"], &[LLAMA3]),
    row(&["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan"], &[QWEN2]),
    row(&["qwen35"], &[QWEN35]),
    row(&["gpt-4o", "llama4"], &[GPT4O]),
    Row { whole_pieces: true, add_bos: true, ..row(&["tekken"], &[TEKKEN]) },
    row(&["default"], &[PUNCTUATION, GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
];

const fn row(names: &'static [&'static str], patterns: &'static [&'static str]) -> Row {
    Row { names, patterns, whole_pieces: false, add_bos: false }
}

/// A pre-tokenizer.
#[derive(Debug)]
pub(super) struct Pre {
    patterns: Vec<Pattern>,
    /// Whether a piece that is a token is never joined from letters.
    pub(super) whole_pieces: bool,
    /// Whether a text begins with the begin token where the file does not say.
    pub(super) add_bos: bool,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    /// Whether [`LINES`] is an alternative.
    keeps_lines: bool,
}

impl Pre {
    /// The pre-tokenizer of this name.
    ///
    /// # Errors
    ///
    /// An unsupported error that lists the names there are.
    pub(super) fn named(name: &str) -> Result<Pre> {
        let row = TABLE.iter().find(|row| row.names.contains(&name)).ok_or_else(|| {
            let names = TABLE.iter().flat_map(|row| row.names).copied().collect::<Vec<_>>().join(", ");
            Error::unsupported(format!(
                "metadata \"tokenizer.ggml.pre\": pre-tokenizer {name:?} is not supported (supported: {names})"
            ))
        })?;
        let patterns = row.patterns.iter().map(|source| Pattern::new(source)).collect();
        Ok(Pre { patterns, whole_pieces: row.whole_pieces, add_bos: row.add_bos })
    }

    /// Cuts a text into pieces that no token reaches across; together they are the text.
    pub(super) fn cut<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = vec![text];
        for pattern in &self.patterns {
            pieces = pieces.into_iter().flat_map(|piece| pattern.cut(piece)).collect();
        }
        pieces
    }
}

impl Pattern {
    fn new(source: &str) -> Pattern {
        let regex = Regex::new(source).expect("a pattern of the table compiles");
        Pattern { regex, keeps_lines: source.contains(LINES) }
    }

    /// Matches and what lies between them.
    fn cut<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(found) = self.regex.find_at(text, at) {
            let end = self.give_back(text, found.start(), found.end());
            if at < found.start() {
                pieces.push(&text[at..found.start()]);
            }
            pieces.push(&text[found.start()..end]);
            at = end;
        }
        if at < text.len() {
            pieces.push(&text[at..]);
        }
        pieces
    }

    /// The end of a match, less the last character if it is white space before a word: what `\s+(?!\S)` leaves out.
    fn give_back(&self, text: &str, start: usize, end: usize) -> usize {
        let found = &text[start..end];
        let Some(last) = found.chars().next_back() else { return end };
        let is_line = self.keeps_lines && matches!(last, '\r' | '\n');
        let before = end - last.len_utf8();
        let is_whole = end == text.len() || before == start || is_line;
        if is_whole || !found.chars().all(char::is_whitespace) { end } else { before }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};
    use tokenizers::tokenizer::pattern::Pattern;
    use tokenizers::utils::SysRegex;

    use super::{Pre, TABLE};

    /// The first name of each row with its patterns as llama.cpp writes them.
    const PUBLISHED: [(&str, &[&str]); 9] = [
        ("gpt-2", &[GPT2]),
        ("smollm", &[r"\p{N}", GPT2]),
        ("llama-bpe", &[LLAMA3]),
        ("smaug-bpe", &[LLAMA3]),
        ("qwen2", &[QWEN2]),
        ("qwen35", &[QWEN35]),
        ("gpt-4o", &[GPT4O]),
        ("tekken", &[TEKKEN]),
        ("default", &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    ];
    const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
    const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const QWEN35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// Cuts with an engine that has look-ahead.
    fn published<'t>(patterns: &[SysRegex], text: &'t str) -> Vec<&'t str> {
        let mut pieces = vec![text];
        for regex in patterns {
            let cut = |piece: &'t str| {
                regex.find_matches(piece).unwrap().into_iter().map(move |((a, b), _)| &piece[a..b])
            };
            pieces = pieces.into_iter().flat_map(cut).collect();
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    #[test]
    fn the_table_and_the_published_patterns_have_the_same_rows() {
        assert_eq!(TABLE.map(|row| row.names[0]), PUBLISHED.map(|(name, _)| name));
    }

    #[test]
    fn every_row_cuts_as_its_published_patterns() {
        let rows = PUBLISHED.map(|(name, patterns)| {
            let patterns: Vec<SysRegex> = patterns.iter().map(|p| SysRegex::new(p).unwrap()).collect();
            (name, Pre::named(name).unwrap(), patterns)
        });
        proptest!(|(text in "[ \n\r\t\u{a0}\u{3000}'sSrReElLaAbzé中Ǆ́12½!/.,+]{0,40}")| {
            for (name, pre, patterns) in &rows {
                let mut got = pre.cut(&text);
                got.retain(|piece| !piece.is_empty());
                prop_assert_eq!(got, published(patterns, &text), "{}", name);
            }
        });
    }
}
