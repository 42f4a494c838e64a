//! What templates expect of Python: JSON, the clock, exceptions. Methods of its types are minijinja-contrib's.

use std::fmt;
use std::io;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

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
