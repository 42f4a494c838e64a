//! Values of a template: those of Python.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::ops::Deref;
use std::rc::Rc;

use super::fault::{Fault, Outcome};
use super::meter::Held;
use super::object::Object;

/// Bytes that an item of a list or a dictionary counts for.
pub(super) const ITEM: usize = 32;
/// Bytes that a text counts for besides its own.
const TEXT: usize = 64;
/// Bytes of a dictionary's key at most.
const MAX_KEY: usize = 1 << 20;
/// Lists in lists at most.
pub(super) const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Clone, Debug)]
pub(in super::super) enum Value {
    /// Nothing there, and what Jinja says of it.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    /// `dict_keys`, `dict_values` or `dict_items`, which the first field names.
    View(&'static str, Rc<Items>),
    /// What can be gone through once.
    Generator(Rc<RefCell<VecDeque<Value>>>),
    Range(Rc<Range>),
    Dict(Rc<Dict>),
    Object(Rc<Object>),
}

/// A text, counted while it lives.
#[derive(Clone, Debug)]
pub(in super::super) struct Text(Rc<Counted>);

#[derive(Debug)]
struct Counted {
    text: Box<str>,
    /// Whether it is Jinja's `Markup`: what is added to it is escaped.
    is_safe: bool,
    _held: Held,
}

impl Text {
    /// Whether it is Jinja's `Markup`.
    pub(super) fn is_safe(&self) -> bool {
        self.0.is_safe
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

/// The items of a list or a tuple, counted while they live.
#[derive(Debug)]
pub(in super::super) struct Items {
    items: Vec<Value>,
    depth: usize,
    weight: usize,
    _held: Held,
}

impl Deref for Items {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

impl Items {
    fn new(items: Vec<Value>) -> Rc<Items> {
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        let weight = items.iter().map(Value::weight).fold(ITEM, usize::saturating_add);
        let held = Held::new(items.len() * ITEM);
        Rc::new(Items { items, depth, weight, _held: held })
    }
}

/// Python's `range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Range {
    pub(super) start: i128,
    pub(super) stop: i128,
    pub(super) step: i128,
}

impl Range {
    pub(super) fn len(self) -> usize {
        let (from, to, step) = match self.step > 0 {
            true => (self.start, self.stop, self.step),
            false => (self.stop, self.start, -self.step),
        };
        if to <= from { 0 } else { ((to - from - 1) / step + 1) as usize }
    }

    pub(super) fn at(self, at: usize) -> Value {
        Value::Int(self.start + self.step * at as i128)
    }
}

/// A dictionary; its pairs keep their order.
#[derive(Debug)]
pub(in super::super) struct Dict {
    pairs: Vec<(Value, Value)>,
    places: HashMap<Key, usize>,
    depth: usize,
    weight: usize,
    held: Held,
}

/// What Python hashes a key by: 1, 1.0 and True are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Undefined,
    None,
    Int(i128),
    Float(u64),
    Str(Rc<str>),
    Tuple(Vec<Key>),
    Range([i128; 3]),
    Object(usize),
}

impl Default for Dict {
    fn default() -> Dict {
        Dict { pairs: Vec::new(), places: HashMap::new(), depth: 1, weight: ITEM, held: Held::new(ITEM) }
    }
}

impl Dict {
    /// A dictionary of pairs; the last of equal keys counts.
    pub(super) fn new(pairs: impl IntoIterator<Item = (Value, Value)>) -> Outcome<Dict> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            dict.insert(key, value)?;
        }
        Ok(dict)
    }

    pub(super) fn insert(&mut self, key: Value, value: Value) -> Outcome<()> {
        let place = Key::of(&key)?;
        self.depth = self.depth.max(1 + value.depth().max(key.depth()));
        self.weight = self.weight.saturating_add(key.weight()).saturating_add(value.weight());
        match self.places.get(&place) {
            Some(&at) => self.pairs[at].1 = value,
            None => {
                self.places.insert(place, self.pairs.len());
                self.pairs.push((key, value));
                self.held = Held::new(ITEM * (1 + 4 * self.pairs.len()));
            }
        }
        Ok(())
    }

    /// The value of a key; a `TypeError` if it can be none.
    pub(super) fn get(&self, key: &Value) -> Outcome<Option<&Value>> {
        Ok(self.places.get(&Key::of(key)?).map(|&at| &self.pairs[at].1))
    }

