//! The records of a text, whichever of the containers it is.

use super::record::{Item, Place, Record};
use super::table;
use crate::error::{Error, Result};
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::{Deserializer, Error as JsonError};
use std::fmt;

/// Takes each record, or what is wrong with it.
pub(super) type Take<'a> = &'a mut dyn FnMut(Place, Result<Record>);

/// Says what is wrong with the fields that a table's header names.
pub(super) type Check<'a> = &'a dyn Fn(&Record) -> Result<()>;

/// Gives each record of a text to `take`: of JSON lines, of a JSON array, or of a table, whose header `check` allows.
pub(super) fn each(text: &str, check: Check<'_>, take: Take<'_>) {
    match text.trim_start_matches(is_space).chars().next() {
        None => (),
        Some('[') => array(text, take),
        Some('{') if is_lines(text) => lines(text, take),
        Some('{') => objects(text, take),
        Some(_) => table::each(text, check, take),
    }
}

/// Between values of JSON; marks in the middle come from files put together.
fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// Whether each line is an object; if not, objects run over several lines.
fn is_lines(text: &str) -> bool {
    let mut lines = text.lines().map(|line| line.trim_matches(is_space)).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    lines.next().is_none_or(|second| second.starts_with('{')) || serde_json::from_str::<Item>(first).is_ok()
}

fn lines(text: &str, take: Take<'_>) {
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_matches(is_space);
        if !line.is_empty() {
            let item = serde_json::from_str::<Item>(line).map_err(|error| not_json(&error));
            take(Place::Line(number), item.and_then(Item::record));
        }
    }
}

/// Objects one after another, each over several lines.
fn objects(text: &str, take: Take<'_>) {
    let mut values = Deserializer::from_str(text).into_iter::<Item>();
    let (mut line, mut counted) = (1, 0);
    loop {
        let start = values.byte_offset();
        let start = start + text[start..].find(|c: char| !is_space(c)).unwrap_or(0);
        line += text[counted..start].matches('\n').count();
        counted = start;
        match values.next() {
            None => return,
            Some(Ok(item)) => take(Place::Line(line), item.record()),
            Some(Err(error)) => return take(Place::Line(error.line()), Err(not_json(&error))),
        }
    }
}

fn array(text: &str, take: Take<'_>) {
    let text = text.trim_end_matches(is_space);
    let mut json = Deserializer::from_str(text);
    let read = json.deserialize_seq(Elements(&mut *take)).and_then(|()| json.end());
    if let Err(error) = read {
        take(Place::Line(error.line()), Err(not_json(&error)));
    }
}

/// Gives each element of an array away as soon as it is read.
struct Elements<'a>(Take<'a>);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        let mut number = 1;
        while let Some(item) = seq.next_element::<Item>()? {
            (self.0)(Place::Example(number), item.record());
            number += 1;
        }
        Ok(())
    }
}

/// What is wrong with JSON, without the line, which the place tells.
fn not_json(error: &JsonError) -> Error {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    Error::input(format!("not JSON: {reason} at column {}", error.column()))
}
