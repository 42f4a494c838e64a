//! Where byte-level BPE cuts a text before it joins letters: the pre-tokenizers by name, `tokenizer.ggml.pre`.
//!
//! The published patterns end in `\s+(?!\S)`: white space, but not the last of it before a word. A pattern here says
//! `\s+` and [`Pre::cut`] gives the last character back, which is the same and needs no look-ahead, so the time is
//! linear whatever the text. Where line ends have an alternative of their own, white space that ends in one came from it
//! and stays whole. Source: `llm_tokenizer_bpe` in `llama-vocab.cpp`.

use regex::{Match, Regex, RegexBuilder};

use crate::error::{Error, Result};

/// Bytes of memory that a compiled pattern of a file takes at most.
const MAX_COMPILED: usize = 4 << 20;

/// A row of the table: names that cut the same way.
struct Row {
    names: &'static [&'static str],
    /// Each cuts the pieces of the one before it.
    patterns: &'static [&'static str],
    /// Whether a piece that is a token is never joined from letters.
    whole_pieces: bool,
    /// Whether a text begins with the begin token where the file does not say.
    add_bos: bool,
    /// Whether a decoded text loses its spaces before punctuation.
    cleans_spaces: bool,
}

/// How the alternative for line ends starts, in the patterns that have one.
const LINES: &str = r"|\s*[\r\n]";
/// Stands for `(?=(\d{3})+(?!\d))`, which cuts digits by threes from the right.
const THREES: &str = "[0-9]{3,}";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const DIGIT: &str = r"\p{N}";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";

const BAILING: &str = r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+";
const SEED_CODER: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+";
const KIMI: &str = r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const CJK: &str = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
const KANA_HAN: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"##;
/// Letters of the alphabets that have two cases.
const CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ\x{10400}-\x{1044F}𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
/// Without U+3000, which is white space to llama.cpp before the class sees it.
const DEEPSEEK_MARKS: &str = r"\s?[!-/:-~！-／：-～‘-‟\x{3001}-。]+";

const TABLE: [Row; 24] = [
    row(
        &[
            "gpt-2",
            "phi-2",
            "olmo",
            "mpt",
            "exaone4",
            "jais",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
        ],
        &[GPT2],
    ),
    Row { cleans_spaces: false, ..row(&["trillion", "granite-docling"], &[GPT2]) },
    row(&["starcoder", "refact", "codeshell", "exaone", "minerva-7b"], &[DIGIT, GPT2]),
    Row { cleans_spaces: false, ..row(&["smollm", "command-r"], &[DIGIT, GPT2]) },
    Row {
        whole_pieces: true,
        add_bos: true,
        ..row(
            &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
            &[LLAMA3],
        )
    },
    row(&["smaug-bpe", "dbrx", "glm4", "chatglm-bpe"], &[LLAMA3]),
    Row {
        cleans_spaces: false,
        ..row(&["qwen2", "deepseek-r1-qwen", "kormo", "hunyuan", "grok-2"], &[QWEN2])
    },
    row(&["stablelm2", "megrez"], &[QWEN2]),
    Row { cleans_spaces: false, ..row(&["qwen35"], &[QWEN35]) },
    Row { cleans_spaces: false, ..row(&["gpt-4o", "llama4", "minimax-m2"], &[GPT4O]) },
    Row { whole_pieces: true, add_bos: true, cleans_spaces: false, ..row(&["tekken"], &[TEKKEN]) },
    Row {
        cleans_spaces: false,
        ..row(&["deepseek-llm"], &["[\r\n]", CASED, DEEPSEEK_MARKS, r"\s+$", CJK, r"\p{N}+"])
    },
    Row {
        cleans_spaces: false,
        ..row(&["deepseek-coder"], &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, DIGIT])
    },
    Row {
        cleans_spaces: false,
        ..row(&["deepseek-v3", "hunyuan-dense"], &[r"\p{N}{1,3}", KANA_HAN, DEEPSEEK3])
    },
    row(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    row(&["bloom", "gpt3-finnish"], &[BLOOM]),
    Row { cleans_spaces: false, ..row(&["poro-chat"], &[BLOOM]) },
    Row { cleans_spaces: false, ..row(&["viking"], &[BLOOM, DIGIT]) },
    Row {
        add_bos: true,
        cleans_spaces: false,
        ..row(
            &["chameleon"],
            &[
                "<sentinel:[0-9]+>",
                "IMGIMG[A-I]{1,4}Z",
                "[\t\n]|    |  ",
                DIGIT,
                r"[\p{P}!-/:-@\[-`{-~]",
                GPT2,
            ],
        )
    },
    Row { cleans_spaces: false, ..row(&["superbpe"], &[r"\p{N}+", THREES]) },
    Row { cleans_spaces: false, ..row(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]) },
    Row { cleans_spaces: false, ..row(&["seed-coder"], &[SEED_CODER]) },
    Row { cleans_spaces: false, ..row(&["kimi-k2"], &[KIMI]) },
    row(&["default"], &[PUNCTUATION, GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
];

const fn row(names: &'static [&'static str], patterns: &'static [&'static str]) -> Row {
    Row { names, patterns, whole_pieces: false, add_bos: false, cleans_spaces: true }
}

