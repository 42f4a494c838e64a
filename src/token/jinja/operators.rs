//! Python's operators and subscripts.

use std::cmp::Ordering;

use super::ast::{Binary, Comparison};
use super::fault::{Fault, Outcome};
use super::formatting::percent;
use super::meter::Meter;
use super::value::{ITEM, Range, Text, Value, equal, order};

/// `a operator b`.
pub(super) fn binary(meter: &Meter, operator: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    if let (Binary::Mod, Value::Str(spec)) = (operator, a) {
        return percent(meter, spec, b);
    }
    for side in [a, b] {
        if let Value::Undefined(what) = side {
            return Err(Fault::undefined(what));
        }
    }
    let numbers = a.as_float().is_some() && b.as_float().is_some();
    match (operator, a, b) {
        (Binary::Add, ..) if !numbers => added(meter, a, b),
        (Binary::Mul, items, n) | (Binary::Mul, n, items) if is_repeatable(items) && n.as_int().is_some() => {
            repeated(meter, items, n.as_int().unwrap_or_default())
        }
        (Binary::Sub, Value::View(..), Value::View(..)) => {
            let others = b.items()?;
            let left = a.items()?.into_iter().filter(|x| !others.iter().any(|y| equal(x, y)));
            Ok(Value::list(left.collect()))
        }
        _ if numbers => arithmetic(operator, a, b),
        _ => Err(unsupported(sign(operator), a, b)),
    }
}

fn sign(operator: Binary) -> &'static str {
    match operator {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Mod => "%",
        Binary::Pow => "** or pow()",
    }
}

fn unsupported(sign: &str, a: &Value, b: &Value) -> Fault {
    let [a, b] = [a, b].map(Value::type_name);
    Fault::of_type(format!("unsupported operand type(s) for {sign}: '{a}' and '{b}'"))
}

fn added(meter: &Meter, a: &Value, b: &Value) -> Outcome<Value> {
    meter.make(a.bytes() + b.bytes())?;
    let joined = |a: &[Value], b: &[Value]| a.iter().chain(b).cloned().collect();
    match (a, b) {
        (Value::Str(a), Value::Str(b)) if a.is_safe() || b.is_safe() => {
            meter.make(5 * (a.len() + b.len()))?;
            let part = |text: &Text| if text.is_safe() { text.to_string() } else { escaped(text) };
            Ok(Value::safe(part(a) + &part(b)))
        }
        (Value::Str(a), Value::Str(b)) => Ok(Value::from(format!("{}{}", &**a, &**b))),
        (Value::List(a), Value::List(b)) => Ok(Value::list(joined(a, b))),
        (Value::Tuple(a), Value::Tuple(b)) => Ok(Value::tuple(joined(a, b))),
        (Value::Str(_) | Value::List(_) | Value::Tuple(_), _) => {
            let [a, b] = [a, b].map(Value::type_name);
            Err(Fault::of_type(format!("can only concatenate {a} (not \"{b}\") to {a}")))
        }
        _ => Err(unsupported("+", a, b)),
    }
}

/// A text with HTML's signs written as entities.
pub(super) fn escaped(text: &str) -> String {
    let marks = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ("\"", "&#34;")];
    marks.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn is_repeatable(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_))
}

fn repeated(meter: &Meter, items: &Value, n: i128) -> Outcome<Value> {
    let n = usize::try_from(n).unwrap_or(if n < 0 { 0 } else { usize::MAX });
    meter.make(items.bytes().saturating_mul(n))?;
    let times = |items: &[Value]| (0..n).flat_map(|_| items.iter().cloned()).collect();
    Ok(match items {
        Value::List(items) => Value::list(if items.is_empty() { Vec::new() } else { times(items) }),
        Value::Tuple(items) => Value::tuple(if items.is_empty() { Vec::new() } else { times(items) }),
        other => {
            let text = other.as_str().unwrap_or_default();
            Value::from(if text.is_empty() { String::new() } else { text.repeat(n) })
        }
    })
}

fn arithmetic(operator: Binary, a: &Value, b: &Value) -> Outcome<Value> {
    match (a.as_int(), b.as_int()) {
        (Some(a), Some(b)) => whole(operator, a, b),
        _ => float(operator, a.as_float().unwrap_or_default(), b.as_float().unwrap_or_default()),
    }
}

