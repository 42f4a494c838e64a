//! Preferences: texts beside a prompt, or TRL's lists of messages or hh-rlhf's transcripts, which may hold the prompt themselves.

use super::example::{Example, Input, Preference};
use super::messages::{self, only_answer};
use super::record::{Record, filled};
use super::transcript;
use crate::error::{Error, Result};
use crate::token::Message;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn read(record: &mut Record, others: &mut BTreeSet<String>) -> Result<Example> {
    let prompt = record.take("prompt");
    let prompt = prompt.map(|prompt| messages::input("prompt", &prompt, others)).transpose()?;
    let [chosen, rejected] = ["chosen", "rejected"].map(|name| record.take_required(name));
    let (chosen, rejected) = (chosen?, rejected?);
    let preference = match (&chosen, &rejected) {
        (Value::Array(_), Value::Array(_)) => {
            let chosen = messages::read("chosen", &chosen, others)?;
            let rejected = messages::read("rejected", &rejected, others)?;
            of_messages(prompt, &chosen, &rejected)?
        }
        (Value::String(chosen), Value::String(rejected))
            if prompt.is_none()
                && let Some((chosen, rejected)) = transcript::read(chosen).zip(transcript::read(rejected)) =>
        {
            of_messages(None, &chosen, &rejected)?
        }
        _ => Preference {
            chosen: filled("chosen", &chosen)?,
            rejected: filled("rejected", &rejected)?,
            prompt: prompt.ok_or_else(|| {
                Error::input(
                    "`chosen` and `rejected` are texts: expected `prompt` beside them, or transcripts (`Human: …`, `Assistant: …`)",
                )
            })?,
        },
    };
    Ok(Example::Preference(preference))
}

/// What both conversations begin with belongs to the prompt; an answer of the assistant is left of each.
fn of_messages(prompt: Option<Input>, chosen: &[Message], rejected: &[Message]) -> Result<Preference> {
    let most = chosen.len().min(rejected.len()) - 1;
    let common = chosen.iter().zip(rejected).take(most).take_while(|(one, other)| one == other).count();
    let prompt = join(prompt, &chosen[..common])?;
    Ok(Preference {
        prompt,
        chosen: only_answer("chosen", &chosen[common..])?,
        rejected: only_answer("rejected", &rejected[common..])?,
    })
}

/// The prompt, of which the conversations may hold all or a part.
fn join(prompt: Option<Input>, common: &[Message]) -> Result<Input> {
    let speaks = common.iter().any(|message| message.role != "system");
    match prompt {
        None if common.is_empty() => {
            Err(Error::input("`chosen` and `rejected` begin differently: expected a `prompt` beside them"))
        }
        None => Ok(Input::Messages(common.to_vec())),
        Some(prompt) if common.is_empty() => Ok(prompt),
        Some(Input::Text(text)) if !speaks => {
            let asked = Message { role: "user".to_owned(), content: text };
            Ok(Input::Messages([common, &[asked]].concat()))
        }
        Some(Input::Text(text)) if common.iter().any(|message| message.content.trim() == text.trim()) => {
            Ok(Input::Messages(common.to_vec()))
        }
        Some(Input::Text(_)) => Err(Error::input(
            "`prompt` is not what `chosen` and `rejected` begin with: leave one of them out",
        )),
        Some(Input::Messages(messages)) if common.starts_with(&messages) => {
            Ok(Input::Messages(common.to_vec()))
        }
        Some(Input::Messages(messages)) => Ok(Input::Messages([&messages, common].concat())),
    }
}