/// A pre-tokenizer.
#[derive(Debug)]
pub(super) struct Pre {
    patterns: Vec<Pattern>,
    /// Whether a piece that is a token is never joined from letters.
    pub(super) whole_pieces: bool,
    /// Whether a text begins with the begin token where the file does not say.
    pub(super) add_bos: bool,
    /// Whether a decoded text loses its spaces before punctuation.
    pub(super) cleans_spaces: bool,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    /// Whether white space before a word leaves its last character to the word.
    gives_back: bool,
    /// Whether [`LINES`] is an alternative.
    keeps_lines: bool,
    /// Whether a match is cut again, by threes from the right.
    by_threes: bool,
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
        let Row { whole_pieces, add_bos, cleans_spaces, .. } = *row;
        Ok(Pre { patterns, whole_pieces, add_bos, cleans_spaces })
    }

    /// The pre-tokenizer of patterns that a file brings, as they are published.
    ///
    /// # Errors
    ///
    /// An unsupported error for a pattern that cannot be matched in linear time.
    pub(super) fn of_patterns(patterns: &[String], whole_pieces: bool) -> Result<Pre> {
        let patterns = patterns.iter().map(|source| Pattern::published(source)).collect::<Result<_>>()?;
        Ok(Pre { patterns, whole_pieces, add_bos: false, cleans_spaces: false })
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
        Pattern::of(regex, source)
    }

    fn of(regex: Regex, source: &str) -> Pattern {
        Pattern {
            regex,
            gives_back: source.ends_with(r"|\s+"),
            keeps_lines: source.contains(LINES),
            by_threes: source == THREES,
        }
    }

    /// A pattern with look-ahead only where [`Pattern::cut`] stands in for it. Possessive `?+` and `++` are common in them, before what
    /// the repeated class cannot match, where they mean what `?` and `+` do.
    fn published(source: &str) -> Result<Pattern> {
        let known = source.replace(r"\s+(?!\S)|\s+", r"\s+").replace(r"\s+(?!\S)", r"\s+");
        let known = known.replace("?+", "?").replace("++", "+");
        let threes = r"(?=(\d{3})+(?!\d))";
        let known = if known == threes { THREES } else { &known };
        match RegexBuilder::new(known).size_limit(MAX_COMPILED).build() {
            Ok(regex) => Ok(Pattern::of(regex, known)),
            Err(e) => Err(Error::unsupported(format!("pattern {source:?} is not supported: {e}"))),
        }
    }

    /// Matches and what lies between them; a match of nothing cuts, too.
    fn cut<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = Vec::new();
        let (mut at, mut from) = (0, 0);
        while let Some(found) = self.regex.find_at(text, from) {
            let (start, end) = self.ends(text, found);
            pieces.extend([&text[at..start], &text[start..end]]);
            at = end;
            let Some(next) = text[end..].chars().next() else { break };
            from = if start < end { end } else { end + next.len_utf8() };
        }
        pieces.push(&text[at..]);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// Where a match begins and ends. A number is cut by threes before each digit that a multiple of three is left from: there nothing is
    /// matched, and what follows the number stays with its last digits.
    fn ends(&self, text: &str, found: Match) -> (usize, usize) {
        let (start, end) = (found.start(), found.end());
        if self.by_threes {
            let first = start + (end - start) % 3;
            return (first, first);
        }
        (start, if self.gives_back { self.give_back(text, start, end) } else { end })
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

    /// The first name of each row with its patterns as they are published.
    const PUBLISHED: [(&str, &[&str]); 24] = [
        ("gpt-2", &[GPT2]),
        ("trillion", &[GPT2]),
        ("starcoder", &[r"\p{N}", GPT2]),
        ("smollm", &[r"\p{N}", GPT2]),
        ("llama-bpe", &[LLAMA3]),
        ("smaug-bpe", &[LLAMA3]),
        ("qwen2", &[QWEN2]),
        ("stablelm2", &[QWEN2]),
        ("qwen35", &[QWEN35]),
        ("gpt-4o", &[GPT4O]),
        ("tekken", &[TEKKEN]),
        ("deepseek-llm", &["[\r\n]", super::CASED, super::DEEPSEEK_MARKS, r"\s+$", super::CJK, r"\p{N}+"]),
        ("deepseek-coder", &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", super::CJK, r"\p{N}"]),
        ("deepseek-v3", &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK3]),
        ("falcon", &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
        ("bloom", &[super::BLOOM]),
        ("poro-chat", &[super::BLOOM]),
        ("viking", &[super::BLOOM, r"\p{N}"]),
        (
            "chameleon",
            &[
                "<sentinel:[0-9]+>",
                "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                "([\t\n]|    |  )",
                r"\p{N}",
                r"[\p{P}!-/:-@\[-`{-~]",
                GPT2,
            ],
        ),
        ("superbpe", &[r"\p{N}+", r"(?=([0-9]{3})+(?![0-9]))"]),
        ("bailingmoe", &[BAILING]),
        ("seed-coder", &[SEED_CODER]),
        ("kimi-k2", &[KIMI]),
        ("default", &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    ];
    const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
    const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
    const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
    const KIMI: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
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
    fn every_name_stands_once() {
        let mut names: Vec<&str> = TABLE.iter().flat_map(|row| row.names).copied().collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
    }

    /// Splits worked out by hand from the definitions.
    #[test]
    fn known_texts_are_cut_as_their_definitions_say() {
        for (name, text, want) in [
            ("gpt-2", "I'll  go 123x", &["I", "'ll", " ", " go", " 123", "x"][..]),
            ("starcoder", "a 12", &["a", " ", "1", "2"]),
            ("llama-bpe", "I'LL\n\n  go 12345", &["I", "'LL", "\n\n", " ", " go", " ", "123", "45"]),
            ("qwen2", "a 12\tb", &["a", " ", "1", "2", "\tb"]),
            ("gpt-4o", "HelloWorld's a/\nb", &["Hello", "World's", " a", "/\n", "b"]),
            ("tekken", "HelloWorld's", &["Hello", "World", "'s"]),
            ("deepseek-llm", "a b 中12\n", &["a", " b", " ", "中", "12", "\n"]),
            ("deepseek-coder", "a, b12", &["a", ",", " b", "1", "2"]),
            ("deepseek-v3", "x1234 .foo(かな)", &["x", "123", "4", " .", "foo", "(", "かな", ")"]),
            ("falcon", "`a` 1234", &["`", "a", "`", " ", "123", "4"]),
            ("bloom", "Hi, you. x", &["Hi", ",", " you", ".", " x"]),
            ("viking", "a1 2", &["a", "1", " ", "2"]),
            ("chameleon", "a    b1", &["a", "    ", "b", "1"]),
            ("superbpe", "a b1234567 12", &["a b", "1", "234", "567", " ", "12"]),
            ("superbpe", "1111½", &["1", "111½"]),
            ("bailingmoe", "a \n\n b", &["a", " \n\n", " b"]),
            ("seed-coder", "a!\n12", &["a", "!", "\n", "1", "2"]),
            ("kimi-k2", "ab中文cd", &["ab", "中文", "cd"]),
            ("default", "a, 1234", &["a", ",", " ", "123", "4"]),
        ] {
            assert_eq!(Pre::named(name).unwrap().cut(text), want, "{name} {text:?}");
        }
    }

    /// A file's pattern may match nothing at all: there it cuts, and the search goes on.
    #[test]
    fn a_match_of_nothing_cuts_as_in_the_tokenizers_library() {
        for source in [r"\p{N}{0,2}", r"a*", r"\b", r"x?", r"\s*$"] {
            let (ours, theirs) =
                (Pre::of_patterns(&[source.to_owned()], false).unwrap(), SysRegex::new(source).unwrap());
            proptest!(|(text in "[ ax1é中]{0,12}")| {
                prop_assert_eq!(ours.cut(&text), published(std::slice::from_ref(&theirs), &text), "{}", source);
            });
        }
    }

    #[test]
    fn every_row_cuts_as_its_published_patterns() {
        let rows = PUBLISHED.map(|(name, patterns)| {
            let patterns: Vec<SysRegex> = patterns.iter().map(|p| SysRegex::new(p).unwrap()).collect();
            (name, Pre::named(name).unwrap(), patterns)
        });
        proptest!(|(text in "[ \n\r\t\u{a0}\u{3000}'sSrReElLaAbzé中かǅ́12345½!/.,+`]{0,40}")| {
            for (name, pre, patterns) in &rows {
                prop_assert_eq!(pre.cut(&text), published(patterns, &text), "{}", name);
            }
        });
    }
}