fn whole(operator: Binary, a: i128, b: i128) -> Outcome<Value> {
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div if b == 0 => return Err(Fault::other("ZeroDivisionError: division by zero")),
        Binary::Div => return Ok(Value::Float(a as f64 / b as f64)),
        Binary::FloorDiv | Binary::Mod if b == 0 => {
            return Err(Fault::other("ZeroDivisionError: integer division or modulo by zero"));
        }
        Binary::FloorDiv => a.checked_div_euclid(b).map(|it| match b < 0 && a.rem_euclid(b) != 0 {
            true => it - 1,
            false => it,
        }),
        Binary::Mod => a.checked_rem(b).map(|it| if it != 0 && (it < 0) != (b < 0) { it + b } else { it }),
        Binary::Pow if b < 0 => return float(operator, a as f64, b as f64),
        Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    result.map(Value::Int).ok_or_else(|| Fault::unsupported("a whole number beyond 128 bits"))
}

fn float(operator: Binary, a: f64, b: f64) -> Outcome<Value> {
    let zero = |text: &str| Err(Fault::other(format!("ZeroDivisionError: {text}")));
    let floored = |a: f64, b: f64| {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
    };
    Ok(Value::Float(match operator {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div if b == 0.0 => return zero("float division by zero"),
        Binary::FloorDiv if b == 0.0 => return zero("float floor division by zero"),
        Binary::Mod if b == 0.0 => return zero("float modulo"),
        Binary::Pow if a == 0.0 && b < 0.0 => return zero("0.0 cannot be raised to a negative power"),
        Binary::Div => a / b,
        Binary::FloorDiv => ((a - floored(a, b)) / b).round(),
        Binary::Mod => floored(a, b),
        Binary::Pow if a < 0.0 && b.fract() != 0.0 => return Err(Fault::unsupported("complex numbers")),
        Binary::Pow => a.powf(b),
    }))
}

/// `-a` and `+a`.
pub(super) fn signed(a: &Value, negative: bool) -> Outcome<Value> {
    match (a, a.as_int()) {
        (Value::Undefined(what), _) => Err(Fault::undefined(what)),
        (Value::Float(it), _) => Ok(Value::Float(if negative { -it } else { *it })),
        (_, Some(it)) => Ok(Value::Int(if negative { it.saturating_neg() } else { it })),
        _ => {
            let sign = if negative { '-' } else { '+' };
            Err(Fault::of_type(format!("bad operand type for unary {sign}: '{}'", a.type_name())))
        }
    }
}

/// `a comparison b`.
pub(super) fn compare(meter: &Meter, comparison: Comparison, a: &Value, b: &Value) -> Outcome<bool> {
    meter.read(a.weight().min(b.weight()))?;
    let ordered = |sign: &str, test: fn(Ordering) -> bool| Ok(order(a, b, sign)?.is_some_and(test));
    match comparison {
        Comparison::Equal => Ok(equal(a, b)),
        Comparison::NotEqual => Ok(!equal(a, b)),
        Comparison::Less => ordered("<", Ordering::is_lt),
        Comparison::LessOrEqual => ordered("<=", Ordering::is_le),
        Comparison::Greater => ordered(">", Ordering::is_gt),
        Comparison::GreaterOrEqual => ordered(">=", Ordering::is_ge),
        Comparison::In => contains(meter, b, a),
        Comparison::NotIn => Ok(!contains(meter, b, a)?),
    }
}