    pub(super) fn get_str(&self, key: &str) -> Option<&Value> {
        self.places.get(&Key::Str(key.into())).map(|&at| &self.pairs[at].1)
    }

    pub(super) fn pairs(&self) -> &[(Value, Value)] {
        &self.pairs
    }

    pub(super) fn keys(&self) -> Vec<Value> {
        self.pairs.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Drops what it holds.
    pub(super) fn clear(&mut self) {
        *self = Dict::default();
    }
}

impl Key {
    fn of(value: &Value) -> Outcome<Key> {
        if value.weight() > MAX_KEY {
            return Err(Fault::limit(&format!("a key of more than {MAX_KEY} bytes")));
        }
        Ok(match value {
            Value::Undefined(_) => Key::Undefined,
            Value::None => Key::None,
            Value::Bool(it) => Key::Int(i128::from(*it)),
            Value::Int(it) => Key::Int(*it),
            Value::Float(it) if it.fract() == 0.0 && it.abs() < 1e30 => Key::Int(*it as i128),
            Value::Float(it) => Key::Float(it.to_bits()),
            Value::Str(it) => Key::Str((**it).into()),
            Value::Tuple(items) => Key::Tuple(items.iter().map(Key::of).collect::<Outcome<_>>()?),
            Value::Range(it) => Key::Range([it.start, it.stop, it.step]),
            Value::Object(it) => Key::Object(Rc::as_ptr(it).addr()),
            other => return Err(Fault::of_type(format!("unhashable type: '{}'", other.type_name()))),
        })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::from(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::text(text, false)
    }
}

impl From<bool> for Value {
    fn from(it: bool) -> Value {
        Value::Bool(it)
    }
}

impl From<usize> for Value {
    fn from(it: usize) -> Value {
        Value::Int(it as i128)
    }
}

impl Value {
    fn text(text: String, is_safe: bool) -> Value {
        let held = Held::new(TEXT + text.len());
        Value::Str(Text(Rc::new(Counted { text: text.into_boxed_str(), is_safe, _held: held })))
    }

    /// Jinja's `Markup`.
    pub(super) fn safe(text: String) -> Value {
        Value::text(text, true)
    }

    pub(in super::super) fn list(items: Vec<Value>) -> Value {
        Value::List(Items::new(items))
    }

    pub(super) fn tuple(items: Vec<Value>) -> Value {
        Value::Tuple(Items::new(items))
    }

    pub(super) fn view(kind: &'static str, items: Vec<Value>) -> Value {
        Value::View(kind, Items::new(items))
    }

    pub(super) fn generator(items: Vec<Value>) -> Value {
        Value::Generator(Rc::new(RefCell::new(items.into())))
    }

    /// A dictionary with texts as keys.
    pub(in super::super) fn dict(pairs: Vec<(&str, Value)>) -> Value {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            dict.insert(Value::from(key), value).expect("a text is a key");
        }
        Value::Dict(Rc::new(dict))
    }

    /// A dictionary's values by name; none for anything else.
    pub(in super::super) fn named(&self) -> Option<Vec<(String, Value)>> {
        let Value::Dict(dict) = self else { return None };
        dict.pairs.iter().map(|(key, value)| Some((key.as_str()?.to_owned(), value.clone()))).collect()
    }

    pub(super) fn undefined(what: impl AsRef<str>) -> Value {
        Value::Undefined(what.as_ref().into())
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number; True is 1.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Bool(it) => Some(i128::from(*it)),
            Value::Int(it) => Some(*it),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(it) => Some(*it),
            other => other.as_int().map(|it| it as f64),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// How many lists and dictionaries are within each other.
    pub(super) fn depth(&self) -> usize {
        match self {
            Value::List(items) | Value::Tuple(items) | Value::View(_, items) => items.depth,
            Value::Dict(dict) => dict.depth,
            Value::Generator(items) => 1 + items.borrow().iter().map(Value::depth).max().unwrap_or(0),
            Value::Object(object) => object.depth(),
            _ => 0,
        }
    }

    /// The name of its type in Python.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::View(kind, _) => kind,
            Value::Generator(_) => "generator",
            Value::Range(_) => "range",
            Value::Dict(_) => "dict",
            Value::Object(object) => object.type_name(),
        }
    }

