//! The methods of Python's `str`.

use super::args::{Args, count, int, text};
use super::fault::{Fault, Outcome};
use super::formatting::{Member, format_method};
use super::meter::Meter;
use super::print::is_printable;
use super::value::{ITEM, Value};

/// Names of all methods that are here.
pub(super) const METHODS: [&str; 45] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// `receiver.method(args)`; `member` reads what `format` asks for.
pub(super) fn call(
    meter: &Meter,
    receiver: &str,
    method: &str,
    args: Args,
    member: Member<'_>,
) -> Outcome<Value> {
    meter.make(receiver.len())?;
    match method {
        "format" | "format_map" => formatted(meter, receiver, method, args, member),
        "join" => joined(meter, receiver, args),
        "replace" => replaced(meter, receiver, args),
        "split" | "rsplit" => split(meter, receiver, method, args),
        "splitlines" => split_lines(meter, receiver, args),
        "partition" | "rpartition" => partition(receiver, method, args),
        "strip" | "lstrip" | "rstrip" => stripped(receiver, method, args),
        "startswith" | "endswith" => with_ends(receiver, method, args),
        "removeprefix" | "removesuffix" => removed(receiver, method, args),
        "center" | "ljust" | "rjust" | "zfill" | "expandtabs" => filled(meter, receiver, method, args),
        "count" | "find" | "rfind" | "index" | "rindex" => found(receiver, method, args),
        "translate" => translated(receiver, args),
        _ => {
            args.none(method)?;
            Ok(changed(receiver, method).map_or_else(|| Value::Bool(is(receiver, method)), Value::from))
        }
    }
}

/// Methods without arguments that give a text.
fn changed(receiver: &str, method: &str) -> Option<String> {
    Some(match method {
        "upper" => receiver.to_uppercase(),
        "lower" => receiver.to_lowercase(),
        "casefold" => receiver.to_lowercase().replace('ß', "ss").replace('ς', "σ"),
        "capitalize" => capitalized(receiver),
        "title" => titled(receiver),
        "swapcase" => receiver
            .chars()
            .flat_map(|c| match c.is_uppercase() {
                true => c.to_lowercase().collect::<Vec<char>>(),
                false => c.to_uppercase().collect(),
            })
            .collect(),
        _ => return None,
    })
}

pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| {
        let first: String = c.to_uppercase().collect();
        first + &chars.as_str().to_lowercase()
    })
}

fn titled(text: &str) -> String {
    let mut within = false;
    let mut out = String::new();
    for c in text.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        within = c.is_uppercase() || c.is_lowercase();
    }
    out
}

/// Methods without arguments that ask something of every character.
fn is(text: &str, method: &str) -> bool {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let has_case = |c: char| c.is_uppercase() || c.is_lowercase();
    match method {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(|c| c.is_ascii_digit() || (c.is_numeric() && is_decimal(c))),
        "isdigit" => all(|c| c.is_ascii_digit() || "⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉".contains(c) || is_decimal(c)),
        "isidentifier" => {
            let mut chars = text.chars();
            chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
                && chars.all(|c| c == '_' || c.is_alphanumeric())
        }
        "islower" => text.chars().any(has_case) && !text.chars().any(char::is_uppercase),
        "isupper" => text.chars().any(has_case) && !text.chars().any(char::is_lowercase),
        "isnumeric" => all(char::is_numeric),
        "isprintable" => text.chars().all(is_printable),
        "isspace" => all(is_space),
        _ => !text.is_empty() && text.chars().any(has_case) && is_title(text),
    }
}

fn is_title(text: &str) -> bool {
    let mut within = false;
    text.chars().all(|c| {
        let fits = match (c.is_uppercase(), c.is_lowercase()) {
            (true, _) => !within,
            (_, true) => within,
            _ => true,
        };
        within = c.is_uppercase() || c.is_lowercase();
        fits
    })
}

/// Digits of scripts that count from 0 to 9 in a row.
fn is_decimal(c: char) -> bool {
    const ZEROS: [u32; 20] = [
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50,
        0xed0, 0xf20, 0x1040, 0x17e0, 0x1810, 0xff10,
    ];
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&(c as u32)))
}

