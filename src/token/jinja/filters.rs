//! Jinja's filters for texts, numbers and single values. Source: `jinja2.filters`.

use super::args::{Args, count, int, text};
use super::fault::{Fault, Outcome};
use super::formatting::percent;
use super::interpreter::Run;
use super::json::{Style, dumps};
use super::lists;
use super::operators::escaped;
use super::print::{repr_of, str_of};
use super::strings::{capitalized, lines, replace, strip};
use super::value::{Dict, Value};

/// Applies a filter by its name.
pub(super) fn apply(run: &mut Run, name: &str, value: Value, args: Args) -> Outcome<Value> {
    match name {
        "abs" => absolute(&value, args),
        "attr" => attr(run, &value, args),
        "capitalize" | "lower" | "upper" | "title" => cased(run, name, &value, args),
        "center" => center(run, &value, args),
        "count" | "length" => length(&value, args),
        "d" | "default" => default(value, args),
        "e" | "escape" | "forceescape" => escape(run, name, &value, args),
        "filesizeformat" => file_size(&value, args),
        "float" => to_float(&value, args),
        "format" => format(run, &value, args),
        "indent" => indent(run, &value, args),
        "int" => to_int(&value, args),
        "items" => items(&value, args),
        "pprint" => pprint(run, &value, args),
        "replace" => replaced(run, &value, args),
        "reverse" => reverse(run, &value, args),
        "round" => round(&value, args),
        "safe" => {
            args.none(name)?;
            Ok(Value::safe(str_of(&run.meter, &value)?))
        }
        "string" => {
            args.none(name)?;
            Ok(if value.as_str().is_some() { value } else { Value::from(str_of(&run.meter, &value)?) })
        }
        "striptags" => strip_tags(run, &value, args),
        "tojson" => tojson(run, &value, args),
        "trim" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            strip(&str_of(&run.meter, &value)?, chars)
        }
        "truncate" => truncate(run, &value, args),
        "urlencode" => url_encode(run, &value, args),
        "wordcount" => word_count(run, &value, args),
        "wordwrap" => word_wrap(run, &value, args),
        "xmlattr" => xml_attr(run, &value, args),
        "random" | "urlize" => Err(Fault::unsupported(format!("filter {name:?}"))),
        _ => lists::apply(run, name, &value, args),
    }
}

fn defined(value: &Value) -> Outcome<&Value> {
    match value {
        Value::Undefined(what) => Err(Fault::undefined(what)),
        other => Ok(other),
    }
}

fn absolute(value: &Value, args: Args) -> Outcome<Value> {
    args.none("abs")?;
    match (defined(value)?, value.as_int()) {
        (Value::Float(it), _) => Ok(Value::Float(it.abs())),
        (_, Some(it)) => Ok(Value::Int(it.saturating_abs())),
        (other, None) => Err(Fault::of_type(format!("bad operand type for abs(): '{}'", other.type_name()))),
    }
}

fn attr(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [name] = args.bind("attr", ["name"], 1)?;
    let name = str_of(&run.meter, &name.unwrap_or(Value::None))?;
    defined(value)?;
    Ok(run.python_attribute(value, &name).unwrap_or_else(|| run.missing(value, &Value::from(&*name))))
}

fn cased(run: &mut Run, name: &str, value: &Value, args: Args) -> Outcome<Value> {
    args.none(name)?;
    let text = str_of(&run.meter, value)?;
    Ok(Value::from(match name {
        "capitalize" => capitalized(&text),
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        _ => title(&text),
    }))
}

/// Jinja's words begin after white space and after `-([{<`.
fn title(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(|c: char| c.is_whitespace() || "-([{<".contains(c)) {
        out.push_str(&capitalized(part));
    }
    out
}

fn center(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [width] = args.bind("center", ["width"], 0)?;
    let text = str_of(&run.meter, value)?;
    let args = Args { plain: vec![width.unwrap_or(Value::Int(80))], named: Vec::new() };
    run.method(&Value::from(text), "center", args)
}

fn length(value: &Value, args: Args) -> Outcome<Value> {
    args.none("length")?;
    let wrong = || Fault::of_type(format!("object of type '{}' has no len()", value.type_name()));
    value.len().map(Value::from).ok_or_else(wrong)
}

fn default(value: Value, args: Args) -> Outcome<Value> {
    let [other, boolean] = args.bind("default", ["default_value", "boolean"], 0)?;
    let boolean = boolean.is_some_and(|it| it.is_true());
    if value.is_undefined() || (boolean && !value.is_true()) {
        return Ok(other.unwrap_or_else(|| Value::from("")));
    }
    Ok(value)
}

