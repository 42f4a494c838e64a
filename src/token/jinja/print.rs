//! How Python prints values: `str` and `repr`.

use std::fmt::Write;

use super::fault::{Fault, Outcome};
use super::meter::Meter;
use super::object::Object;
use super::value::{MAX_DEPTH, Value};

/// Python's `str(value)`.
pub(super) fn str_of(meter: &Meter, value: &Value) -> Outcome<String> {
    match value {
        Value::Undefined(_) => Ok(String::new()),
        Value::Str(text) => {
            meter.make(text.len())?;
            Ok((**text).to_owned())
        }
        other => repr_of(meter, other),
    }
}

/// Python's `repr(value)`.
pub(super) fn repr_of(meter: &Meter, value: &Value) -> Outcome<String> {
    let mut out = String::new();
    Printer { meter, out: &mut out, depth: 0 }.print(value)?;
    Ok(out)
}

struct Printer<'o> {
    meter: &'o Meter,
    out: &'o mut String,
    depth: usize,
}

impl Printer<'_> {
    fn print(&mut self, value: &Value) -> Outcome<()> {
        self.depth += 1;
        self.meter.make(value.bytes())?;
        self.meter.fits(self.out.len().saturating_add(value.bytes()))?;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match value {
            Value::Undefined(_) => self.out.push_str("Undefined"),
            Value::None => self.out.push_str("None"),
            Value::Bool(true) => self.out.push_str("True"),
            Value::Bool(false) => self.out.push_str("False"),
            Value::Int(it) => self.out.push_str(&it.to_string()),
            Value::Float(it) => self.out.push_str(&float(*it)),
            Value::Str(text) => quote(text, self.out),
            Value::List(items) => self.enclosed("[", items, "]")?,
            Value::Tuple(items) if items.len() == 1 => self.enclosed("(", items, ",)")?,
            Value::Tuple(items) => self.enclosed("(", items, ")")?,
            Value::View(kind, items) => {
                self.out.push_str(kind);
                self.enclosed("([", items, "])")?;
            }
            Value::Range(it) if it.step == 1 => {
                self.out.push_str(&format!("range({}, {})", it.start, it.stop));
            }
            Value::Range(it) => {
                self.out.push_str(&format!("range({}, {}, {})", it.start, it.stop, it.step));
            }
            Value::Dict(dict) => self.pairs(dict.pairs())?,
            Value::Object(object) => self.object(object)?,
            Value::Generator(_) => return Err(address(value)),
        }
        self.depth -= 1;
        Ok(())
    }

    fn enclosed(&mut self, open: &str, items: &[Value], close: &str) -> Outcome<()> {
        self.out.push_str(open);
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.out.push_str(", ");
            }
            self.print(item)?;
        }
        self.out.push_str(close);
        Ok(())
    }

    fn pairs(&mut self, pairs: &[(Value, Value)]) -> Outcome<()> {
        self.out.push('{');
        for (number, (key, value)) in pairs.iter().enumerate() {
            if number > 0 {
                self.out.push_str(", ");
            }
            self.print(key)?;
            self.out.push_str(": ");
            self.print(value)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn object(&mut self, object: &Object) -> Outcome<()> {
        match object {
            Object::Namespace(dict) => {
                self.out.push_str("<Namespace ");
                self.pairs(dict.borrow().pairs())?;
                self.out.push('>');
            }
            Object::Macro(it) => self.out.push_str(&format!("<Macro {}>", quoted(&it.body.name))),
            Object::Loop(it) => {
                self.out.push_str(&format!("<LoopContext {}/{}>", it.at.get() + 1, it.items.len()));
            }
            other => {
                let name = other.type_name();
                return Err(Fault::unsupported(format!(
                    "to print a {name}, which shows an address in Python"
                )));
            }
        }
        Ok(())
    }
}

/// Lists and dictionaries nest too deep.
pub(super) fn too_deep() -> Fault {
    Fault::limit(&format!("lists and dictionaries nest deeper than {MAX_DEPTH}"))
}

fn address(value: &Value) -> Fault {
    let name = value.type_name();
    Fault::unsupported(format!("to print a {name}, which shows an address in Python"))
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    quote(text, &mut out);
    out
}

/// A text in Python's quotes.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&escaped(c)),
        }
    }
    out.push(mark);
}

fn escaped(c: char) -> String {
    match c as u32 {
        code @ ..=0xff => format!("\\x{code:02x}"),
        code @ ..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// Python's `str.isprintable`, but for characters that no version of Unicode has assigned.
pub(super) fn is_printable(c: char) -> bool {
    let hidden = [
        '\u{ad}'..='\u{ad}',
        '\u{600}'..='\u{605}',
        '\u{61c}'..='\u{61c}',
        '\u{6dd}'..='\u{6dd}',
        '\u{70f}'..='\u{70f}',
        '\u{180e}'..='\u{180e}',
        '\u{200b}'..='\u{200f}',
        '\u{202a}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{e000}'..='\u{f8ff}',
        '\u{fdd0}'..='\u{fdef}',
        '\u{feff}'..='\u{feff}',
        '\u{fff0}'..='\u{fffb}',
        '\u{fffe}'..='\u{ffff}',
        '\u{e0000}'..='\u{e00ff}',
        '\u{f0000}'..='\u{10ffff}',
    ];
    c == ' ' || !(c.is_control() || c.is_whitespace() || hidden.iter().any(|range| range.contains(&c)))
}

/// Python's `repr` of a float: the shortest digits that read back as the same number.
pub(super) fn float(x: f64) -> String {
    if !x.is_finite() {
        let sign = if x < 0.0 { "-" } else { "" };
        return if x.is_nan() { "nan".to_owned() } else { format!("{sign}inf") };
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a whole exponent");
    if (-4..16).contains(&exponent) || x == 0.0 {
        return format!("{x:?}");
    }
    let mut out = digits.to_owned();
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(out, "e{sign}{:02}", exponent.abs()).expect("a String takes any text");
    out
}
