//! The forms of an example: which fields make which kind, and what is meant where none fits.

use super::example::{Answer, Class, Conversation, Counterfactual, Example, Input, Labelled, Scored, Tagged};
use super::record::{Item, Record, filled, found, quoted, text};
use super::{messages, preference};
use crate::error::{Error, Result};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;
use std::collections::BTreeSet;

type Make = fn(&mut Record, &mut BTreeSet<String>) -> Result<Example>;

/// The fields that make an example, and how.
struct Form {
    required: &'static [&'static str],
    make: Make,
}

/// The forms, the first that fits first.
const FORMS: [Form; 9] = [
    Form { required: &["chosen", "rejected"], make: preference::read },
    Form { required: &["prompt", "completion"], make: answer },
    Form { required: &["messages"], make: |record, others| conversation(record, "messages", others) },
    Form {
        required: &["conversations"],
        make: |record, others| conversation(record, "conversations", others),
    },
    Form { required: &["instruction", "output"], make: alpaca },
    Form { required: &["text", "label"], make: labelled },
    Form { required: &["text", "labels"], make: tagged },
    Form { required: &["text", "values"], make: scored },
    Form { required: &["base", "source", "expected"], make: counterfactual },
];

/// Names of a record that are compared with the forms at most.
pub(super) const COMPARED: usize = 1000;

/// Names that other data sets have, and the names here.
const SYNONYMS: [(&str, &str); 19] = [
    ("question", "prompt"),
    ("query", "prompt"),
    ("user", "prompt"),
    ("answer", "completion"),
    ("response", "completion"),
    ("response", "output"),
    ("assistant", "completion"),
    ("target", "completion"),
    ("context", "input"),
    ("conversation", "conversations"),
    ("dialog", "messages"),
    ("sentence", "text"),
    ("class", "label"),
    ("category", "label"),
    ("sentiment", "label"),
    ("score", "values"),
    ("value", "values"),
    ("preferred", "chosen"),
    ("dispreferred", "rejected"),
];

/// Reads a record as the first form whose fields it has.
pub(super) fn read(record: &mut Record, others: &mut BTreeSet<String>) -> Result<Example> {
    record.check_names()?;
    match FORMS.iter().find(|form| form.required.iter().all(|name| record.has(name))) {
        Some(form) => (form.make)(record, others),
        None => Err(no_form(record)),
    }
}

/// Fails unless some form's fields are all there.
pub(super) fn check(record: &Record) -> Result<()> {
    record.check_names()?;
    if fits(record) { Ok(()) } else { Err(no_form(record)) }
}

/// Whether a record has all fields of some form.
pub(super) fn fits(record: &Record) -> bool {
    FORMS.iter().any(|form| form.required.iter().all(|name| record.has(name)))
}

/// Whether a name is that of a field, or near to one.
pub(super) fn is_near(name: &str) -> bool {
    let mut fields = FORMS.iter().flat_map(|form| form.required);
    fields.any(|field| *field == name || is_meant(name, field))
}

/// Says what is missing, and which field is probably meant.
fn no_form(record: &Record) -> Error {
    let names: Vec<&str> = record.names().take(COMPARED).collect();
    let null = |field: &&&str| record.get(field).is_some_and(Value::is_null);
    let nearest = FORMS.iter().filter_map(|form| {
        let missing: Vec<&str> = form.required.iter().filter(|name| !record.has(name)).copied().collect();
        let meant: Vec<(&str, &str)> = missing
            .iter()
            .filter_map(|field| Some((*names.iter().find(|name| is_meant(name, field))?, *field)))
            .collect();
        let has = form.required.len() - missing.len();
        (has + meant.len() > 0).then(|| {
            let fit = (100 * (has + meant.len()) / form.required.len(), has);
            (fit, form, missing, meant)
        })
    });
    let nearest = nearest.fold(None, |best: Option<(_, _, _, _)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    });
    let Some((_, form, missing, meant)) = nearest else { return unlike_any(&names) };
    if let Some(field) = missing.iter().find(|field| null(field)) {
        return Error::input(format!("`{field}`: expected a value, found null"));
    }
    if meant.is_empty() {
        let beside: Vec<String> =
            form.required.iter().filter(|name| record.has(name)).map(|name| quoted(name)).collect();
        let missing: Vec<String> = missing.iter().map(|name| quoted(name)).collect();
        return Error::input(format!(
            "{} is missing beside {} (found: {})",
            missing.join(" and "),
            beside.join(" and "),
            list(&names)
        ));
    }
    let meant: Vec<String> =
        meant.iter().map(|(name, field)| format!("{}: did you mean `{field}`?", quoted(name))).collect();
    Error::input(meant.join(" "))
}

fn unlike_any(names: &[&str]) -> Error {
    let forms = FORMS
        .iter()
        .map(|form| form.required.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" and "));
    Error::input(format!(
        "found {}: expected the fields {}",
        if names.is_empty() { "no field".to_owned() } else { list(names) },
        forms.collect::<Vec<_>>().join(", or ")
    ))
}

fn list(names: &[&str]) -> String {
    let more = if names.len() > 8 { ", …" } else { "" };
    names.iter().take(8).map(|name| quoted(name)).collect::<Vec<_>>().join(", ") + more
}