fn escape(run: &mut Run, name: &str, value: &Value, args: Args) -> Outcome<Value> {
    args.none(name)?;
    let text = str_of(&run.meter, value)?;
    run.meter.make(5 * text.len())?;
    let is_done = name != "forceescape" && matches!(value, Value::Str(text) if text.is_safe());
    Ok(Value::safe(if is_done { text } else { escaped(&text) }))
}

fn file_size(value: &Value, args: Args) -> Outcome<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"], 0)?;
    let binary = binary.is_some_and(|it| it.is_true());
    let bytes = match defined(value)? {
        Value::Str(text) => text.trim().parse().map_err(|_| not_a_float(text))?,
        other => other.as_float().ok_or_else(|| Fault::of_type("expected a number of bytes"))?,
    };
    let (base, infix) = if binary { (1024.0, "i") } else { (1000.0, "") };
    if bytes == 1.0 {
        return Ok(Value::from("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::from(format!("{} Bytes", bytes as i128)));
    }
    let mut unit = base;
    let mut prefix = ' ';
    for next in "kMGTPEZY".chars() {
        (unit, prefix) = (unit * base, next);
        if bytes < unit {
            break;
        }
    }
    let prefix = if binary { prefix.to_ascii_uppercase() } else { prefix };
    Ok(Value::from(format!("{:.1} {prefix}{infix}B", base * bytes / unit)))
}

fn not_a_float(text: &str) -> Fault {
    Fault::value(format!("could not convert string to float: '{text}'"))
}

/// Python's `float` of a text.
fn parsed_float(text: &str) -> Option<f64> {
    let trimmed = text.trim();
    let is_sound = |before: Option<char>, after: Option<char>| {
        before.is_some_and(|c| c.is_ascii_digit()) && after.is_some_and(|c| c.is_ascii_digit())
    };
    let marks_are_sound = trimmed
        .match_indices('_')
        .all(|(at, _)| is_sound(trimmed[..at].chars().last(), trimmed[at + 1..].chars().next()));
    if !marks_are_sound {
        return None;
    }
    trimmed.replace('_', "").parse().ok()
}

fn to_float(value: &Value, args: Args) -> Outcome<Value> {
    let [default] = args.bind("float", ["default"], 0)?;
    let default = || default.unwrap_or(Value::Float(0.0));
    Ok(match defined(value)? {
        Value::Str(text) => parsed_float(text).map_or_else(default, Value::Float),
        other => other.as_float().map_or_else(default, Value::Float),
    })
}

fn to_int(value: &Value, args: Args) -> Outcome<Value> {
    let [default, base] = args.bind("int", ["default", "base"], 0)?;
    let default = || default.unwrap_or(Value::Int(0));
    let base = base.map_or(Ok(10), |it| int(&it))?;
    let whole = |x: f64| x.is_finite().then_some(Value::Int(x as i128));
    Ok(match defined(value)? {
        Value::Str(text) => {
            let parsed = parsed_int(text, base).map(Value::Int);
            parsed.or_else(|| parsed_float(text).and_then(whole)).unwrap_or_else(default)
        }
        Value::Float(it) => match whole(*it) {
            Some(it) => it,
            // `int(float('inf'))` is an OverflowError that Jinja catches only the second time.
            None if it.is_infinite() => {
                return Err(Fault::other("OverflowError: cannot convert float infinity to integer"));
            }
            None => default(),
        },
        other => other.as_int().map_or_else(default, Value::Int),
    })
}

/// Python's `int` of a text in a base; 0 takes the base from the text.
fn parsed_int(text: &str, base: i128) -> Option<i128> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (if text.starts_with('-') { -1 } else { 1 }, digits),
        None => (1, text),
    };
    let mut base = u32::try_from(base).ok()?;
    let mut digits = digits.to_ascii_lowercase();
    for (prefix, of) in [("0b", 2), ("0o", 8), ("0x", 16)] {
        if let Some(rest) = digits.strip_prefix(prefix).filter(|_| base == of || base == 0) {
            (base, digits) = (of, rest.strip_prefix('_').unwrap_or(rest).to_owned());
        }
    }
    let base = if base == 0 { 10 } else { base };
    let is_sound = !digits.starts_with(['_', '+', '-']) && !digits.ends_with('_') && !digits.contains("__");
    let value = (2..=36).contains(&base).then(|| i128::from_str_radix(&digits.replace('_', ""), base).ok());
    value.flatten().filter(|_| is_sound).map(|it| sign * it)
}

