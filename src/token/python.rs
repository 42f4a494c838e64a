//! What templates expect of Python: products, slices, JSON, the clock, exceptions. Methods of its types are minijinja-contrib's.

use std::fmt;
use std::io;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::bounds::{VALUE, take};
use super::date::strftime;

/// Bytes of a value as JSON at most: what is nested deep and indented is long.
const MAX_JSON: usize = 16 << 20;

/// `strftime_now`, if there is a clock.
pub(super) fn clock(now: Option<i64>) -> Value {
    let Some(now) = now else { return context! {} };
    let strftime_now = move |format: &str| {
        strftime(now, format).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {format:?} is not supported"))
        })
    };
    context! { strftime_now => Value::from_function(strftime_now) }
}

/// The template's own word against the messages it was given.
#[derive(Debug)]
pub(super) struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the template refuses the messages")
    }
}

impl std::error::Error for Refusal {}

pub(super) fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Refusal))
}

/// `a * b` of numbers, and of a text or a list with a number.
pub(super) fn times(state: &mut State, a: &Value, b: &Value) -> Result<Value, Error> {
    let impossible = || {
        let kinds = format!("tried to use * operator on unsupported types {} and {}", a.kind(), b.kind());
        Error::new(ErrorKind::InvalidOperation, kinds)
    };
    let whole = |value: &Value| value.is_integer() || value.kind() == ValueKind::Bool;
    let repeated =
        |value: &Value| matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Iterable);
    let integer = |value: &Value| i128::try_from(value.clone()).map_err(|_| impossible());
    let float = |value: &Value| f64::try_from(value.clone()).map_err(|_| impossible());
    match (a, b) {
        (items, n) | (n, items) if repeated(items) && whole(n) => repeat(state, items, integer(n)?),
        _ if whole(a) && whole(b) => {
            integer(a)?.checked_mul(integer(b)?).map(Value::from).ok_or_else(impossible)
        }
        _ => Ok(Value::from(float(a)? * float(b)?)),
    }
}

fn repeat(state: &mut State, items: &Value, n: i128) -> Result<Value, Error> {
    let n = usize::try_from(n).unwrap_or(if n < 0 { 0 } else { usize::MAX });
    if let Some(text) = items.as_str() {
        take(state, text.len().saturating_mul(n))?;
        return Ok(Value::from(text.repeat(n)));
    }
    let items: Vec<Value> = items.try_iter()?.collect();
    take(state, VALUE.saturating_mul(items.len()).saturating_mul(n))?;
    Ok((0..n).flat_map(|_| items.iter().cloned()).collect())
}

/// `value[start:stop:step]` of a text or a list, as Python takes it; nothing of nothing.
pub(super) fn part(
    value: &Value,
    start: Option<i64>,
    stop: Option<i64>,
    step: Option<i64>,
) -> Result<Value, Error> {
    let places = |len| places(len, start, stop, step.unwrap_or(1));
    if let Some(text) = value.as_str() {
        let letters: Vec<char> = text.chars().collect();
        return Ok(Value::from(places(letters.len())?.map(|at| letters[at]).collect::<String>()));
    }
    if value.is_undefined() || value.is_none() {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    let items: Vec<Value> = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.collect(),
        kind => {
            let message = format!("value of type {kind} cannot be sliced");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    };
    Ok(places(items.len())?.map(|at| items[at].clone()).collect())
}

/// Python's `range(*slice(start, stop, step).indices(len))`.
fn places(
    len: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> Result<impl Iterator<Item = usize>, Error> {
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "cannot slice by step size of 0"));
    }
    let (len, step) = (len as i128, i128::from(step));
    let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |at: i64| (i128::from(at) + if at < 0 { len } else { 0 }).clamp(least, most);
    let start = start.map_or(if step > 0 { least } else { most }, clamp);
    let stop = stop.map_or(if step > 0 { most } else { least }, clamp);
    let count = if step > 0 { stop - start + step - 1 } else { start - stop - step - 1 } / step.abs();
    Ok((0..count.max(0)).map(move |i| (start + i * step) as usize))
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(super) fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let json = match indent {
        Some(n) => json(&value, PrettyFormatter::with_indent(" ".repeat(n.min(16)).as_bytes())),
        None => json(&value, PythonFormatter),
    };
    json.map(Value::from_safe_string)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, "not JSON").with_source(e))
}

fn json(value: &Value, formatter: impl Formatter) -> serde_json::Result<String> {
    let mut text = Limited(Vec::new());
    value.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8_lossy(&text.0).into_owned())
}

/// Bytes that do not grow beyond [`MAX_JSON`].
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_JSON {
            return Err(io::Error::other(format!("more than {MAX_JSON} bytes")));
        }
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON on one line with a space after each comma and colon.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        w.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        w.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}
