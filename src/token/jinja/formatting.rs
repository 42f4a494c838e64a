//! Python's `%`, `str.format` and what stands behind the colon there.

use super::fault::{Fault, Outcome};
use super::meter::Meter;
use super::print::{float, repr_of, str_of};
use super::value::Value;

/// How one field is written.
#[derive(Clone, Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// `spec % value`: a tuple is several values, a dictionary values by name.
pub(super) fn percent(meter: &Meter, spec: &str, value: &Value) -> Outcome<Value> {
    let plain = match value {
        Value::Tuple(items) => items.to_vec(),
        other => vec![other.clone()],
    };
    let mut fields = Percent { meter, rest: spec, values: plain.into_iter(), mapping: value, used: false };
    let mut out = String::new();
    while let Some(at) = fields.rest.find('%') {
        out.push_str(&fields.rest[..at]);
        fields.rest = &fields.rest[at + 1..];
        let field = fields.field()?;
        out.push_str(&field);
        meter.make(field.len())?;
        meter.fits(out.len())?;
    }
    out.push_str(fields.rest);
    let is_mapping = matches!(value, Value::Dict(_) | Value::List(_) | Value::Undefined(_));
    let left = fields.values.next().is_some() && !fields.used && !is_mapping;
    if left {
        return Err(Fault::of_type("not all arguments converted during string formatting"));
    }
    Ok(Value::from(out))
}

struct Percent<'p> {
    meter: &'p Meter,
    rest: &'p str,
    values: std::vec::IntoIter<Value>,
    mapping: &'p Value,
    /// Whether a value was taken by its name.
    used: bool,
}

impl Percent<'_> {
    fn next_value(&mut self) -> Outcome<Value> {
        self.values.next().ok_or_else(|| Fault::of_type("not enough arguments for format string"))
    }

    fn take_char(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// A width or a precision: digits, or `*` for a value.
    fn number(&mut self) -> Outcome<Option<i128>> {
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            let value = self.next_value()?;
            return value.as_int().map(Some).ok_or_else(|| Fault::of_type("* wants int"));
        }
        let len = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let digits = &self.rest[..len];
        self.rest = &self.rest[len..];
        Ok(if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(i128::MAX)) })
    }

    fn named(&mut self) -> Outcome<Option<Value>> {
        let Some(rest) = self.rest.strip_prefix('(') else { return Ok(None) };
        let Some((name, rest)) = rest.split_once(')') else {
            return Err(Fault::value("incomplete format key"));
        };
        self.rest = rest;
        self.used = true;
        let Value::Dict(dict) = self.mapping else { return Err(Fault::of_type("format requires a mapping")) };
        let value = dict.get_str(name).cloned();
        value.map(Some).ok_or_else(|| Fault::other(format!("KeyError: '{name}'")))
    }

    fn field(&mut self) -> Outcome<String> {
        if let Some(rest) = self.rest.strip_prefix('%') {
            self.rest = rest;
            return Ok("%".to_owned());
        }
        let named = self.named()?;
        let mut spec = Spec { align: Some('>'), ..Spec::default() };
        let mut left = false;
        while let Some(flag) = self.rest.chars().next().filter(|c| "-+ #0".contains(*c)) {
            self.take_char();
            match flag {
                '-' => left = true,
                '+' => spec.sign = Some('+'),
                ' ' if spec.sign.is_none() => spec.sign = Some(' '),
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                _ => {}
            }
        }
        let width = self.number()?.unwrap_or(0);
        left |= width < 0;
        spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            let precision = self.number()?.unwrap_or(0);
            spec.precision = Some(usize::try_from(precision.max(0)).unwrap_or(usize::MAX));
        }
        self.rest = self.rest.trim_start_matches(['h', 'l', 'L']);
        let kind = self.take_char().ok_or_else(|| Fault::value("incomplete format"))?;
        if left {
            spec = Spec { align: Some('<'), zero: false, ..spec };
        }
        let value = match named {
            Some(value) => value,
            None => self.next_value()?,
        };
        self.meter.make(spec.width.saturating_add(spec.precision.unwrap_or(0)))?;
        converted(self.meter, &spec, kind, &value)
    }
}