fn format(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    if !args.plain.is_empty() && !args.named.is_empty() {
        let text = "FilterArgumentError: can't handle positional and keyword arguments at the same time";
        return Err(Fault::other(text));
    }
    let spec = str_of(&run.meter, value)?;
    let values = if args.named.is_empty() {
        Value::tuple(args.plain)
    } else {
        let pairs = args.named.into_iter().map(|(name, value)| (Value::from(&*name), value));
        Value::Dict(Dict::new(pairs)?.into())
    };
    percent(&run.meter, &spec, &values)
}

fn indent(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let [first, blank] = [first, blank].map(|it| it.is_some_and(|it| it.is_true()));
    let space = match width.unwrap_or(Value::Int(4)) {
        Value::Str(text) => text.to_string(),
        width => {
            let n = count(&width)?;
            run.meter.make(n)?;
            " ".repeat(n)
        }
    };
    // Jinja adds a line's end and takes it away as an empty last line.
    let source = text(value, "the value to indent")?;
    let source = format!("{source}\n");
    let all = lines(&source, false);
    run.meter.make(source.len().saturating_add(all.len().saturating_mul(space.len())))?;
    let mut out = String::new();
    for (number, line) in all.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if (number > 0 && (blank || !line.is_empty())) || (number == 0 && first) {
            out.push_str(&space);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

fn items(value: &Value, args: Args) -> Outcome<Value> {
    args.none("items")?;
    match value {
        Value::Undefined(_) => Ok(Value::generator(Vec::new())),
        Value::Dict(dict) => Ok(Value::generator(pairs(dict))),
        _ => Err(Fault::of_type("Can only get item pairs from a mapping.")),
    }
}

/// A dictionary's items as tuples.
pub(super) fn pairs(dict: &Dict) -> Vec<Value> {
    dict.pairs().iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()])).collect()
}

fn pprint(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    args.none("pprint")?;
    let text = sorted_repr(run, value)?;
    if text.chars().count() > 80 || value.as_str().is_some_and(|it| it.contains('\n')) {
        return Err(Fault::unsupported("filter \"pprint\" of what does not fit on a line"));
    }
    Ok(Value::from(text))
}

/// Python's `repr` with the keys of a dictionary in order.
fn sorted_repr(run: &mut Run, value: &Value) -> Outcome<String> {
    match value {
        Value::Dict(_) => {
            let mut parts = Vec::new();
            for pair in lists::apply(run, "dictsort", value, Args::default())?.items()? {
                let pair = pair.items()?;
                parts.push(format!("{}: {}", repr_of(&run.meter, &pair[0])?, sorted_repr(run, &pair[1])?));
            }
            Ok(format!("{{{}}}", parts.join(", ")))
        }
        Value::List(items) => {
            let parts = items.iter().map(|item| sorted_repr(run, item)).collect::<Outcome<Vec<String>>>()?;
            Ok(format!("[{}]", parts.join(", ")))
        }
        other => repr_of(&run.meter, other),
    }
}

fn replaced(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [old, new, most] = args.bind("replace", ["old", "new", "count"], 2)?;
    let most = match most {
        None | Some(Value::None) => -1,
        Some(most) => int(&most)?,
    };
    let meter = &run.meter;
    let [old, new] = [old, new].map(|it| str_of(meter, &it.unwrap_or(Value::None)));
    replace(meter, &str_of(meter, value)?, &old?, &new?, most)
}

fn reverse(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    args.none("reverse")?;
    match value {
        Value::Str(text) => {
            run.meter.make(text.len())?;
            Ok(Value::from(text.chars().rev().collect::<String>()))
        }
        other => {
            let mut items = run.items(other)?;
            items.reverse();
            Ok(Value::generator(items))
        }
    }
}

fn round(value: &Value, args: Args) -> Outcome<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let precision = precision.map_or(Ok(0), |it| int(&it))?;
    let method = method.unwrap_or_else(|| Value::from("common"));
    let method = method.as_str().unwrap_or_default();
    if !["common", "ceil", "floor"].contains(&method) {
        return Err(Fault::other("FilterArgumentError: method must be common, ceil or floor"));
    }
    let wrong = || {
        let name = value.type_name();
        Fault::of_type(format!("type {name} doesn't define __round__ method"))
    };
    let x = defined(value)?.as_float().ok_or_else(wrong)?;
    let precision = i32::try_from(precision.clamp(-400, 400)).unwrap_or_default();
    if method == "common" {
        return Ok(match value.as_int() {
            Some(it) if precision >= 0 => Value::Int(it),
            Some(it) => Value::Int(rounded_int(it, precision.unsigned_abs())),
            None => Value::Float(rounded(x, precision)),
        });
    }
    let scale = 10f64.powi(precision);
    let scaled = if method == "ceil" { (x * scale).ceil() } else { (x * scale).floor() };
    Ok(Value::Float(scaled / scale))
}