/// `item in container`.
pub(super) fn contains(meter: &Meter, container: &Value, item: &Value) -> Outcome<bool> {
    meter.read(container.bytes())?;
    match container {
        Value::Undefined(_) => Ok(false),
        Value::Str(text) => match item {
            Value::Str(part) => Ok(text.contains(&**part)),
            other => {
                let got = other.type_name();
                Err(Fault::of_type(format!("'in <string>' requires string as left operand, not {got}")))
            }
        },
        Value::Dict(dict) => Ok(dict.get(item)?.is_some()),
        Value::Range(range) => match item.as_float() {
            Some(_) => Ok((0..range.len()).any(|at| equal(&range.at(at), item))),
            None => Ok(false),
        },
        other if other.is_iterable() => {
            for one in other.items()? {
                meter.read(one.weight().min(item.weight()))?;
                if equal(&one, item) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => Err(Fault::of_type(format!("argument of type '{}' is not iterable", other.type_name()))),
    }
}

/// `value[key]` as Python has it: none where Python has a `TypeError`, an `IndexError` or a `KeyError`.
pub(super) fn item(meter: &Meter, value: &Value, key: &Value) -> Outcome<Option<Value>> {
    if let Value::Undefined(what) = value {
        return Err(Fault::undefined(what));
    }
    if let Value::Dict(dict) = value {
        return Ok(dict.get(key).unwrap_or(None).cloned());
    }
    let Some(at) = key.as_int() else { return Ok(None) };
    if let Value::Str(text) = value {
        meter.read(text.len())?;
        let place = place(at, || text.chars().count());
        return Ok(place.and_then(|at| text.chars().nth(at)).map(|c| Value::from(c.to_string())));
    }
    Ok(match value {
        Value::List(items) | Value::Tuple(items) => {
            place(at, || items.len()).and_then(|at| items.get(at).cloned())
        }
        Value::Range(range) => {
            place(at, || range.len()).filter(|at| *at < range.len()).map(|at| range.at(at))
        }
        _ => None,
    })
}

/// An index from the front; one below 0 counts from the end.
fn place(at: i128, len: impl Fn() -> usize) -> Option<usize> {
    usize::try_from(if at < 0 { at + len() as i128 } else { at }).ok()
}

/// `value[start:stop:step]`.
pub(super) fn slice(meter: &Meter, value: &Value, parts: [Option<Value>; 3]) -> Outcome<Value> {
    if let Value::Undefined(what) = value {
        return Err(Fault::undefined(what));
    }
    let wrong = || Fault::of_type("slice indices must be integers or None or have an __index__ method");
    let parts = parts.map(|part| match part {
        None | Some(Value::None) => Ok(None),
        Some(value) => value.as_int().map(Some).ok_or_else(wrong),
    });
    let [start, stop, step] = parts;
    let [start, stop, step] = [start?, stop?, step?];
    meter.make(value.bytes())?;
    let indices = |len: usize| indices(len, start, stop, step.unwrap_or(1));
    let picked = |items: &[Value]| -> Outcome<Vec<Value>> {
        Ok(indices(items.len())?.map(|at| items[at].clone()).collect())
    };
    Ok(match value {
        Value::Str(text) => {
            meter.make(4 * text.len())?;
            let letters: Vec<char> = text.chars().collect();
            Value::from(indices(letters.len())?.map(|at| letters[at]).collect::<String>())
        }
        Value::List(items) => Value::list(picked(items)?),
        Value::Tuple(items) => Value::tuple(picked(items)?),
        Value::Range(range) => {
            let at: Vec<usize> = indices(range.len())?.collect();
            let step = range.step * step.unwrap_or(1);
            let start = at.first().map_or(range.start, |at| range.start + range.step * *at as i128);
            Value::Range(Range { start, stop: start + step * at.len() as i128, step }.into())
        }
        Value::Dict(_) => return Err(Fault::of_type("unhashable type: 'slice'")),
        other => {
            let name = other.type_name();
            return Err(Fault::of_type(format!("'{name}' object is not subscriptable")));
        }
    })
}

/// Python's `range(*slice(start, stop, step).indices(len))`.
fn indices(
    len: usize,
    start: Option<i128>,
    stop: Option<i128>,
    step: i128,
) -> Outcome<impl Iterator<Item = usize>> {
    if step == 0 {
        return Err(Fault::value("slice step cannot be zero"));
    }
    let len = len as i128;
    let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |at: i128| at.saturating_add(if at < 0 { len } else { 0 }).clamp(least, most);
    let start = start.map_or(if step > 0 { least } else { most }, clamp);
    let stop = stop.map_or(if step > 0 { most } else { least }, clamp);
    let step = step.clamp(-len - 1, len + 1);
    let count = if step > 0 { stop - start + step - 1 } else { start - stop - step - 1 } / step.abs();
    Ok((0..count.max(0)).map(move |i| (start + i * step) as usize))
}

/// What counts for one item that is gone through.
pub(super) fn items(meter: &Meter, value: &Value) -> Outcome<Vec<Value>> {
    let text = if matches!(value, Value::Str(_)) { 2 * ITEM } else { 1 };
    meter.make(value.bytes().saturating_mul(text))?;
    value.items()
}
