//! The functions that every template can call, and the methods of Python's containers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::date::strftime;
use super::args::{Args, int, text};
use super::fault::{Fault, Outcome};
use super::filters::pairs;
use super::interpreter::Run;
use super::lists;
use super::object::{Loop, Object};
use super::print::str_of;
use super::strings;
use super::value::{Dict, Range, Value, equal};

/// Names of the global functions. Source: `jinja2.defaults`, transformers' `render_jinja_template`.
const FUNCTIONS: [&str; 8] =
    ["cycler", "dict", "joiner", "lipsum", "namespace", "raise_exception", "range", "strftime_now"];

/// Jinja's sandbox makes no longer ranges.
const MAX_RANGE: usize = 100_000;

/// A global function, if there is one of this name.
pub(super) fn global(name: &str) -> Option<Value> {
    let name = FUNCTIONS.into_iter().find(|it| *it == name)?;
    Some(Value::Object(Rc::new(Object::Function(name))))
}

/// Calls a global function.
pub(super) fn call(run: &mut Run, name: &str, args: Args) -> Outcome<Value> {
    match name {
        "cycler" => {
            let Args { plain: items, named } = args;
            Args { plain: Vec::new(), named }.none(name)?;
            if items.is_empty() {
                return Err(Fault::other("RuntimeError: at least one item has to be provided"));
            }
            Ok(object(Object::Cycler { items, at: Cell::new(0) }))
        }
        "dict" => Ok(Value::Dict(dict(args)?.into())),
        "joiner" => {
            let [separator] = args.bind(name, ["sep"], 0)?;
            let separator = separator.unwrap_or_else(|| Value::from(", "));
            Ok(object(Object::Joiner { separator, used: Cell::new(false) }))
        }
        "namespace" => {
            let namespace = Rc::new(Object::Namespace(RefCell::new(dict(args)?)));
            run.namespaces.push(namespace.clone());
            Ok(Value::Object(namespace))
        }
        "raise_exception" => {
            let [message] = args.bind(name, ["message"], 1)?;
            Err(Fault::refusal(&str_of(&run.meter, &message.unwrap_or(Value::None))?))
        }
        "range" => range(args),
        "strftime_now" => {
            let [format] = args.bind(name, ["format"], 1)?;
            let format = format.unwrap_or(Value::None);
            let format = text(&format, "strftime() argument 1")?;
            let date = strftime(run.now, format);
            let wrong =
                || Fault::other(format!("invalid operation: strftime_now: {format:?} is not supported"));
            date.map(Value::from).ok_or_else(wrong)
        }
        other => Err(Fault::unsupported(format!("{other}()"))),
    }
}

fn object(it: Object) -> Value {
    Value::Object(Rc::new(it))
}

/// Python's `dict(...)`.
fn dict(args: Args) -> Outcome<Dict> {
    let given = match &args.plain[..] {
        [] => Vec::new(),
        [Value::Dict(dict)] => dict.pairs().to_vec(),
        [other] => {
            let pair = |item: Value| match &item.items()?[..] {
                [key, value] => Ok((key.clone(), value.clone())),
                items => {
                    let text = format!(
                        "dictionary update sequence element has length {}; 2 is required",
                        items.len()
                    );
                    Err(Fault::value(text))
                }
            };
            other.items()?.into_iter().map(pair).collect::<Outcome<_>>()?
        }
        more => {
            let text = format!("dict expected at most 1 argument, got {}", more.len());
            return Err(Fault::of_type(text));
        }
    };
    let named = args.named.into_iter().map(|(name, value)| (Value::from(&*name), value));
    Dict::new(given.into_iter().chain(named))
}

fn range(args: Args) -> Outcome<Value> {
    let bounds = args.bind("range", ["", "", ""], 1)?;
    let bounds = bounds.iter().flatten().map(int).collect::<Outcome<Vec<i128>>>()?;
    let (start, stop, step) = match bounds[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => unreachable!("range has 1 to 3 arguments"),
    };
    if step == 0 {
        return Err(Fault::value("range() arg 3 must not be zero"));
    }
    let small = [start, stop, step].iter().all(|it| it.unsigned_abs() < 1 << 100);
    let range = Range { start, stop, step };
    if !small || range.len() > MAX_RANGE {
        let text = format!("OverflowError: Range too big, too many elements: the sandbox allows {MAX_RANGE}");
        return Err(Fault::other(text));
    }
    Ok(Value::Range(range.into()))
}

/// Whether a value of this type has a method of this name.
pub(super) fn has_method(value: &Value, name: &str) -> bool {
    match value {
        Value::Str(_) => strings::METHODS.contains(&name),
        Value::List(_) => ["copy", "count", "index"].contains(&name),
        Value::Tuple(_) | Value::Range(_) => ["count", "index"].contains(&name),
        Value::Dict(_) => ["copy", "get", "items", "keys", "values"].contains(&name),
        Value::Int(_) | Value::Bool(_) => ["bit_length", "conjugate"].contains(&name),
        Value::Float(_) => ["conjugate", "is_integer"].contains(&name),
        Value::Object(object) => match &**object {
            Object::Cycler { .. } => ["next", "reset"].contains(&name),
            Object::Loop(_) => ["changed", "cycle"].contains(&name),
            _ => false,
        },
        _ => false,
    }
}

