//! A record of a file: fields by name, before they are an example.

use crate::error::{Error, Result};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Fields that some form, or a contrast pair, has. The values of others are not kept.
const KNOWN: [&str; 18] = [
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "messages",
    "conversations",
    "chosen",
    "rejected",
    "text",
    "label",
    "labels",
    "values",
    "base",
    "source",
    "expected",
    "positive",
    "negative",
];

/// Characters of a name or a text that an error quotes.
const QUOTED: usize = 60;

/// Where a record lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A line, from 1.
    Line(usize),
    /// An element of an array, from 1.
    Example(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(number) => write!(f, "line {number}"),
            Place::Example(number) => write!(f, "example {number}"),
        }
    }
}

/// The fields of a record.
#[derive(Debug, Default)]
pub(super) struct Record {
    known: Vec<(&'static str, Value)>,
    others: Vec<String>,
    /// A field that is there twice.
    twice: Option<&'static str>,
}

/// The name of a field that some form has.
pub(super) fn known(name: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| *known == name)
}

impl Record {
    /// Adds a field whose value may be kept.
    pub(super) fn add(&mut self, name: &str, value: Value) {
        match known(name) {
            Some(name) if self.known.iter().any(|(other, _)| *other == name) => self.twice = Some(name),
            Some(name) => self.known.push((name, value)),
            None => self.others.push(name.to_owned()),
        }
    }

    /// Whether a field is there and is not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.known.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Takes a field, which is then read; none if it is not there or null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.known.iter().position(|(known, _)| *known == name)?;
        Some(self.known.remove(at).1).filter(|value| !value.is_null())
    }

    /// A field that must be there.
    pub(super) fn require(&self, name: &'static str) -> Result<&Value> {
        self.check_names()?;
        self.get(name).ok_or_else(|| {
            let found = self.names().take(8).map(quoted).collect::<Vec<_>>().join(", ");
            Error::input(format!("`{name}` is missing (found: {found})"))
        })
    }

    /// Takes a field that must be there.
    pub(super) fn take_required(&mut self, name: &'static str) -> Result<Value> {
        self.require(name)?;
        Ok(self.take(name).unwrap_or(Value::Null))
    }

    /// Fails if a field is there twice.
    pub(super) fn check_names(&self) -> Result<()> {
        match self.twice {
            Some(name) => Err(Error::input(format!("`{name}` is there twice"))),
            None => Ok(()),
        }
    }

    /// Names of all fields that were not taken.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|(name, _)| *name).chain(self.others.iter().map(String::as_str))
    }

    /// Names of fields that were not taken, but for those that are null.
    pub(super) fn unread(self) -> impl Iterator<Item = String> {
        let known = self.known.into_iter().filter(|(_, value)| !value.is_null());
        known.map(|(name, _)| name.to_owned()).chain(self.others)
    }
}

/// A text field.
pub(super) fn text(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(Error::input(format!("`{name}`: expected a text, found {}", found(other)))),
    }
}

/// A text field that must not be empty.
pub(super) fn filled(name: &str, value: &Value) -> Result<String> {
    match text(name, value)? {
        text if text.is_empty() => Err(Error::input(format!("`{name}` is empty"))),
        text => Ok(text),
    }
}

/// A name in an error, cut off where it is long.
pub(super) fn quoted(name: &str) -> String {
    let cut = cut(name);
    format!("`{cut}{}`", if cut.len() < name.len() { "…" } else { "" })
}

/// The beginning of a text, as an error quotes it.
pub(super) fn cut(text: &str) -> &str {
    text.char_indices().nth(QUOTED).map_or(text, |(at, _)| &text[..at])
}

/// What a value is, in an error.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", cut(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// What JSON holds in place of a record.
pub(super) enum Item {
    Record(Record),
    /// Something else, in words.
    Other(&'static str),
}

impl Item {
    pub(super) fn record(self) -> Result<Record> {
        match self {
            Item::Record(record) => Ok(record),
            Item::Other(what) => {
                Err(Error::input(format!("expected an object like {{\"prompt\": …}}, found {what}")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Item, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Item, A::Error> {
        let mut record = Record::default();
        while let Some(name) = map.next_key::<String>()? {
            let value = match known(&name) {
                Some(_) => map.next_value::<Value>()?,
                None => map.next_value::<IgnoredAny>().map(|_| Value::Null)?,
            };
            record.add(&name, value);
        }
        Ok(Item::Record(record))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Item, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Other("a list"))
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<Item, E> {
        Ok(Item::Other("a text"))
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Item, E> {
        Ok(Item::Other("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Item, E> {
        Ok(Item::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Item, E> {
        Ok(Item::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Item, E> {
        Ok(Item::Other("a number"))
    }

    fn visit_unit<E>(self) -> std::result::Result<Item, E> {
        Ok(Item::Other("null"))
    }
}
