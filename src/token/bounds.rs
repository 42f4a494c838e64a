//! What a chat template may take. minijinja counts instructions, but a few of them double a text again and again: so the bytes that
//! they read and make are counted as well. [`metered`](super::metered) puts the filters that do so into a template.

use minijinja::value::{DynObject, ObjectRepr, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter, filters, tests};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::python::{part, times};

/// The filter that counts what was made and returns it, what is lazy as a list.
pub(super) const MADE: &str = "made";
/// The filter that counts a text that is read, and returns it.
pub(super) const READ: &str = "read";
/// The filter that multiplies.
pub(super) const TIMES: &str = "times";
/// The filter that takes `[start:stop:step]`.
pub(super) const PART: &str = "part";
/// The variable with the bytes that a run may read and make: no template can spell it.
pub(super) const ALLOWANCE: &str = "bytes allowed";

/// Bytes that any value counts for.
pub(super) const VALUE: usize = 16;
/// Bytes that a float prints at most.
const FLOAT: usize = 320;
/// Lists in lists at most: each level takes a piece of the stack where they are printed or dropped.
const MAX_DEPTH: usize = 64;
/// Filters that Jinja does not have, whose results are lazy or indented by their depth.
const LEFT_OUT: [&str; 5] = ["chain", "lines", "pprint", "split", "zip"];

/// Has the templates of an environment counted.
pub(super) fn bound(environment: &mut Environment) {
    LEFT_OUT.iter().for_each(|name| environment.remove_filter(name));
    environment.remove_global("debug");
    environment.add_filter(MADE, |state: &mut State, value: &Value| made(state, value, MAX_DEPTH));
    environment.add_filter(READ, read);
    environment.add_filter(TIMES, times);
    environment.add_filter(PART, part);
    environment.add_test("in", |state: &mut State, item: &Value, container: &Value| {
        made(state, container, MAX_DEPTH)?;
        tests::is_in(state, item, container)
    });
    let mut swells = |name, filter: Value, size: fn(&[Value]) -> usize| {
        let counted = move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            take(state, size(&args))?;
            filter.call(state, &args)
        };
        environment.add_filter(name, counted);
    };
    swells("batch", Value::from_function(filters::batch), |args| VALUE.saturating_mul(numbers(args)));
    swells("format", Value::from_function(filters::format), |args| formatted(args, '%'));
    swells("indent", Value::from_function(filters::indent), indented);
    swells("join", Value::from_function(filters::join), |args| joined(args.first(), args.get(1)));
    swells("list", Value::from_function(filters::list), |args| VALUE * text(args.first()).len());
    swells("replace", Value::from_function(filters::replace), replaced);
    swells("slice", Value::from_function(filters::slice), |args| VALUE.saturating_mul(numbers(args)));
    environment.set_unknown_method_callback(call_method);
    environment.set_formatter(print);
}

/// What is left of the allowance.
struct Left(usize);

/// Takes so many bytes from the allowance, or fails.
pub(super) fn take(state: &mut State, bytes: usize) -> Result<(), Error> {
    let allowed = || state.lookup(ALLOWANCE).and_then(|bytes| bytes.as_usize()).unwrap_or(0);
    let left = state.get_extension::<Left>().map_or_else(allowed, |left| left.0);
    let Some(left) = left.checked_sub(bytes) else {
        let message = "the template reads and makes more text than its messages justify";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    };
    state.get_or_insert_extension(Left(left)).0 = left;
    Ok(())
}

fn made(state: &mut State, value: &Value, depth: usize) -> Result<Value, Error> {
    let Some(object) = value.as_object() else {
        let float = value.kind() == ValueKind::Number && !value.is_integer();
        let bytes = if float { FLOAT } else { value.as_str().map_or(0, str::len) };
        take(state, VALUE + bytes)?;
        return Ok(value.clone());
    };
    take(state, VALUE)?;
    let lists = matches!(object.repr(), ObjectRepr::Seq | ObjectRepr::Iterable | ObjectRepr::Map);
    if lists && depth == 0 {
        let message = format!("lists and dictionaries nest deeper than {MAX_DEPTH}");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    match object.repr() {
        ObjectRepr::Map => count_pairs(state, object, depth)?,
        ObjectRepr::Seq => {
            for item in object.try_iter().into_iter().flatten() {
                made(state, &item, depth - 1)?;
            }
        }
        ObjectRepr::Iterable => {
            let items = object.try_iter().into_iter().flatten();
            return items.map(|item| made(state, &item, depth - 1)).collect::<Result<Value, Error>>();
        }
        _ => {}
    }
    Ok(value.clone())
}

fn count_pairs(state: &mut State, object: &DynObject, depth: usize) -> Result<(), Error> {
    for (key, value) in object.try_iter_pairs().into_iter().flatten() {
        made(state, &key, depth - 1)?;
        made(state, &value, depth - 1)?;
    }
    Ok(())
}

fn read(state: &mut State, value: &Value) -> Result<Value, Error> {
    take(state, VALUE + text(Some(value)).len())?;
    Ok(value.clone())
}

fn call_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let all = || [value].into_iter().chain(args).cloned().collect::<Vec<Value>>();
    let bytes = match method {
        "format" => formatted(&all(), '{'),
        "join" => joined(args.first(), Some(value)),
        "replace" => replaced(&all()),
        "split" => VALUE * parts(text(Some(value)), args.first().and_then(Value::as_str)),
        "splitlines" => VALUE * text(Some(value)).lines().count(),
        _ => 0,
    };
    take(state, bytes)?;
    unknown_method_callback(state, value, method, args)
}

fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    made(state, value, MAX_DEPTH)?;
    escape_formatter(out, state, value)
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// All whole numbers among the arguments, those with names included, as one sum.
fn numbers(args: &[Value]) -> usize {
    let named = args.last().and_then(Value::as_object).filter(|object| object.repr() == ObjectRepr::Map);
    let named = named.and_then(DynObject::try_iter_pairs).into_iter().flatten().map(|(_, value)| value);
    args.iter().cloned().chain(named).filter_map(|value| value.as_usize()).fold(0, usize::saturating_add)
}

/// `text.split(separator)` has so many parts.
fn parts(text: &str, separator: Option<&str>) -> usize {
    match separator {
        Some(separator) => text.matches(separator).count() + 1,
        None => text.split_whitespace().count(),
    }
}

/// Bytes of what a filter or a method replaces in the first argument.
fn replaced(args: &[Value]) -> usize {
    text(args.first()).matches(text(args.get(1))).count().saturating_mul(text(args.get(2)).len())
}

/// Bytes between the items that are joined.
fn joined(items: Option<&Value>, between: Option<&Value>) -> usize {
    let len = items.map_or(0, |items| items.len().unwrap_or_else(|| text(Some(items)).len()));
    len.saturating_mul(text(between).len())
}

fn indented(args: &[Value]) -> usize {
    (text(args.first()).matches('\n').count() + 1).saturating_mul(numbers(args))
}

/// Bytes of what each field is filled with, and of what it is padded to.
fn formatted(args: &[Value], field: char) -> usize {
    let spec = text(args.first());
    let printed = |value: &Value| value.as_str().map_or_else(|| value.to_string().len(), str::len);
    let longest = args.iter().skip(1).map(printed).max().unwrap_or(0);
    let digits = spec.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let padded = digits.map(|digits| digits.parse().unwrap_or(usize::MAX));
    let starred = if spec.contains('*') { numbers(args).saturating_mul(spec.len()) } else { 0 };
    padded.fold(
        starred.saturating_add(spec.matches(field).count().saturating_mul(longest)),
        usize::saturating_add,
    )
}
