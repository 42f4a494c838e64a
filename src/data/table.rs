//! Tables with a header: fields separated by commas, tabs or semicolons, with quotes where a field holds one of them.

use super::forms::{self, COMPARED};
use super::record::{Place, Record, known};
use super::records::{Check, Take};
use crate::error::{Error, Result};
use csv::{Reader, ReaderBuilder, StringRecord, Trim};
use serde_json::Value;

/// The separators, in the order in which they are tried.
const SEPARATORS: [u8; 3] = [b',', b'\t', b';'];

/// Fields whose cells are read as JSON, since a cell is a text.
const JSON_CELLS: [&str; 4] = ["messages", "conversations", "labels", "values"];

/// Gives each row of a table to `take`, whose header `check` allows.
pub(super) fn each(text: &str, check: Check<'_>, take: Take<'_>) {
    let separator = separator(text);
    let mut reader = reader(text, separator);
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return take(Place::Line(1), Err(Error::input(error.to_string()))),
    };
    if let Err(error) = check(&named(&header)) {
        let start = text.find(|c: char| c != '\n' && c != '\r').unwrap_or(0);
        let line = 1 + text[..start].matches('\n').count();
        return take(Place::Line(line), Err(error));
    }
    let numbers = has_numbers(text, separator, &header);
    let mut row = StringRecord::new();
    let mut last = 1;
    while reader.read_record(&mut row).is_ok_and(|more| more) {
        last = row.position().map_or(last, |position| position.line() as usize);
        if row.iter().any(|cell| !cell.is_empty()) {
            take(Place::Line(last), record(&header, &row, numbers));
        }
    }
    let lines = text.lines().count();
    if lines > last && text.matches('"').count() % 2 == 1 {
        take(Place::Line(last), Err(Error::input("a quote opens here and is not closed")));
    }
}

/// A record with the header's names.
fn named(header: &StringRecord) -> Record {
    let mut named = Record::default();
    header.iter().for_each(|name| named.add(name, Value::Bool(true)));
    named
}

fn reader(text: &str, separator: u8) -> Reader<&[u8]> {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(separator).flexible(true).trim(Trim::Headers).from_reader(text.as_bytes())
}

/// The separator with which the header has most names that some form has, or else most names.
fn separator(text: &str) -> u8 {
    let names = |separator: &u8| {
        let header = reader(text, *separator).headers().cloned().unwrap_or_default();
        (header.iter().take(COMPARED).filter(|name| forms::is_near(name)).count(), header.len())
    };
    SEPARATORS.into_iter().rev().max_by_key(names).expect("there are separators")
}

/// Whether every label is a number; else labels are names.
fn has_numbers(text: &str, separator: u8, header: &StringRecord) -> bool {
    let Some(at) = header.iter().position(|name| name == "label") else { return false };
    let mut reader = reader(text, separator);
    let mut rows = reader.records().map_while(|row| row.ok());
    rows.all(|row| row.get(at).is_none_or(|cell| cell.is_empty() || number(cell).is_some()))
}

fn number(cell: &str) -> Option<Value> {
    serde_json::from_str(cell.trim()).ok().filter(Value::is_number)
}

fn record(header: &StringRecord, row: &StringRecord, numbers: bool) -> Result<Record> {
    let (got, expected) = (row.len(), header.len());
    if got != expected {
        return Err(Error::input(format!(
            "found {got} fields, the header has {expected}: put quotes around a field that holds a separator"
        )));
    }
    let mut record = Record::default();
    for (name, cell) in header.iter().zip(row) {
        let value = match known(name) {
            Some("label") if numbers => number(cell).unwrap_or(Value::String(cell.to_owned())),
            Some(name) if JSON_CELLS.contains(&name) => json(name, cell)?,
            Some(_) => Value::String(cell.to_owned()),
            None => Value::Null,
        };
        record.add(name, value);
    }
    Ok(record)
}

fn json(name: &str, cell: &str) -> Result<Value> {
    serde_json::from_str(cell)
        .map_err(|_| Error::input(format!("`{name}`: a cell of this field is JSON, such as [0, 2]")))
}