fn converted(meter: &Meter, spec: &Spec, kind: char, value: &Value) -> Outcome<String> {
    let text = |text: String| Ok(padded(&Spec { zero: false, ..spec.clone() }, &cut(spec, &text)));
    let wrong = |expected: &str| {
        let got = value.type_name();
        Err(Fault::of_type(format!("%{kind} format: {expected} is required, not {got}")))
    };
    match kind {
        's' => text(str_of(meter, value)?),
        'r' => text(repr_of(meter, value)?),
        'a' => text(super::json::ascii(&repr_of(meter, value)?)),
        'c' => match (value, value.as_int()) {
            (Value::Str(it), _) if it.chars().count() == 1 => text(it.to_string()),
            (_, Some(code)) => {
                let c = u32::try_from(code).ok().and_then(char::from_u32);
                text(c.ok_or_else(|| Fault::other("OverflowError: %c arg not in range(0x110000)"))?.into())
            }
            _ => Err(Fault::of_type("%c requires int or char")),
        },
        'd' | 'i' | 'u' => match value.as_float() {
            Some(it) => {
                let whole = value.as_int().unwrap_or(it as i128);
                Ok(percent_int(spec, &whole.unsigned_abs().to_string(), whole < 0, ""))
            }
            None => wrong("a real number"),
        },
        'o' | 'x' | 'X' => match value.as_int() {
            Some(it) => {
                let (digits, prefix) = radix(it.unsigned_abs(), kind);
                Ok(percent_int(spec, &digits, it < 0, if spec.alternate { prefix } else { "" }))
            }
            None => wrong("an integer"),
        },
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => match value.as_float() {
            Some(it) => number(&Spec { kind: Some(kind), ..spec.clone() }, it),
            None => {
                let got = value.type_name();
                Err(Fault::of_type(format!("must be real number, not {got}")))
            }
        },
        other => Err(Fault::value(format!("unsupported format character '{other}' (0x{:x})", other as u32))),
    }
}

/// A whole number, where the precision is digits at least.
fn percent_int(spec: &Spec, digits: &str, negative: bool, prefix: &str) -> String {
    let digits = format!("{digits:0>width$}", width = spec.precision.unwrap_or(0));
    signed(spec, negative, prefix, &digits)
}

fn cut(spec: &Spec, text: &str) -> String {
    spec.precision.map_or_else(|| text.to_owned(), |n| text.chars().take(n).collect())
}

/// Digits in a base, and what announces it.
fn radix(value: u128, kind: char) -> (String, &'static str) {
    match kind {
        'o' => (format!("{value:o}"), "0o"),
        'x' => (format!("{value:x}"), "0x"),
        'X' => (format!("{value:X}"), "0X"),
        'b' => (format!("{value:b}"), "0b"),
        _ => (value.to_string(), ""),
    }
}

/// A number's sign and digits, filled up to the width.
fn signed(spec: &Spec, negative: bool, prefix: &str, digits: &str) -> String {
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let lead = format!("{sign}{prefix}");
    let inner = spec.zero || spec.align == Some('=');
    if inner {
        let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
        let missing = spec.width.saturating_sub(lead.chars().count() + digits.chars().count());
        let filled: String = std::iter::repeat_n(fill, missing).collect();
        return format!("{lead}{filled}{digits}");
    }
    padded(spec, &format!("{lead}{digits}"))
}

/// A text filled up to the width.
fn padded(spec: &Spec, text: &str) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    let left = match spec.align {
        Some('<') => 0,
        Some('^') => missing / 2,
        _ => missing,
    };
    let fill = |n| std::iter::repeat_n(spec.fill.unwrap_or(' '), n).collect::<String>();
    format!("{}{text}{}", fill(left), fill(missing - left))
}

