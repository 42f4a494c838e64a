//! Lists of messages: `role` and `content`, or ShareGPT's `from` and `value`.

use super::example::Input;
use super::record::{cut, found, quoted, text};
use crate::error::{Error, Result};
use crate::token::Message;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Who speaks, by the names that data sets have.
const ROLES: [(&str, &str); 10] = [
    ("system", "system"),
    ("developer", "developer"),
    ("user", "user"),
    ("human", "user"),
    ("assistant", "assistant"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bot", "assistant"),
    ("model", "assistant"),
    ("tool", "tool"),
];

/// Parts of a message that change what it says and are not supported.
const CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// A prompt: a text, or messages.
pub(super) fn input(name: &str, value: &Value, others: &mut BTreeSet<String>) -> Result<Input> {
    match value {
        Value::String(text) => Ok(Input::Text(text.clone())),
        Value::Array(_) => read(name, value, others).map(Input::Messages),
        other => {
            let found = found(other);
            Err(Error::input(format!("`{name}`: expected a text or a list of messages, found {found}")))
        }
    }
}

/// An answer: a text, or a list with one message of the assistant.
pub(super) fn answer(name: &str, value: &Value, others: &mut BTreeSet<String>) -> Result<String> {
    match value {
        Value::Array(_) => only_answer(name, &read(name, value, others)?),
        _ => super::record::filled(name, value),
    }
}

/// The text of the only message, which is the assistant's.
pub(super) fn only_answer(name: &str, messages: &[Message]) -> Result<String> {
    match messages {
        [message] if message.role == "assistant" && !message.content.is_empty() => {
            Ok(message.content.clone())
        }
        [message] if message.role == "assistant" => Err(Error::input(format!("`{name}` is empty"))),
        [message] => {
            let role = &message.role;
            Err(Error::input(format!(
                "`{name}`: expected a message of the assistant, found one of the {role}"
            )))
        }
        several => Err(Error::input(format!(
            "`{name}`: expected one message of the assistant, found {} messages: put a longer conversation into `messages`",
            several.len()
        ))),
    }
}

/// A list of messages, which is not empty.
pub(super) fn read(name: &str, value: &Value, others: &mut BTreeSet<String>) -> Result<Vec<Message>> {
    let Value::Array(items) = value else {
        let found = found(value);
        return Err(Error::input(format!("`{name}`: expected a list of messages, found {found}")));
    };
    if items.is_empty() {
        return Err(Error::input(format!("`{name}`: the list of messages is empty")));
    }
    let messages = (1..).zip(items).map(|(number, item)| {
        message(name, item, others).map_err(|error| error.at(format!("`{name}`: message {number}")))
    });
    messages.collect()
}

fn message(list: &str, item: &Value, others: &mut BTreeSet<String>) -> Result<Message> {
    let Value::Object(fields) = item else {
        return Err(Error::input(format!(
            "expected an object with `role` and `content`, found {}",
            found(item)
        )));
    };
    if let Some(call) = CALLS.iter().find(|name| fields.get(**name).is_some_and(|call| !is_empty(call))) {
        return Err(Error::input(format!("`{call}` is not supported: expected `content` alone")));
    }
    let (role_name, role) = field(fields, ["role", "from"])?;
    let (content_name, content) = field(fields, ["content", "value"])?;
    let read = [role_name, content_name];
    let unread = fields.iter().filter(|(name, value)| !read.contains(&name.as_str()) && !is_empty(value));
    others.extend(unread.map(|(name, _)| format!("{list}[].{name}")));
    Ok(Message { role: speaker(&text(role_name, role)?)?, content: said(content_name, content)? })
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// A field by the first of its names that is there.
fn field<'a>(fields: &'a Map<String, Value>, names: [&'static str; 2]) -> Result<(&'static str, &'a Value)> {
    names.into_iter().find_map(|name| Some((name, fields.get(name)?))).ok_or_else(|| {
        let found = fields.keys().take(8).map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        Error::input(format!("`{}` is missing (found: {found})", names[0]))
    })
}

fn speaker(role: &str) -> Result<String> {
    let known = ROLES.iter().find(|(name, _)| *name == role).map(|(_, role)| (*role).to_owned());
    known.ok_or_else(|| Error::not_known("role", cut(role), ROLES.map(|(name, _)| name)))
}

/// What is said: a text, or parts that are texts.
fn said(name: &str, content: &Value) -> Result<String> {
    match content {
        Value::Array(parts) => parts.iter().map(|part| said_by_part(name, part)).collect(),
        _ => text(name, content),
    }
}

fn said_by_part(name: &str, part: &Value) -> Result<String> {
    let kind = part.get("type").unwrap_or(&Value::Null);
    match (kind.as_str(), part.get("text")) {
        (Some("text") | None, Some(said)) if kind.is_string() || kind.is_null() => text("text", said),
        _ => {
            let found = if kind.is_null() { found(part) } else { format!("one of type {}", found(kind)) };
            Err(Error::input(format!(
                "`{name}`: expected parts like {{\"type\": \"text\", \"text\": …}}, found {found}"
            )))
        }
    }
}
