//! The classes that labels name.

use super::example::{Class, Example};
use super::record::Place;
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// The names of classes seen so far.
#[derive(Default)]
pub(super) struct Classes {
    names: BTreeSet<String>,
    /// The first label: where it is, and whether it is a name.
    first: Option<(Place, bool)>,
}

impl Classes {
    /// Notes the labels of an example; all are numbers or all are names.
    pub(super) fn note(&mut self, place: Place, example: &Example) -> Result<()> {
        let labels = match example {
            Example::Labelled(it) => std::slice::from_ref(&it.label),
            Example::Tagged(it) => &it.labels,
            _ => return Ok(()),
        };
        for label in labels {
            let named = matches!(label, Class::Name(_));
            let (first, first_named) = *self.first.get_or_insert((place, named));
            if named != first_named {
                let [this, other] = if named { ["a name", "a number"] } else { ["a number", "a name"] };
                return Err(Error::input(format!(
                    "the label is {this}, that of {first} is {other}: expected all names or all numbers"
                )));
            }
            if let Class::Name(name) = label {
                self.names.insert(name.clone());
            }
        }
        Ok(())
    }

    /// All names, sorted.
    pub(super) fn names(self) -> Vec<String> {
        self.names.into_iter().collect()
    }
}
