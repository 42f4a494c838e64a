//! A template's source as tokens, with the white space rules of `trim_blocks` and `lstrip_blocks`.

use super::fault::{Fault, Outcome};

/// A token and its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Text between tags.
    Data(String),
    /// `{{` and `}}`.
    PrintBegin,
    PrintEnd,
    /// `{%` and `%}`.
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

/// Longest first.
const OPERATORS: [&str; 27] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";", "",
];

/// The tokens of a template.
pub(super) fn tokens(source: &str) -> Outcome<Vec<Token>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, at: 0, line: 1, counted: 0, starts_line: true, tokens: Vec::new() };
    lexer.text()?;
    lexer.push(Kind::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: usize,
    /// Up to where lines are counted.
    counted: usize,
    /// Whether what is next begins a line.
    starts_line: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn push(&mut self, kind: Kind) {
        self.line += self.source[self.counted..self.at].matches('\n').count();
        self.counted = self.at;
        self.tokens.push(Token { line: self.line, kind });
    }

    fn fault(&mut self, text: impl AsRef<str>) -> Fault {
        let line = self.line + self.source[self.counted..self.at].matches('\n').count();
        Fault::syntax(text).at(line)
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        self.starts_line = self.source[..self.at].ends_with('\n');
    }

    fn skip_white_space(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// Text and tags up to the end.
    fn text(&mut self) -> Outcome<()> {
        while !self.rest().is_empty() {
            let rest = self.rest();
            let begins = |at: &usize| rest[at + 1..].starts_with(['{', '%', '#']);
            let Some(len) = rest.match_indices('{').map(|(at, _)| at).find(begins) else {
                self.data(rest);
                self.at += rest.len();
                break;
            };
            self.before(&rest[..len], &rest[len..]);
            self.skip(len);
            match &rest[len..len + 2] {
                "{#" => self.comment()?,
                "{{" => self.print()?,
                _ => self.block()?,
            }
        }
        Ok(())
    }

    fn data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Kind::Data(text.to_owned()));
        }
    }

    /// The text before a tag, without what the tag takes away.
    fn before(&mut self, text: &str, tag: &str) {
        self.data(stripped(text, tag, self.starts_line));
    }

    fn comment(&mut self) -> Outcome<()> {
        if self.rest().len() == 2 {
            self.skip(2);
            return Ok(());
        }
        let Some(len) = self.rest()[2..].find("#}") else {
            return Err(self.fault("Missing end of comment tag"));
        };
        let inner = &self.rest()[2..2 + len];
        self.skip(2 + len + 2);
        self.after_block(inner.chars().last().filter(|_| !inner.is_empty()));
        Ok(())
    }

    /// White space after a block or a comment that ends with such a sign.
    fn after_block(&mut self, sign: Option<char>) {
        match sign {
            Some('-') => self.skip_white_space(),
            Some('+') => {}
            _ if self.rest().starts_with('\n') => self.skip(1),
            _ => {}
        }
    }

    fn print(&mut self) -> Outcome<()> {
        self.push(Kind::PrintBegin);
        self.skip(2);
        self.sign();
        self.inside("}}")?;
        self.push(Kind::PrintEnd);
        let trims = self.rest().starts_with('-');
        self.skip(if trims { 3 } else { 2 });
        if trims {
            self.skip_white_space();
        }
        Ok(())
    }

    fn block(&mut self) -> Outcome<()> {
        if let Some(len) = raw_begin(self.rest()) {
            return self.raw(len);
        }
        self.push(Kind::BlockBegin);
        self.skip(2);
        self.sign();
        self.inside("%}")?;
        self.push(Kind::BlockEnd);
        let sign = self.rest().chars().next().filter(|c| "+-".contains(*c));
        self.skip(2 + usize::from(sign.is_some()));
        self.after_block(sign);
        Ok(())
    }

    fn sign(&mut self) {
        if self.rest().starts_with(['-', '+']) {
            self.skip(1);
        }
    }

    /// `{% raw %}`, which is `len` bytes long, to `{% endraw %}`.
    fn raw(&mut self, len: usize) -> Outcome<()> {
        let trims = self.rest()[..len].ends_with("-%}");
        self.skip(len);
        if trims {
            self.skip_white_space();
        }
        let rest = self.rest();
        let ends = rest.match_indices("{%").find_map(|(at, _)| Some((at, raw_end(&rest[at..])?)));
        let Some((at, len)) = ends else { return Err(self.fault("Missing end of raw directive")) };
        self.data(stripped(&rest[..at], &rest[at..], self.starts_line));
        self.skip(at + len);
        let tag = rest[at..at + len].trim_end_matches("%}");
        self.after_block(tag.chars().last());
        Ok(())
    }

    /// Tokens up to the tag's end, which is left.
    fn inside(&mut self, end: &str) -> Outcome<()> {
        let mut open: Vec<&'static str> = Vec::new();
        loop {
            self.skip_white_space();
            let rest = self.rest();
            if rest.is_empty() {
                return Err(self.fault("unexpected end of template"));
            }
            let sign = usize::from(rest.starts_with('-') || (end == "%}" && rest.starts_with('+')));
            if open.is_empty() && rest[sign..].starts_with(end) {
                return Ok(());
            }
            self.token(&mut open)?;
        }
    }

    fn token(&mut self, open: &mut Vec<&'static str>) -> Outcome<()> {
        let rest = self.rest();
        let first = rest.chars().next().expect("more than nothing");
        if let Some((kind, len)) = number(rest) {
            self.push(kind);
            self.skip(len);
        } else if is_word(first) && !first.is_numeric() {
            let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            self.push(Kind::Name(rest[..len].to_owned()));
            self.skip(len);
        } else if first == '\'' || first == '"' {
            let Some(len) = string_len(rest, first) else {
                return Err(self.fault("a string has no end"));
            };
            let text = unescaped(&rest[1..len - 1]).map_err(|text| self.fault(text))?;
            self.push(Kind::Str(text));
            self.skip(len);
        } else {
            self.operator(first, open)?;
        }
        Ok(())
    }

    fn operator(&mut self, first: char, open: &mut Vec<&'static str>) -> Outcome<()> {
        let rest = self.rest();
        let found = OPERATORS.into_iter().find(|it| rest.starts_with(it)).filter(|it| !it.is_empty());
        let Some(operator) = found else {
            return Err(self.fault(format!("unexpected char {first:?}")));
        };
        match operator {
            "(" => open.push(")"),
            "[" => open.push("]"),
            "{" => open.push("}"),
            ")" | "]" | "}" => match open.pop() {
                Some(expected) if expected == operator => {}
                Some(expected) => {
                    return Err(self.fault(format!("unexpected '{operator}', expected '{expected}'")));
                }
                None => return Err(self.fault(format!("unexpected '{operator}'"))),
            },
            _ => {}
        }
        self.push(Kind::Operator(operator));
        self.skip(operator.len());
        Ok(())
    }
}