/// Whether a name that is none probably means a field: other case, a synonym, or a slip or two.
fn is_meant(name: &str, field: &str) -> bool {
    if name.len() > 40 || super::record::known(name).is_some() {
        return false;
    }
    let lower = name.trim().to_lowercase();
    lower == field
        || SYNONYMS.contains(&(lower.as_str(), field))
        || strsim::osa_distance(&lower, field) <= field.len() / 4
}

fn answer(record: &mut Record, others: &mut BTreeSet<String>) -> Result<Example> {
    if record.get("label").is_some_and(is_truth) {
        return Err(Error::input(
            "`prompt`, `completion` and `label`: unpaired preferences are not supported; expected `prompt`, `chosen` and `rejected`",
        ));
    }
    let prompt = messages::input("prompt", &record.take_required("prompt")?, others)?;
    let completion = messages::answer("completion", &record.take_required("completion")?, others)?;
    Ok(Example::Answer(Answer { prompt, completion }))
}

fn is_truth(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    value.is_boolean() || text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

fn conversation(record: &mut Record, name: &'static str, others: &mut BTreeSet<String>) -> Result<Example> {
    let messages = messages::read(name, &record.take_required(name)?, others)?;
    match messages.iter().any(|message| message.role == "assistant" && !message.content.is_empty()) {
        true => Ok(Example::Conversation(Conversation { messages })),
        false => Err(Error::input(format!("`{name}`: the assistant says nothing that could be learned"))),
    }
}

/// Alpaca's fields, in the two prompts of its authors (github.com/tatsu-lab/stanford_alpaca, `train.py`).
fn alpaca(record: &mut Record, _: &mut BTreeSet<String>) -> Result<Example> {
    let instruction = filled("instruction", &record.take_required("instruction")?)?;
    let input = record.take("input").map_or(Ok(String::new()), |input| text("input", &input))?;
    let completion = filled("output", &record.take_required("output")?)?;
    let prompt = match input.as_str() {
        "" => format!(
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Response:"
        ),
        input => format!(
            "Below is an instruction that describes a task, paired with an input that provides further context. \
             Write a response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
        ),
    };
    Ok(Example::Answer(Answer { prompt: Input::Text(prompt), completion }))
}

fn labelled(record: &mut Record, _: &mut BTreeSet<String>) -> Result<Example> {
    let text = filled("text", &record.take_required("text")?)?;
    let label = class("label", &record.take_required("label")?)?;
    Ok(Example::Labelled(Labelled { text, label }))
}

fn tagged(record: &mut Record, _: &mut BTreeSet<String>) -> Result<Example> {
    let text = filled("text", &record.take_required("text")?)?;
    let labels = match record.take_required("labels")? {
        Value::Array(labels) => labels.iter().map(|label| class("labels", label)).collect::<Result<_>>()?,
        other => {
            let found = found(&other);
            return Err(Error::input(format!("`labels`: expected a list of classes, found {found}")));
        }
    };
    Ok(Example::Tagged(Tagged { text, labels }))
}

/// A class: a whole number from 0, or a name.
fn class(name: &str, value: &Value) -> Result<Class> {
    let number = match value {
        Value::String(text) if !text.is_empty() => return Ok(Class::Name(text.clone())),
        Value::Number(number) => number.as_f64().filter(|number| number.fract() == 0.0),
        _ => None,
    };
    let number = number.filter(|number| (0.0..=f64::from(u32::MAX)).contains(number));
    number.map(|number| Class::Number(number as u32)).ok_or_else(|| {
        let found = found(value);
        Error::input(format!(
            "`{name}`: expected a class as a whole number from 0 or as a name, found {found}"
        ))
    })
}

fn scored(record: &mut Record, _: &mut BTreeSet<String>) -> Result<Example> {
    let text = filled("text", &record.take_required("text")?)?;
    let values = match record.take_required("values")? {
        Value::Array(values) => values,
        value => vec![value],
    };
    let values = values.iter().map(|value| {
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.ok_or_else(|| Error::input(format!("`values`: expected a number, found {}", found(value))))
    });
    Ok(Example::Scored(Scored { text, values: values.collect::<Result<_>>()? }))
}

fn counterfactual(record: &mut Record, _: &mut BTreeSet<String>) -> Result<Example> {
    let mut field = |name| text(name, &record.take_required(name)?);
    let (base, source) = (field("base")?, field("source")?);
    let expected = filled("expected", &record.take_required("expected")?)?;
    Ok(Example::Counterfactual(Counterfactual { base, source, expected }))
}

/// A single example, as JSON holds it. Other fields are refused: nobody would hear of them.
impl<'de> Deserialize<'de> for Example {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Example, D::Error> {
        let mut record = Item::deserialize(deserializer)?.record().map_err(D::Error::custom)?;
        let mut others = BTreeSet::new();
        let example = read(&mut record, &mut others).map_err(D::Error::custom)?;
        others.extend(record.unread());
        match others.first() {
            Some(name) => Err(D::Error::custom(format!("{} is not a field of this example", quoted(name)))),
            None => Ok(example),
        }
    }
}
