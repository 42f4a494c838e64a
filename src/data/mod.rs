//! Training examples, in the forms people have them.
//!
//! [`read`] takes the bytes of a file: JSON lines, a JSON array, or a table (CSV, TSV) with a header. What the fields are called says what an
//! example is; `forms.rs` lists the forms. The command line, the npm package and the page all read with it.

mod classes;
mod example;
mod forms;
mod messages;
mod preference;
mod problems;
mod record;
mod records;
mod table;
mod text;
mod transcript;

pub use example::{
    Answer, Class, ContrastPair, Conversation, Counterfactual, Example, Input, Labelled, Preference, Scored,
    Tagged,
};
pub(crate) use problems::Problems;

use crate::error::{Error, Result};
use classes::Classes;
use record::Record;
use serde::Serialize;
use std::collections::BTreeSet;

/// Names of other columns that the warning quotes at most.
const NAMED: usize = 20;

/// The examples of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Data {
    /// The examples, in the file's order.
    pub examples: Vec<Example>,
    /// The names of the classes, sorted, where labels are names. A head with these classes learns them.
    pub classes: Vec<String>,
    /// What the caller should know: fields that are not read.
    pub warnings: Vec<String>,
}

impl Data {
    /// Outputs that a head needs to learn the examples; 0 where they need no head.
    pub fn outputs(&self) -> usize {
        self.examples.iter().map(|example| self.outputs_for(example)).max().unwrap_or(0)
    }

    fn outputs_for(&self, example: &Example) -> usize {
        let of = |label: &Class| match label {
            Class::Number(number) => *number as usize + 1,
            Class::Name(_) => self.classes.len(),
        };
        match example {
            Example::Labelled(it) => of(&it.label),
            Example::Tagged(it) => it.labels.iter().map(of).max().unwrap_or(0),
            Example::Scored(it) => it.values.len(),
            _ => 0,
        }
    }
}

/// Reads the examples of a file.
///
/// # Errors
/// `File` for bytes that are no text; `Input` for text that holds no examples, with the line of each fault: the first twenty in full, and a
/// count of the rest.
pub fn read(bytes: &[u8]) -> Result<Data> {
    let text = text::decode(bytes)?;
    let (mut data, mut classes, mut others) = (Data::default(), Classes::default(), BTreeSet::new());
    let mut problems = Problems::default();
    records::each(&text, &forms::check, &mut |place, record| {
        if problems.is_full() && record.as_ref().is_ok_and(|record| !forms::fits(record)) {
            return problems.count_one();
        }
        let example = record.and_then(|record| read_record(record, &mut others));
        let example = example.and_then(|example| classes.note(place, &example).map(|()| example));
        match example {
            Ok(example) => data.examples.push(example),
            Err(error) => problems.add(error.at(place)),
        }
    });
    problems.check()?;
    if data.examples.is_empty() {
        return Err(Error::input("no examples: the file is empty, or holds nothing but a header"));
    }
    data.classes = classes.names();
    data.warnings = warning(&others).into_iter().collect();
    Ok(data)
}

/// Reads the prompts of a file: the field `prompt` of each record. Other fields are left alone.
///
/// # Errors
/// As [`read`].
pub fn read_prompts(bytes: &[u8]) -> Result<Vec<Input>> {
    read_fields(bytes, &["prompt"], |record| input(record, "prompt"))
}

/// Reads the contrast pairs of a file: the fields `positive` and `negative` of each record. Other fields are left alone.
///
/// # Errors
/// As [`read`].
pub fn read_pairs(bytes: &[u8]) -> Result<Vec<ContrastPair>> {
    read_fields(bytes, &["positive", "negative"], |record| {
        Ok(ContrastPair { positive: input(record, "positive")?, negative: input(record, "negative")? })
    })
}

/// Reads the texts of a file: the field `text` of each record. Other fields are left alone.
///
/// # Errors
/// As [`read`].
pub fn read_texts(bytes: &[u8]) -> Result<Vec<String>> {
    read_fields(bytes, &["text"], |record| record::text("text", record.require("text")?))
}

/// Reads each record of a file; a table's header must have these fields.
fn read_fields<T>(
    bytes: &[u8],
    names: &[&'static str],
    read: impl Fn(&Record) -> Result<T>,
) -> Result<Vec<T>> {
    let text = text::decode(bytes)?;
    let (mut values, mut problems) = (Vec::new(), Problems::default());
    let check = |header: &Record| names.iter().try_for_each(|name| header.require(name).map(|_| ()));
    records::each(&text, &check, &mut |place, record| match record.and_then(|record| read(&record)) {
        Ok(value) => values.push(value),
        Err(error) => problems.add(error.at(place)),
    });
    problems.check()?;
    if values.is_empty() { Err(Error::input("the file holds no records")) } else { Ok(values) }
}

/// A field that is a text or a list of messages.
fn input(record: &Record, name: &'static str) -> Result<Input> {
    messages::input(name, record.require(name)?, &mut BTreeSet::new())
}

fn read_record(mut record: Record, others: &mut BTreeSet<String>) -> Result<Example> {
    let mut beside = BTreeSet::new();
    let example = forms::read(&mut record, &mut beside)?;
    others.extend(record.unread());
    others.extend(beside);
    Ok(example)
}

fn warning(others: &BTreeSet<String>) -> Option<String> {
    if others.is_empty() {
        return None;
    }
    let named: Vec<String> = others.iter().take(NAMED).map(|name| record::quoted(name)).collect();
    let more = others.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("fields that are not read: {}{more}", named.join(", ")))
}