/// What Python strips.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn stripped(receiver: &str, method: &str, args: Args) -> Outcome<Value> {
    let [chars] = args.bind(method, [""], 0)?;
    let chars = match &chars {
        None | Some(Value::None) => None,
        Some(value) => Some(text(value, "strip arg")?),
    };
    let taken = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let mut rest = receiver;
    if method != "rstrip" {
        rest = rest.trim_start_matches(taken);
    }
    if method != "lstrip" {
        rest = rest.trim_end_matches(taken);
    }
    Ok(Value::from(rest))
}

/// `text.strip(chars)`, for the filter `trim`.
pub(super) fn strip(receiver: &str, chars: Option<Value>) -> Outcome<Value> {
    stripped(receiver, "strip", Args { plain: Vec::from_iter(chars), named: Vec::new() })
}

fn split(meter: &Meter, receiver: &str, method: &str, args: Args) -> Outcome<Value> {
    let [separator, most] = args.bind(method, ["sep", "maxsplit"], 0)?;
    let most = most.map_or(Ok(-1), |most| int(&most))?;
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    let parts = match &separator {
        None | Some(Value::None) => words(receiver, method == "rsplit", most),
        Some(value) => {
            let separator = text(value, "separator")?;
            if separator.is_empty() {
                return Err(Fault::value("empty separator"));
            }
            let n = receiver.matches(separator).count().min(most);
            meter.make(ITEM * (n + 1))?;
            match method {
                "split" => receiver.splitn(n + 1, separator).map(str::to_owned).collect(),
                _ => {
                    let mut parts: Vec<String> =
                        receiver.rsplitn(n + 1, separator).map(str::to_owned).collect();
                    parts.reverse();
                    parts
                }
            }
        }
    };
    meter.make(ITEM * parts.len())?;
    Ok(Value::list(parts.into_iter().map(Value::from).collect()))
}

/// Words between white space; what is beyond the most splits stays whole.
fn words(text: &str, from_the_right: bool, most: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest =
        if from_the_right { text.trim_end_matches(is_space) } else { text.trim_start_matches(is_space) };
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest.to_owned());
            break;
        }
        if from_the_right {
            let at =
                rest.char_indices().rev().find(|(_, c)| is_space(*c)).map_or(0, |(at, c)| at + c.len_utf8());
            parts.push(rest[at..].to_owned());
            rest = rest[..at].trim_end_matches(is_space);
        } else {
            let end = rest.find(is_space).unwrap_or(rest.len());
            parts.push(rest[..end].to_owned());
            rest = rest[end..].trim_start_matches(is_space);
        }
    }
    if from_the_right {
        parts.reverse();
    }
    parts
}

fn split_lines(meter: &Meter, receiver: &str, args: Args) -> Outcome<Value> {
    let [keeps] = args.bind("splitlines", ["keepends"], 0)?;
    let lines = lines(receiver, keeps.is_some_and(|it| it.is_true()));
    meter.make(ITEM * lines.len())?;
    Ok(Value::list(lines.into_iter().map(Value::from).collect()))
}

/// Python's `splitlines`.
pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    let breaks = ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}'];
    while !rest.is_empty() {
        let end = rest.find(breaks).unwrap_or(rest.len());
        let mark = match &rest[end..] {
            after if after.starts_with("\r\n") => 2,
            after => after.chars().next().map_or(0, char::len_utf8),
        };
        lines.push(&rest[..if keeps_ends { end + mark } else { end }]);
        rest = &rest[end + mark..];
    }
    lines
}

fn partition(receiver: &str, method: &str, args: Args) -> Outcome<Value> {
    let [separator] = args.bind(method, [""], 1)?;
    let separator = separator.unwrap_or(Value::None);
    let separator = text(&separator, "must be str, separator")?;
    if separator.is_empty() {
        return Err(Fault::value("empty separator"));
    }
    let at = if method == "partition" { receiver.find(separator) } else { receiver.rfind(separator) };
    let parts = match at {
        Some(at) => [&receiver[..at], separator, &receiver[at + separator.len()..]],
        None if method == "partition" => [receiver, "", ""],
        None => ["", "", receiver],
    };
    Ok(Value::tuple(parts.map(Value::from).into()))
}