    /// Whether it counts as true.
    pub(in super::super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(it) => *it,
            Value::Int(it) => *it != 0,
            Value::Float(it) => *it != 0.0,
            Value::Generator(_) | Value::Object(_) => true,
            other => other.len().is_some_and(|len| len > 0),
        }
    }

    /// Python's `len`, where it has one; a text's in characters.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Value::Undefined(_) => Some(0),
            Value::Str(text) => Some(text.chars().count()),
            Value::List(items) | Value::Tuple(items) | Value::View(_, items) => Some(items.len()),
            Value::Range(range) => Some(range.len()),
            Value::Dict(dict) => Some(dict.pairs.len()),
            Value::Object(object) => object.len(),
            _ => None,
        }
    }

    /// What it counts for when it is read whole.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Value::Str(text) => text.len(),
            Value::Generator(items) => items.borrow().len() * ITEM,
            Value::List(items) | Value::Tuple(items) | Value::View(_, items) => items.len() * ITEM,
            Value::Range(range) => range.len() * ITEM,
            Value::Dict(dict) => dict.pairs.len() * ITEM,
            _ => 0,
        }
    }

    /// Bytes of all that is within it, what is there twice counted twice.
    pub(super) fn weight(&self) -> usize {
        match self {
            Value::Str(text) => ITEM + text.len(),
            Value::List(items) | Value::Tuple(items) | Value::View(_, items) => items.weight,
            Value::Dict(dict) => dict.weight,
            other => ITEM + other.bytes(),
        }
    }

    /// What it gives when it is gone through.
    pub(super) fn items(&self) -> Outcome<Vec<Value>> {
        Ok(match self {
            Value::Undefined(_) => Vec::new(),
            Value::Str(text) => text.chars().map(|c| Value::from(c.to_string())).collect(),
            Value::List(items) | Value::Tuple(items) | Value::View(_, items) => items.to_vec(),
            Value::Generator(items) => items.take().into(),
            Value::Range(range) => (0..range.len()).map(|at| range.at(at)).collect(),
            Value::Dict(dict) => dict.keys(),
            Value::Object(object) => return object.items(),
            _ => return Err(Fault::of_type(format!("'{}' object is not iterable", self.type_name()))),
        })
    }

    /// Whether it can be gone through.
    pub(super) fn is_iterable(&self) -> bool {
        match self {
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
            Value::Object(object) => object.is_iterable(),
            _ => true,
        }
    }
}

/// Python's `==`.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => **a == **b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => all_equal(a, b),
        (Value::View(a, _), Value::View(b, _)) if a != b => false,
        (Value::View("dict_values", a), Value::View(_, b)) => Rc::ptr_eq(a, b),
        (Value::View(_, a), Value::View(_, b)) => {
            a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| equal(x, y)))
        }
        (Value::Range(a), Value::Range(b)) => {
            a.len() == b.len() && (0..a.len().min(2)).all(|at| equal(&a.at(at), &b.at(at)))
        }
        (Value::Dict(a), Value::Dict(b)) => {
            let same = |(key, value): &(Value, Value)| {
                b.get(key).ok().flatten().is_some_and(|other| equal(value, other))
            };
            a.pairs.len() == b.pairs.len() && a.pairs.iter().all(same)
        }
        (Value::Generator(a), Value::Generator(b)) => Rc::ptr_eq(a, b),
        (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
        _ => compared(a, b) == Some(Ordering::Equal),
    }
}

fn all_equal(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
}

/// The order of two numbers; none for anything else and for NaN.
fn compared(a: &Value, b: &Value) -> Option<Ordering> {
    match (a.as_int(), b.as_int()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_float()?.partial_cmp(&b.as_float()?),
    }
}

/// The order of two values, or none where NaN has none; a `TypeError` where Python has one for `operator`.
pub(super) fn order(a: &Value, b: &Value, operator: &str) -> Outcome<Option<Ordering>> {
    match (a, b) {
        (Value::Undefined(what), _) | (_, Value::Undefined(what)) => Err(Fault::undefined(what)),
        (Value::Str(a), Value::Str(b)) => Ok(Some((**a).cmp(&**b))),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            match a.iter().zip(b.iter()).find(|(a, b)| !equal(a, b)) {
                Some((a, b)) => order(a, b, operator),
                None => Ok(Some(a.len().cmp(&b.len()))),
            }
        }
        _ if a.as_float().is_some() && b.as_float().is_some() => Ok(compared(a, b)),
        _ => Err(Fault::of_type(format!(
            "'{operator}' not supported between instances of '{}' and '{}'",
            a.type_name(),
            b.type_name()
        ))),
    }
}