/// Whether Jinja's sandbox keeps a method that a value of this type has in Python: it would change the value.
pub(super) fn is_kept(value: &Value, name: &str) -> bool {
    match value {
        Value::List(_) => {
            ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"].contains(&name)
        }
        Value::Dict(_) => ["clear", "pop", "popitem", "setdefault", "update"].contains(&name),
        _ => false,
    }
}

/// `receiver.name(args)`.
pub(super) fn method(run: &mut Run, receiver: &Value, name: &str, args: Args) -> Outcome<Value> {
    match receiver {
        Value::Str(it) => {
            let run = &*run;
            strings::call(&run.meter, it, name, args, &|value, key, is_item| {
                run.format_member(value, key, is_item)
            })
        }
        Value::List(items) | Value::Tuple(items) => {
            run.meter.make(receiver.bytes())?;
            lists::call(items, name, args)
        }
        Value::Range(_) => lists::call(&run.items(receiver)?, name, args),
        Value::Dict(dict) => dict_method(run, dict, name, args),
        Value::Float(it) => {
            args.none(name)?;
            Ok(if name == "is_integer" { Value::Bool(it.fract() == 0.0) } else { receiver.clone() })
        }
        Value::Object(object) => object_method(object, name, args),
        other => {
            args.none(name)?;
            let it = other.as_int().unwrap_or_default();
            let bits = 128 - it.unsigned_abs().leading_zeros();
            Ok(Value::Int(if name == "bit_length" { bits.into() } else { it }))
        }
    }
}

fn dict_method(run: &mut Run, dict: &Rc<Dict>, name: &str, args: Args) -> Outcome<Value> {
    if name == "get" {
        let [key, default] = args.bind(name, ["", ""], 1)?;
        let found = dict.get(&key.unwrap_or(Value::None))?.cloned();
        return Ok(found.or(default).unwrap_or(Value::None));
    }
    args.none(name)?;
    run.meter.make(Value::Dict(dict.clone()).bytes())?;
    Ok(match name {
        "items" => Value::view("dict_items", pairs(dict)),
        "keys" => Value::view("dict_keys", dict.keys()),
        "values" => Value::view("dict_values", dict.pairs().iter().map(|(_, value)| value.clone()).collect()),
        _ => Value::Dict(Dict::new(dict.pairs().to_vec())?.into()),
    })
}

fn object_method(object: &Object, name: &str, args: Args) -> Outcome<Value> {
    match object {
        Object::Cycler { items, at } => {
            args.none(name)?;
            let current = items[at.get()].clone();
            at.set(if name == "reset" { 0 } else { (at.get() + 1) % items.len() });
            Ok(if name == "reset" { Value::None } else { current })
        }
        Object::Loop(it) => loop_method(it, name, args),
        other => Err(Fault::of_type(format!("'{}' object has no method '{name}'", other.type_name()))),
    }
}

fn loop_method(it: &Loop, name: &str, args: Args) -> Outcome<Value> {
    let Args { plain: values, named } = args;
    Args { plain: Vec::new(), named }.none(name)?;
    if name == "cycle" {
        if values.is_empty() {
            return Err(Fault::of_type("no items for cycling given"));
        }
        return Ok(values[it.at.get() % values.len()].clone());
    }
    let now = Value::tuple(values);
    let changed = !it.changed.borrow().as_ref().is_some_and(|last| equal(last, &now));
    if changed {
        it.changed.replace(Some(now));
    }
    Ok(Value::Bool(changed))
}

/// An attribute that is no method.
pub(super) fn plain_attribute(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::Object(object) => match &**object {
            Object::Namespace(dict) => dict.borrow().get_str(name).cloned(),
            Object::Loop(it) => it.attribute(name),
            Object::Cycler { items, at } if name == "current" => Some(items[at.get()].clone()),
            Object::Cycler { at, .. } if name == "pos" => Some(Value::from(at.get())),
            Object::Cycler { items, .. } if name == "items" => Some(Value::tuple(items.clone())),
            Object::Joiner { separator, .. } if name == "sep" => Some(separator.clone()),
            Object::Joiner { used, .. } if name == "used" => Some(Value::Bool(used.get())),
            Object::Macro(it) => macro_attribute(it, name),
            _ => None,
        },
        Value::Range(it) => match name {
            "start" => Some(Value::Int(it.start)),
            "stop" => Some(Value::Int(it.stop)),
            "step" => Some(Value::Int(it.step)),
            _ => None,
        },
        Value::Int(_) | Value::Bool(_) | Value::Float(_) if name == "real" => Some(match value.as_int() {
            Some(it) => Value::Int(it),
            None => value.clone(),
        }),
        Value::Float(_) if name == "imag" => Some(Value::Float(0.0)),
        Value::Int(_) | Value::Bool(_) if name == "imag" => Some(Value::Int(0)),
        Value::Int(_) | Value::Bool(_) if name == "numerator" => value.as_int().map(Value::Int),
        Value::Int(_) | Value::Bool(_) if name == "denominator" => Some(Value::Int(1)),
        _ => None,
    }
}

fn macro_attribute(it: &super::object::Macro, name: &str) -> Option<Value> {
    let uses = |at: usize| Some(Value::Bool(it.body.uses[at]));
    match name {
        "name" => Some(Value::from(&*it.body.name)),
        "arguments" => {
            let names = it.body.parameters.iter().map(|(name, _)| Value::from(&**name));
            Some(Value::tuple(names.collect()))
        }
        "caller" => uses(0),
        "catch_varargs" => uses(1),
        "catch_kwargs" => uses(2),
        _ => None,
    }
}