/// A float in one of the forms `e`, `f`, `g` and `%`.
fn number(spec: &Spec, x: f64) -> Outcome<String> {
    let kind = spec.kind.unwrap_or('g');
    let magnitude = x.abs();
    let precision = spec.precision.unwrap_or(6);
    let digits = match kind.to_ascii_lowercase() {
        _ if !x.is_finite() => float(magnitude),
        'f' => format!("{magnitude:.precision$}"),
        '%' => format!("{:.precision$}%", magnitude * 100.0),
        'e' => exponent(magnitude, precision),
        _ => general(magnitude, precision.max(1), spec.alternate),
    };
    let digits = if kind.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    let spec = if x.is_finite() { spec.clone() } else { Spec { zero: false, ..spec.clone() } };
    Ok(signed(&spec, x.is_sign_negative() && !x.is_nan(), "", &grouped(&spec, digits)))
}

fn exponent(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    let (digits, exponent) = text.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a whole exponent");
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// C's `%g`.
fn general(x: f64, precision: usize, keeps_zeros: bool) -> String {
    let scientific = exponent(x, precision - 1);
    let (digits, power) = scientific.split_once('e').expect("an exponent");
    let power: i32 = power.parse().expect("a whole exponent");
    let trimmed = |text: &str| match text.contains('.') && !keeps_zeros {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if x != 0.0 && (power < -4 || power >= precision as i32) {
        return format!("{}{}", trimmed(digits), &scientific[digits.len()..]);
    }
    let places = usize::try_from(precision as i32 - 1 - power).unwrap_or(0);
    trimmed(&format!("{x:.places$}"))
}

/// Digits with a comma or an underscore between thousands.
fn grouped(spec: &Spec, digits: String) -> String {
    let Some(mark) = spec.grouping else { return digits };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let mut out = String::new();
    for (at, digit) in digits[..end].chars().enumerate() {
        if at > 0 && (end - at) % 3 == 0 {
            out.push(mark);
        }
        out.push(digit);
    }
    out + &digits[end..]
}

/// `format(value, spec)`.
pub(super) fn formatted(meter: &Meter, value: &Value, text: &str) -> Outcome<String> {
    let spec = Spec::read(text, value)?;
    meter.make(spec.width.saturating_add(spec.precision.unwrap_or(0)))?;
    match value {
        _ if text.is_empty() => str_of(meter, value),
        Value::Str(it) => match spec.kind {
            None | Some('s') if !spec.zero && spec.align != Some('=') && spec.sign.is_none() => {
                let align = spec.align.or(Some('<'));
                Ok(padded(&Spec { align, ..spec.clone() }, &cut(&spec, it)))
            }
            None | Some('s') => {
                let fill = spec.fill.or(Some('0'));
                Ok(padded(&Spec { align: Some('<'), fill, ..spec.clone() }, &cut(&spec, it)))
            }
            Some(kind) => Err(unknown(kind, value)),
        },
        Value::Bool(_) | Value::Int(_) => int_formatted(&spec, value),
        Value::Float(it) => float_formatted(&spec, *it, value),
        other => {
            let name = other.type_name();
            Err(Fault::of_type(format!("unsupported format string passed to {name}.__format__")))
        }
    }
}

fn unknown(kind: char, value: &Value) -> Fault {
    let name = value.type_name();
    Fault::value(format!("Unknown format code '{kind}' for object of type '{name}'"))
}

fn int_formatted(spec: &Spec, value: &Value) -> Outcome<String> {
    let it = value.as_int().unwrap_or_default();
    match spec.kind {
        None | Some('d' | 'n' | 'b' | 'o' | 'x' | 'X') if spec.precision.is_some() => {
            Err(Fault::value("Precision not allowed in integer format specifier"))
        }
        None | Some('d' | 'n' | 'b' | 'o' | 'x' | 'X') => {
            let (digits, prefix) = radix(it.unsigned_abs(), spec.kind.unwrap_or('d'));
            let prefix = if spec.alternate { prefix } else { "" };
            Ok(signed(spec, it < 0, prefix, &grouped(spec, digits)))
        }
        Some('c') => {
            let c = u32::try_from(it).ok().and_then(char::from_u32);
            let c = c.ok_or_else(|| Fault::other("OverflowError: %c arg not in range(0x110000)"))?;
            Ok(padded(&Spec { align: spec.align.or(Some('<')), ..spec.clone() }, &c.to_string()))
        }
        Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => number(spec, it as f64),
        Some(kind) => Err(unknown(kind, value)),
    }
}

fn float_formatted(spec: &Spec, x: f64, value: &Value) -> Outcome<String> {
    match spec.kind {
        None if spec.precision.is_none() => {
            let digits = grouped(spec, float(x.abs()));
            Ok(signed(spec, x.is_sign_negative(), "", &digits))
        }
        None => {
            let precision = spec.precision.unwrap_or(6).max(1);
            let power = exponent(x.abs(), precision - 1);
            let power: i32 = power.split_once('e').and_then(|(_, it)| it.parse().ok()).unwrap_or(0);
            let mut digits = general(x.abs(), precision, false);
            if power >= precision as i32 - 1 && power < precision as i32 {
                digits = exponent(x.abs(), precision - 1);
                let (mantissa, power) = digits.split_once('e').expect("an exponent");
                let mantissa = if mantissa.contains('.') {
                    mantissa.trim_end_matches('0').trim_end_matches('.')
                } else {
                    mantissa
                };
                digits = format!("{mantissa}e{power}");
            } else if !digits.contains(['.', 'e']) && x.is_finite() {
                digits.push_str(".0");
            }
            Ok(signed(spec, x.is_sign_negative(), "", &grouped(spec, digits)))
        }
        Some('n') => number(&Spec { kind: Some('g'), ..spec.clone() }, x),
        Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => number(spec, x),
        Some(kind) => Err(unknown(kind, value)),
    }
}

impl Spec {
    /// `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
    fn read(text: &str, value: &Value) -> Outcome<Spec> {
        let mut spec = Spec::default();
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let is_align = |at: usize| chars.get(at).is_some_and(|c| "<>=^".contains(*c));
        if is_align(1) {
            (spec.fill, spec.align, at) = (Some(chars[0]), Some(chars[1]), 2);
        } else if is_align(0) {
            (spec.align, at) = (Some(chars[0]), 1);
        }
        let next = |at: &mut usize, of: &str| {
            let found = chars.get(*at).copied().filter(|c| of.contains(*c));
            *at += usize::from(found.is_some());
            found
        };
        spec.sign = next(&mut at, "+- ").filter(|sign| *sign != '-');
        spec.alternate = next(&mut at, "#").is_some();
        if next(&mut at, "0").is_some() {
            spec.zero = spec.align.is_none();
            spec.fill = spec.fill.or(Some('0'));
        }
        let digits = |at: &mut usize| {
            let start = *at;
            while chars.get(*at).is_some_and(char::is_ascii_digit) {
                *at += 1;
            }
            let text: String = chars[start..*at].iter().collect();
            (start < *at).then(|| text.parse::<usize>().unwrap_or(usize::MAX))
        };
        spec.width = digits(&mut at).unwrap_or(0);
        spec.grouping = next(&mut at, ",_");
        if next(&mut at, ".").is_some() {
            let precision = digits(&mut at);
            spec.precision =
                Some(precision.ok_or_else(|| Fault::value("Format specifier missing precision"))?);
        }
        spec.kind = chars.get(at).copied();
        if at + 1 < chars.len() {
            let name = value.type_name();
            return Err(Fault::value(format!(
                "Invalid format specifier '{text}' for object of type '{name}'"
            )));
        }
        Ok(spec)
    }
}

/// Reads an attribute, or where the last argument says so an item, of a value in a field of `format`.
pub(super) type Member<'a> = &'a dyn Fn(&Value, &str, bool) -> Outcome<Value>;

/// `text.format(*plain, **named)`.
pub(super) fn format_method(
    meter: &Meter,
    text: &str,
    plain: &[Value],
    named: &dyn Fn(&str) -> Option<Value>,
    member: Member<'_>,
) -> Outcome<String> {
    let mut fields = Fields { meter, plain, named, member, next: Some(0) };
    fields.format(text, 0)
}

/// `{}` fields and what fills them.
struct Fields<'f> {
    meter: &'f Meter,
    plain: &'f [Value],
    named: &'f dyn Fn(&str) -> Option<Value>,
    /// An attribute, or with `true` an item.
    member: Member<'f>,
    /// The number of the next field without one; none after one with a number.
    next: Option<usize>,
}

impl Fields<'_> {
    fn format(&mut self, text: &str, depth: usize) -> Outcome<String> {
        if depth > 2 {
            return Err(Fault::value("Max string recursion exceeded"));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(Fault::value("Single '}' encountered in format string"));
            }
            let Some(len) = field_len(rest) else {
                return Err(Fault::value("Single '{' encountered in format string"));
            };
            let field = self.field(&rest[..len], depth)?;
            out.push_str(&field);
            self.meter.make(field.len())?;
            self.meter.fits(out.len())?;
            rest = &rest[len + 1..];
        }
        Ok(out + rest)
    }

    fn field(&mut self, field: &str, depth: usize) -> Outcome<String> {
        let (name, spec) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = match name.split_once('!') {
            Some((name, conversion)) => (name, Some(conversion)),
            None => (name, None),
        };
        let mut value = self.value(name)?;
        value = match conversion {
            None => value,
            Some("r") => Value::from(repr_of(self.meter, &value)?),
            Some("s") => Value::from(str_of(self.meter, &value)?),
            Some("a") => Value::from(super::json::ascii(&repr_of(self.meter, &value)?)),
            Some(other) => {
                return Err(Fault::value(format!("Unknown conversion specifier '{other}'")));
            }
        };
        let spec = self.format(spec, depth + 1)?;
        formatted(self.meter, &value, &spec)
    }

    fn value(&mut self, name: &str) -> Outcome<Value> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let mut value = if first.is_empty() || first.bytes().all(|b| b.is_ascii_digit()) {
            self.numbered(first)?
        } else {
            (self.named)(first).ok_or_else(|| Fault::other(format!("KeyError: '{first}'")))?
        };
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (key, after) =
                    inner.split_once(']').ok_or_else(|| Fault::value("Missing ']' in format string"))?;
                value = (self.member)(&value, key, true)?;
                rest = after;
            } else {
                let inner = &rest[1..];
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                value = (self.member)(&value, &inner[..end], false)?;
                rest = &inner[end..];
            }
        }
        Ok(value)
    }

    fn numbered(&mut self, digits: &str) -> Outcome<Value> {
        let at = match (digits.is_empty(), self.next) {
            (true, Some(at)) => {
                self.next = Some(at + 1);
                at
            }
            (true, None) => {
                let text = "cannot switch from manual field specification to automatic field numbering";
                return Err(Fault::value(text));
            }
            (false, Some(1..)) => {
                let text = "cannot switch from automatic field numbering to manual field specification";
                return Err(Fault::value(text));
            }
            (false, _) => {
                self.next = None;
                digits.parse().unwrap_or(usize::MAX)
            }
        };
        let wrong = || {
            Fault::other(format!("IndexError: Replacement index {at} out of range for positional args tuple"))
        };
        self.plain.get(at).cloned().ok_or_else(wrong)
    }
}

/// The length of a field up to its closing brace.
fn field_len(text: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}
