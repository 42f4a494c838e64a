//! Jinja's tests: what stands after `is`. Source: `jinja2.tests`.

use std::rc::Rc;

use super::args::Args;
use super::ast::{Binary, Comparison};
use super::fault::{Fault, Outcome};
use super::interpreter::Run;
use super::operators::{binary, compare};
use super::print::str_of;
use super::value::{Dict, Value, equal};

/// Whether a value passes a test.
pub(super) fn test(run: &mut Run, name: &str, value: &Value, args: Args) -> Outcome<bool> {
    if let Some(comparison) = comparison(name) {
        let [other] = args.bind(name, ["other"], 1)?;
        return compare(&run.meter, comparison, value, &other.unwrap_or(Value::None));
    }
    match name {
        "divisibleby" => {
            let [by] = args.bind(name, ["num"], 1)?;
            let rest = binary(&run.meter, Binary::Mod, value, &by.unwrap_or(Value::None))?;
            return Ok(equal(&rest, &Value::Int(0)));
        }
        "sameas" => {
            let [other] = args.bind(name, ["other"], 1)?;
            return Ok(same(value, &other.unwrap_or(Value::None)));
        }
        _ => args.none(name)?,
    }
    match name {
        "even" | "odd" => {
            let rest = binary(&run.meter, Binary::Mod, value, &Value::Int(2))?;
            Ok(equal(&rest, &Value::Int(i128::from(name == "odd"))))
        }
        "lower" | "upper" => {
            let text = str_of(&run.meter, value)?;
            let has_case = text.chars().any(|c| c.is_uppercase() || c.is_lowercase());
            let other = if name == "lower" { char::is_uppercase } else { char::is_lowercase };
            Ok(has_case && !text.chars().any(other))
        }
        "filter" | "test" => {
            Dict::default().get(value)?;
            Ok(value.as_str().is_some_and(|it| is_known(name, it)))
        }
        _ => {
            simple(name, value).ok_or_else(|| Fault::other(format!("unknown test: No test named '{name}'.")))
        }
    }
}

/// The tests that are operators.
fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "==" | "eq" | "equalto" => Comparison::Equal,
        "!=" | "ne" => Comparison::NotEqual,
        ">" | "gt" | "greaterthan" => Comparison::Greater,
        ">=" | "ge" => Comparison::GreaterOrEqual,
        "<" | "lt" | "lessthan" => Comparison::Less,
        "<=" | "le" => Comparison::LessOrEqual,
        "in" => Comparison::In,
        _ => return None,
    })
}

/// The tests that ask for a type.
fn simple(name: &str, value: &Value) -> Option<bool> {
    Some(match name {
        "boolean" => matches!(value, Value::Bool(_)),
        "callable" => match value {
            Value::Object(object) => object.is_callable(),
            Value::Undefined(_) => true,
            _ => false,
        },
        "defined" => !value.is_undefined(),
        "escaped" => matches!(value, Value::Str(text) if text.is_safe()),
        "false" => matches!(value, Value::Bool(false)),
        "float" => matches!(value, Value::Float(_)),
        "integer" => matches!(value, Value::Int(_)),
        "iterable" => value.is_iterable(),
        "mapping" => matches!(value, Value::Dict(_)),
        "none" => matches!(value, Value::None),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        "sequence" => is_sequence(value),
        "string" => matches!(value, Value::Str(_)),
        "true" => matches!(value, Value::Bool(true)),
        "undefined" => value.is_undefined(),
        _ => return None,
    })
}

/// Whether it has `len` and `[]`.
fn is_sequence(value: &Value) -> bool {
    let has_len = matches!(value, Value::Undefined(_) | Value::Str(_) | Value::Dict(_));
    has_len || matches!(value, Value::List(_) | Value::Tuple(_) | Value::Range(_))
}

/// Python's `is`: one value, not two equal ones.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Undefined(a), Value::Undefined(b)) => Rc::ptr_eq(a, b),
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b) || (a.is_empty() && b.is_empty()),
        (Value::View(_, a), Value::View(_, b)) => Rc::ptr_eq(a, b),
        (Value::Range(a), Value::Range(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        _ => a.type_name() == b.type_name() && equal(a, b),
    }
}

/// Whether there is a filter or a test of a name.
fn is_known(kind: &str, name: &str) -> bool {
    match kind {
        "filter" => FILTERS.contains(&name),
        _ => {
            let others = ["divisibleby", "even", "filter", "lower", "odd", "sameas", "test", "upper"];
            comparison(name).is_some() || others.contains(&name) || simple(name, &Value::None).is_some()
        }
    }
}

/// Jinja's filters, and those that are here.
const FILTERS: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];