fn joined(meter: &Meter, receiver: &str, args: Args) -> Outcome<Value> {
    let [items] = args.bind("join", [""], 1)?;
    let items = super::operators::items(meter, &items.unwrap_or(Value::None)).map_err(|fault| {
        if fault.text.starts_with("TypeError") { Fault::of_type("can only join an iterable") } else { fault }
    })?;
    let mut parts = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        match item {
            Value::Str(part) => parts.push(&**part),
            other => {
                let name = other.type_name();
                let text = format!("sequence item {number}: expected str instance, {name} found");
                return Err(Fault::of_type(text));
            }
        }
    }
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    meter.make(bytes.saturating_add(receiver.len().saturating_mul(parts.len())))?;
    Ok(Value::from(parts.join(receiver)))
}

fn replaced(meter: &Meter, receiver: &str, args: Args) -> Outcome<Value> {
    let [old, new, most] = args.bind("replace", ["", "", ""], 2)?;
    let [old, new] = [old, new].map(|it| it.unwrap_or(Value::None));
    let most = most.map_or(Ok(-1), |most| int(&most))?;
    replace(meter, receiver, text(&old, "replace() argument 1")?, text(&new, "replace() argument 2")?, most)
}

/// `text.replace(old, new, most)`.
pub(super) fn replace(meter: &Meter, receiver: &str, old: &str, new: &str, most: i128) -> Outcome<Value> {
    let n = receiver.matches(old).count().min(usize::try_from(most).unwrap_or(usize::MAX));
    meter.make(receiver.len().saturating_add(n.saturating_mul(new.len())))?;
    Ok(Value::from(receiver.replacen(old, new, n)))
}

