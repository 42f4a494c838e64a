//! JSON: `tojson` as transformers has it, and values out of JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::fault::{Fault, Outcome};
use super::meter::Meter;
use super::print::{float, too_deep};
use super::value::{Dict, MAX_DEPTH, Value, order};

/// How `json.dumps` is asked to write.
#[derive(Debug)]
pub(super) struct Style {
    pub(super) ensure_ascii: bool,
    /// What a level is indented by.
    pub(super) indent: Option<String>,
    /// Between items, and after a key.
    pub(super) separators: [String; 2],
    pub(super) sort_keys: bool,
}

/// `json.dumps(value, ...)`.
pub(super) fn dumps(meter: &Meter, value: &Value, style: &Style) -> Outcome<String> {
    let mut writer = Writer { meter, style, out: String::new(), depth: 0, counted: 0 };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer<'w> {
    meter: &'w Meter,
    style: &'w Style,
    out: String,
    depth: usize,
    counted: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Outcome<()> {
        self.meter.make(self.out.len() - self.counted)?;
        self.meter.fits(self.out.len())?;
        self.counted = self.out.len();
        match value {
            Value::None => self.out.push_str("null"),
            Value::Bool(it) => self.out.push_str(if *it { "true" } else { "false" }),
            Value::Int(it) => self.out.push_str(&it.to_string()),
            Value::Float(it) => self.out.push_str(&number(*it)),
            Value::Str(text) => {
                self.meter.make(text.len())?;
                self.text(text);
            }
            Value::List(items) | Value::Tuple(items) => self.list(items)?,
            Value::Dict(dict) => self.dict(dict)?,
            other => {
                let name = other.type_name();
                return Err(Fault::of_type(format!("Object of type {name} is not JSON serializable")));
            }
        }
        Ok(())
    }

    fn list(&mut self, items: &[Value]) -> Outcome<()> {
        if items.is_empty() {
            self.out.push_str("[]");
            return Ok(());
        }
        self.open('[')?;
        for (number, item) in items.iter().enumerate() {
            self.between(number);
            self.value(item)?;
        }
        self.close(']');
        Ok(())
    }

    fn dict(&mut self, dict: &Dict) -> Outcome<()> {
        if dict.pairs().is_empty() {
            self.out.push_str("{}");
            return Ok(());
        }
        let mut pairs: Vec<&(Value, Value)> = dict.pairs().iter().collect();
        if self.style.sort_keys {
            let mut fault = None;
            pairs.sort_by(|(a, _), (b, _)| {
                order(a, b, "<")
                    .map_err(|it| fault = Some(it))
                    .ok()
                    .flatten()
                    .unwrap_or(std::cmp::Ordering::Equal)
            });
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        self.open('{')?;
        for (number, (key, value)) in pairs.into_iter().enumerate() {
            self.between(number);
            self.key(key)?;
            self.out.push_str(&self.style.separators[1]);
            self.value(value)?;
        }
        self.close('}');
        Ok(())
    }

    fn key(&mut self, key: &Value) -> Outcome<()> {
        let text = match key {
            Value::Str(text) => text.to_string(),
            Value::None => "null".to_owned(),
            Value::Bool(it) => it.to_string(),
            Value::Int(it) => it.to_string(),
            Value::Float(it) => number(*it),
            other => {
                let name = other.type_name();
                let text = format!("keys must be str, int, float, bool or None, not {name}");
                return Err(Fault::of_type(text));
            }
        };
        self.text(&text);
        Ok(())
    }

    fn open(&mut self, bracket: char) -> Outcome<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.out.push(bracket);
        self.line();
        Ok(())
    }

    fn between(&mut self, number: usize) {
        if number > 0 {
            self.out.push_str(&self.style.separators[0]);
            self.line();
        }
    }

    fn close(&mut self, bracket: char) {
        self.depth -= 1;
        self.line();
        self.out.push(bracket);
    }

    fn line(&mut self) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(self.depth));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' || (c > '~' && self.style.ensure_ascii) => escape(c, &mut self.out),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A character by its codes in UTF-16.
fn escape(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

/// Python's `ascii` of what `repr` gives.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c as u32 {
            ..0x80 => out.push(c),
            code @ ..0x100 => out.push_str(&format!("\\x{code:02x}")),
            code @ ..0x10000 => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

fn number(x: f64) -> String {
    match x {
        _ if x.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => float(x),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value as in JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(Value::Int(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(Value::Int(it.into()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(Value::Float(it))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(Value::from(it))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::list(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut dict = Dict::default();
        while let Some((key, value)) = pairs.next_entry::<Value, Value>()? {
            dict.insert(key, value).map_err(|fault| A::Error::custom(fault.text))?;
        }
        Ok(Value::Dict(dict.into()))
    }
}