/// The nearest multiple of a power of ten; of two, the even one.
fn rounded_int(it: i128, digits: u32) -> i128 {
    let Some(unit) = 10i128.checked_pow(digits) else { return 0 };
    let (whole, rest) = (it.div_euclid(unit), it.rem_euclid(unit));
    let up = rest * 2 > unit || (rest * 2 == unit && whole % 2 != 0);
    (whole + i128::from(up)) * unit
}

/// Python's `round`: the nearest decimal to the exact value; of two, the even one.
fn rounded(x: f64, precision: i32) -> f64 {
    match usize::try_from(precision) {
        Ok(places) => format!("{x:.places$}").parse().unwrap_or(x),
        Err(_) => {
            let unit = 10f64.powi(-precision);
            (x / unit).round_ties_even() * unit
        }
    }
}

fn strip_tags(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    args.none("striptags")?;
    let mut text = str_of(&run.meter, value)?;
    for (open, close) in [("<!--", "-->"), ("<", ">")] {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((at, len)) =
            rest.find(open).and_then(|at| Some((at, rest[at..].find(close)? + close.len())))
        {
            out.push_str(&rest[..at]);
            rest = &rest[at + len..];
        }
        text = out + rest;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut text = words.join(" ");
    for (from, to) in
        [("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&")]
    {
        text = text.replace(from, to);
    }
    Ok(Value::from(text))
}

/// transformers' `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = args.bind("tojson", names, 0)?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(n) => {
            let n = count(&n)?;
            run.meter.make(n)?;
            Some(" ".repeat(n))
        }
    };
    let separators = match separators {
        None | Some(Value::None) => [if indent.is_some() { "," } else { ", " }, ": "].map(str::to_owned),
        Some(pair) => match &pair.items()?[..] {
            [item, key] => [text(item, "a separator")?.to_owned(), text(key, "a separator")?.to_owned()],
            other => {
                let text = format!("separators: expected 2 values, got {}", other.len());
                return Err(Fault::value(text));
            }
        },
    };
    let [ensure_ascii, sort_keys] = [ensure_ascii, sort_keys].map(|it| it.is_some_and(|it| it.is_true()));
    let style = Style { ensure_ascii, indent, separators, sort_keys };
    dumps(&run.meter, value, &style).map(Value::from)
}