fn with_ends(receiver: &str, method: &str, args: Args) -> Outcome<Value> {
    let [ends, start, stop] = args.bind(method, ["", "", ""], 1)?;
    let ends = ends.unwrap_or(Value::None);
    let Some((part, _)) = part(receiver, start, stop)? else { return Ok(Value::Bool(false)) };
    let has = |end: &str| if method == "startswith" { part.starts_with(end) } else { part.ends_with(end) };
    let wrong =
        |name: &str| Fault::of_type(format!("{method} first arg must be str or a tuple of str, not {name}"));
    match &ends {
        Value::Str(end) => Ok(Value::Bool(has(end))),
        Value::Tuple(all) => {
            for end in all.iter() {
                if has(end.as_str().ok_or_else(|| wrong(end.type_name()))?) {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        other => Err(wrong(other.type_name())),
    }
}

/// `text[start:stop]` and where it begins, in characters; none if it begins beyond the end.
fn part(receiver: &str, start: Option<Value>, stop: Option<Value>) -> Outcome<Option<(&str, usize)>> {
    let n = receiver.chars().count();
    let place = |value: Option<Value>, default: usize| -> Outcome<usize> {
        let at = match value {
            None | Some(Value::None) => return Ok(default),
            Some(value) => int(&value)?,
        };
        let at = if at < 0 { at.saturating_add(n as i128).max(0) } else { at };
        Ok(usize::try_from(at).unwrap_or(usize::MAX))
    };
    let (start, stop) = (place(start, 0)?, place(stop, n)?.min(n));
    if start > n || start > stop {
        return Ok(None);
    }
    let byte = |at: usize| receiver.char_indices().nth(at).map_or(receiver.len(), |(byte, _)| byte);
    Ok(Some((&receiver[byte(start)..byte(stop)], start)))
}

fn found(receiver: &str, method: &str, args: Args) -> Outcome<Value> {
    let [sought, start, stop] = args.bind(method, ["", "", ""], 1)?;
    let sought = sought.unwrap_or(Value::None);
    let sought = text(&sought, "must be str, argument 1")?;
    let part = part(receiver, start, stop)?;
    if method == "count" {
        return Ok(Value::from(part.map_or(0, |(part, _)| part.matches(sought).count())));
    }
    let at = part.and_then(|(part, start)| {
        let byte = if method.starts_with('r') { part.rfind(sought) } else { part.find(sought) };
        Some(start + part[..byte?].chars().count())
    });
    match at {
        Some(at) => Ok(Value::from(at)),
        None if method.ends_with("index") => Err(Fault::value("substring not found")),
        None => Ok(Value::Int(-1)),
    }
}

fn removed(receiver: &str, method: &str, args: Args) -> Outcome<Value> {
    let [end] = args.bind(method, [""], 1)?;
    let end = end.unwrap_or(Value::None);
    let end = text(&end, &format!("{method}() argument"))?;
    let rest = if method == "removeprefix" { receiver.strip_prefix(end) } else { receiver.strip_suffix(end) };
    Ok(Value::from(rest.unwrap_or(receiver)))
}

fn filled(meter: &Meter, receiver: &str, method: &str, args: Args) -> Outcome<Value> {
    if method == "expandtabs" {
        let [size] = args.bind(method, ["tabsize"], 0)?;
        return expanded(meter, receiver, size.map_or(Ok(8), |size| count(&size))?);
    }
    let [width, fill] = args.bind(method, ["", ""], 1)?;
    let width = count(&width.unwrap_or(Value::None))?;
    let fill = fill.unwrap_or_else(|| Value::from(" "));
    let fill = text(&fill, "The fill character")?;
    let mut chars = fill.chars();
    let (Some(c), None) = (chars.next(), chars.next()) else {
        return Err(Fault::of_type("The fill character must be exactly one character long"));
    };
    meter.make(width.saturating_mul(c.len_utf8()))?;
    let missing = width.saturating_sub(receiver.chars().count());
    let fill = |n: usize| std::iter::repeat_n(c, n).collect::<String>();
    Ok(Value::from(match method {
        "ljust" => format!("{receiver}{}", fill(missing)),
        "rjust" => format!("{}{receiver}", fill(missing)),
        "center" => {
            let left = missing / 2 + (missing & width & 1);
            format!("{}{receiver}{}", fill(left), fill(missing - left))
        }
        _ => {
            let (sign, digits) = receiver.split_at(usize::from(receiver.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
    }))
}

fn expanded(meter: &Meter, receiver: &str, size: usize) -> Outcome<Value> {
    meter.make(receiver.matches('\t').count().saturating_mul(size))?;
    let (mut out, mut column) = (String::new(), 0);
    for c in receiver.chars() {
        match c {
            '\t' if size > 0 => {
                let n = size - column % size;
                out.extend(std::iter::repeat_n(' ', n));
                column += n;
            }
            '\t' => {}
            c => {
                out.push(c);
                column = if c == '\n' || c == '\r' { 0 } else { column + 1 };
            }
        }
    }
    Ok(Value::from(out))
}

/// `text.translate({65: 'a', 66: none})`.
fn translated(receiver: &str, args: Args) -> Outcome<Value> {
    let [table] = args.bind("translate", [""], 1)?;
    let Some(Value::Dict(table)) = table else {
        return Err(Fault::unsupported("translate() with a table that is no dictionary"));
    };
    let mut out = String::new();
    for c in receiver.chars() {
        match table.get(&Value::Int(c as i128))? {
            None => out.push(c),
            Some(Value::None) => {}
            Some(Value::Str(text)) => out.push_str(text),
            Some(Value::Int(code)) => out.extend(u32::try_from(*code).ok().and_then(char::from_u32)),
            Some(_) => return Err(Fault::of_type("character mapping must return integer, None or str")),
        }
    }
    Ok(Value::from(out))
}

fn formatted(meter: &Meter, receiver: &str, method: &str, args: Args, member: Member<'_>) -> Outcome<Value> {
    if method == "format" {
        let named =
            |name: &str| args.named.iter().find(|(it, _)| **it == *name).map(|(_, value)| value.clone());
        return format_method(meter, receiver, &args.plain, &named, member).map(Value::from);
    }
    let [mapping] = args.bind(method, [""], 1)?;
    let Some(Value::Dict(mapping)) = mapping else { return Err(Fault::of_type("expected a mapping")) };
    format_method(meter, receiver, &[], &|name| mapping.get_str(name).cloned(), member).map(Value::from)
}
