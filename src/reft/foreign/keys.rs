//! Keys of the libraries' configurations as tables: what each does to interventions that are loaded.
//!
//! The libraries themselves drop keys that they do not know. A newer key may change what is computed, so an unknown key is refused
//! unless its value asks for nothing: null, false, 0, or empty.

use crate::error::{Error, Faults, Result};
use serde_json::Value;

/// What a key does to interventions that are loaded.
pub(super) enum Effect {
    /// The reader uses or checks the value.
    Read,
    /// No value changes what is computed; a comment says why.
    Harmless,
    /// These values change nothing, and neither does null, false, 0 or an empty one; every other does this to the computation.
    Refused(&'static [&'static str], &'static str),
}

/// Some keys, each with its effect.
pub(super) type Keys = &'static [(&'static str, Effect)];

/// Fails with every key that asks for something that is not loaded. `advice` says what to do about one.
pub(super) fn check(tables: &[Keys], config: &Value, advice: &str) -> Result<()> {
    let mut faults = Faults::default();
    for (key, value) in config.as_object().into_iter().flatten() {
        let known = tables.iter().copied().flatten().find(|(name, _)| name == key);
        faults.note(check_key(key, value, known.map(|(_, effect)| effect), advice));
    }
    faults.check()
}

/// Fails if a key's value asks for something that is not loaded.
pub(super) fn check_key(key: &str, value: &Value, effect: Option<&Effect>, advice: &str) -> Result<()> {
    let got = shown(value);
    let message = match effect {
        Some(Effect::Read | Effect::Harmless) => return Ok(()),
        _ if is_nothing(value) => return Ok(()),
        Some(Effect::Refused(neutral, _)) if neutral.contains(&value.to_string().as_str()) => return Ok(()),
        Some(Effect::Refused([], what)) => {
            format!("{key} {got}: {what}; {advice}")
        }
        Some(Effect::Refused(neutral, what)) => {
            format!("{key} {got}: expected {}: {what}", neutral.join(", "))
        }
        None => format!(
            "{key} {got}: webreft does not know this key, which may change what is computed; set it to null if it does not, else {advice}"
        ),
    };
    Err(Error::unsupported(message))
}

/// Whether a value asks for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// A value as an error shows it: its beginning.
pub(super) fn shown(value: &Value) -> String {
    const MOST: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