/// The text before a tag, without what the tag takes away: a sign of its own, or the indentation of a block that begins a line.
fn stripped<'t>(text: &'t str, tag: &str, starts_line: bool) -> &'t str {
    match tag[2..].chars().next() {
        Some('-') => text.trim_end_matches(is_space),
        Some('+') => text,
        _ if tag.starts_with("{{") => text,
        _ => {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let is_indentation = (line > 0 || starts_line) && text[line..].chars().all(is_space);
            if is_indentation { &text[..line] } else { text }
        }
    }
}

/// What Python's `\s` matches.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length of a tag with this one word, of which none is `{% raw %}`.
fn tag_of(rest: &str, word: &str, ends: [&str; 3]) -> Option<usize> {
    let inner = &rest[2..];
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start_matches(is_space);
    let inner = inner.strip_prefix(word)?.trim_start_matches(is_space);
    let end = ends.into_iter().find(|end| inner.starts_with(end))?;
    Some(rest.len() - inner.len() + end.len())
}

fn raw_begin(rest: &str) -> Option<usize> {
    tag_of(rest, "raw", ["-%}", "%}", "%}"])
}

fn raw_end(rest: &str) -> Option<usize> {
    tag_of(rest, "endraw", ["+%}", "-%}", "%}"])
}

/// A number at the start of a text, and its length.
fn number(rest: &str) -> Option<(Kind, usize)> {
    let bytes = rest.as_bytes();
    if !bytes.first()?.is_ascii_digit() {
        return None;
    }
    let digits = |from: usize, radix: u32| {
        let mut at = from;
        let digit = |at: usize| bytes.get(at).is_some_and(|b| char::from(*b).is_digit(radix));
        while digit(at) || (bytes.get(at) == Some(&b'_') && digit(at + 1)) {
            at += 1;
        }
        at
    };
    for (prefix, radix) in [("0b", 2), ("0o", 8), ("0x", 16)] {
        let end = digits(2, radix);
        if rest.to_ascii_lowercase().get(..2) == Some(prefix) && end > 2 {
            let value = i128::from_str_radix(&rest[2..end].replace('_', ""), radix).ok()?;
            return Some((Kind::Int(value), end));
        }
    }
    let whole = digits(0, 10);
    let mut end = whole;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1, 10);
    }
    if bytes.get(end).is_some_and(|b| b.eq_ignore_ascii_case(&b'e')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1 + sign, 10);
        }
    }
    let text = rest[..end].replace('_', "");
    if end > whole {
        return Some((Kind::Float(text.parse().ok()?), end));
    }
    // A whole number beyond 128 bits is a float's size; nothing in Jinja counts that far.
    let kind = text.parse().map_or_else(|_| Kind::Float(text.parse().unwrap_or(f64::INFINITY)), Kind::Int);
    Some((kind, end))
}

/// The length of a string with its quotes.
fn string_len(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Python's escapes in a string.
fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let c = rest.chars().next().ok_or("a string ends with a backslash")?;
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {}
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'v' => out.push('\x0b'),
            '\\' | '\'' | '"' => out.push(c),
            'x' => rest = coded(rest, 2, &mut out)?,
            'u' => rest = coded(rest, 4, &mut out)?,
            'U' => rest = coded(rest, 8, &mut out)?,
            '0'..='7' => {
                let len = rest.chars().take(2).take_while(|c| c.is_digit(8)).count();
                let code = u32::from_str_radix(&format!("{c}{}", &rest[..len]), 8);
                out.extend(code.ok().and_then(char::from_u32));
                rest = &rest[len..];
            }
            c => out.extend(['\\', c]),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A character by its code of so many hexadecimal digits; two halves of a pair are one character.
fn coded<'t>(rest: &'t str, len: usize, out: &mut String) -> Result<&'t str, String> {
    let wrong = || format!("truncated escape of {len} hexadecimal digits");
    let code = |rest: &str| u32::from_str_radix(rest.get(..len)?, 16).ok();
    let high = code(rest).ok_or_else(wrong)?;
    let after = &rest[len..];
    if let Some(c) = char::from_u32(high) {
        out.push(c);
        return Ok(after);
    }
    let low = after.strip_prefix("\\u").and_then(code).filter(|low| (0xdc00..0xe000).contains(low));
    let Some(low) = low.filter(|_| high < 0xdc00) else {
        return Err("a surrogate without its other half".into());
    };
    out.extend(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
    Ok(&after[2 + len..])
}
