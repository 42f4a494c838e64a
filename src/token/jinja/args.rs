//! What a function, a filter or a test is called with.

use std::rc::Rc;

use super::fault::{Fault, Outcome};
use super::value::Value;

/// Evaluated arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    pub(super) plain: Vec<Value>,
    pub(super) named: Vec<(Rc<str>, Value)>,
}

impl Args {
    /// The arguments of parameters with these names, of which the first `required` must be there. One without a name is given by its
    /// place alone.
    pub(super) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        required: usize,
    ) -> Outcome<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        let n_plain = self.plain.len();
        if n_plain > N {
            let text = format!("{function}() takes at most {N} arguments ({n_plain} given)");
            return Err(Fault::of_type(text));
        }
        for (place, value) in bound.iter_mut().zip(self.plain) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let place = names.iter().position(|it| !it.is_empty() && **it == *name);
            let place = place.map(|at| &mut bound[at]);
            match place {
                Some(place @ None) => *place = Some(value),
                Some(_) => {
                    let text = format!("{function}() got multiple values for argument '{name}'");
                    return Err(Fault::of_type(text));
                }
                None => {
                    let text = format!("{function}() got an unexpected keyword argument '{name}'");
                    return Err(Fault::of_type(text));
                }
            }
        }
        match bound[..required].iter().position(Option::is_none) {
            Some(at) => Err(Fault::of_type(format!(
                "{function}() missing required argument {}: '{}'",
                at + 1,
                names[at]
            ))),
            None => Ok(bound),
        }
    }

    /// Nothing at all.
    pub(super) fn none(self, function: &str) -> Outcome<()> {
        self.bind::<0>(function, [], 0).map(|_| ())
    }

    /// Takes the argument of a name away.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.named.iter().position(|(it, _)| **it == *name)?;
        Some(self.named.remove(at).1)
    }
}

/// A text, or a `TypeError`.
pub(super) fn text<'v>(value: &'v Value, what: &str) -> Outcome<&'v str> {
    match value {
        Value::Str(text) => Ok(text),
        Value::Undefined(what) => Err(Fault::undefined(what)),
        other => Err(Fault::of_type(format!("{what} must be str, not {}", other.type_name()))),
    }
}

/// A whole number, or a `TypeError`.
pub(super) fn int(value: &Value) -> Outcome<i128> {
    match (value.as_int(), value) {
        (Some(it), _) => Ok(it),
        (None, Value::Undefined(what)) => Err(Fault::undefined(what)),
        (None, other) => {
            let name = other.type_name();
            Err(Fault::of_type(format!("'{name}' object cannot be interpreted as an integer")))
        }
    }
}

/// A whole number that counts something; one below 0 is 0.
pub(super) fn count(value: &Value) -> Outcome<usize> {
    let it = int(value)?;
    Ok(usize::try_from(it).unwrap_or(if it < 0 { 0 } else { usize::MAX }))
}