fn truncate(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [length, kill, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let length = length.map_or(Ok(255), |it| int(&it))?;
    let end = end.unwrap_or_else(|| Value::from("..."));
    let end = text(&end, "end")?;
    let leeway = match leeway {
        None | Some(Value::None) => 5,
        Some(it) => int(&it)?,
    };
    let n_end = end.chars().count() as i128;
    if length < n_end {
        return Err(Fault::other(format!("AssertionError: expected length >= {n_end}, got {length}")));
    }
    if leeway < 0 {
        return Err(Fault::other(format!("AssertionError: expected leeway >= 0, got {leeway}")));
    }
    run.meter.make(value.bytes())?;
    if value.len().is_some_and(|len| len as i128 <= length.saturating_add(leeway)) {
        return Ok(value.clone());
    }
    let source = text(value, "the value to truncate")?;
    let cut: String = source.chars().take((length - n_end) as usize).collect();
    if kill.is_some_and(|it| it.is_true()) {
        return Ok(Value::from(cut + end));
    }
    let cut = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    Ok(Value::from(format!("{cut}{end}")))
}

/// Python's `urllib.parse.quote`; `+` for a space in a query.
fn quoted(text: &str, in_query: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte.into()),
            b'/' if !in_query => out.push('/'),
            b' ' if in_query => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn url_encode(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    args.none("urlencode")?;
    run.meter.make(3 * value.bytes())?;
    let meter = &run.meter;
    let pairs = match value {
        Value::Dict(dict) => dict.pairs().to_vec(),
        Value::Str(_) | Value::Undefined(_) => return Ok(Value::from(quoted(&str_of(meter, value)?, false))),
        other if !other.is_iterable() => return Ok(Value::from(quoted(&str_of(meter, other)?, false))),
        other => {
            let pair = |item: Value| match &item.items()?[..] {
                [key, value] => Ok((key.clone(), value.clone())),
                _ => Err(Fault::value("expected pairs of a key and a value")),
            };
            other.items()?.into_iter().map(pair).collect::<Outcome<_>>()?
        }
    };
    let part = |value: &Value| Ok(quoted(&str_of(meter, value)?, true));
    let parts = pairs.iter().map(|(key, value)| Ok(format!("{}={}", part(key)?, part(value)?)));
    Ok(Value::from(parts.collect::<Outcome<Vec<String>>>()?.join("&")))
}

fn word_count(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    args.none("wordcount")?;
    let text = str_of(&run.meter, value)?;
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    Ok(Value::from(words.count()))
}

fn word_wrap(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, breaks_words, wrap, _] = args.bind("wordwrap", names, 0)?;
    let width = width.map_or(Ok(79), |it| count(&it))?;
    let breaks_words = breaks_words.is_none_or(|it| it.is_true());
    let wrap = wrap.filter(|it| !matches!(it, Value::None)).unwrap_or_else(|| Value::from("\n"));
    let source = text(defined(value)?, "the value to wrap")?;
    run.meter.make(2 * source.len())?;
    if width == 0 {
        return Err(Fault::value("invalid width 0 (must be > 0)"));
    }
    let wrapped: Vec<String> = lines(source, false)
        .iter()
        .map(|line| wrapped(line, width, breaks_words).join(text(&wrap, "wrapstring").unwrap_or("\n")))
        .collect();
    Ok(Value::from(wrapped.join(text(&wrap, "wrapstring")?)))
}

/// A line as lines of no more characters than `width`, as Python's `textwrap` makes them.
fn wrapped(line: &str, width: usize, breaks_words: bool) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut current = String::new();
    let len = |text: &str| text.chars().count();
    for chunk in chunks(line) {
        if chunk.trim().is_empty() && current.is_empty() && !out.is_empty() {
            continue;
        }
        if len(&current) + len(&chunk) <= width {
            current.push_str(&chunk);
            continue;
        }
        let mut rest = chunk;
        if len(&rest) > width && breaks_words {
            let mut letters: Vec<char> = rest.chars().collect();
            while len(&current) + letters.len() > width {
                let room = width - len(&current);
                current.extend(letters.drain(..room.min(letters.len())));
                out.push(std::mem::take(&mut current));
            }
            current = letters.into_iter().collect();
            continue;
        }
        let done = std::mem::take(&mut current);
        if !done.trim_end().is_empty() {
            out.push(done.trim_end().to_owned());
        }
        rest = if rest.trim().is_empty() { String::new() } else { rest };
        current = rest;
    }
    let last = current.trim_end();
    if !last.is_empty() {
        out.push(last.to_owned());
    }
    out
}

/// Words and the white space between them; a word may break after a hyphen between letters.
fn chunks(line: &str) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let letters: Vec<char> = line.chars().collect();
    for (at, &c) in letters.iter().enumerate() {
        let previous = at.checked_sub(1).map(|at| letters[at]);
        let after_hyphen =
            previous == Some('-') && at >= 2 && letters[at - 2].is_alphanumeric() && c.is_alphabetic();
        let joins = previous.is_some_and(|it| it.is_whitespace() == c.is_whitespace()) && !after_hyphen;
        match chunks.last_mut() {
            Some(last) if joins => last.push(c),
            _ => chunks.push(c.to_string()),
        }
    }
    chunks
}

fn xml_attr(run: &mut Run, value: &Value, args: Args) -> Outcome<Value> {
    let [space] = args.bind("xmlattr", ["autospace"], 0)?;
    let Value::Dict(dict) = defined(value)? else {
        return Err(Fault::of_type("xmlattr wants a mapping"));
    };
    let mut parts = Vec::new();
    for (key, value) in dict.pairs() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let key = str_of(&run.meter, key)?;
        if key.contains(|c: char| c.is_whitespace() || "/>=".contains(c)) {
            return Err(Fault::value(format!("Invalid character in attribute name: '{key}'")));
        }
        parts.push(format!("{}=\"{}\"", escaped(&key), escaped(&str_of(&run.meter, value)?)));
    }
    let text = parts.join(" ");
    let lead = !text.is_empty() && space.is_none_or(|it| it.is_true());
    Ok(Value::from(if lead { format!(" {text}") } else { text }))
}
