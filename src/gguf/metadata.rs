//! The key-value pairs of a header, read when asked for.
//!
//! Values stay the bytes they were in the file; of an array of strings only where each begins is kept, so a
//! vocabulary of 150 thousand tokens costs one allocation. Integers of any width answer for each other when
//! the value fits, and so do floats; nothing else is converted.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::{Cursor, Step, Stop};
use super::quoted;
use crate::error::{Error, Result};

/// Arrays may hold arrays this deep; nothing in the wild goes beyond two.
const MAX_DEPTH: u32 = 4;

/// The metadata of a GGUF file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    bytes: Vec<u8>,
    entries: BTreeMap<String, Value>,
}

/// `enum gguf_type`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Str,
    Array,
    U64,
    I64,
    F64,
}

/// Each type with its name and its bytes; a string and an array say themselves how many follow.
const TYPES: [(Type, &str, u64); 13] = [
    (Type::U8, "u8", 1),
    (Type::I8, "i8", 1),
    (Type::U16, "u16", 2),
    (Type::I16, "i16", 2),
    (Type::U32, "u32", 4),
    (Type::I32, "i32", 4),
    (Type::F32, "f32", 4),
    (Type::Bool, "bool", 1),
    (Type::Str, "string", 8),
    (Type::Array, "array", 12),
    (Type::U64, "u64", 8),
    (Type::I64, "i64", 8),
    (Type::F64, "f64", 8),
];

impl Type {
    fn read(cursor: &mut Cursor) -> Step<Type> {
        let id = cursor.u32()?;
        match TYPES.get(id as usize) {
            Some(&(kind, _, _)) => Ok(kind),
            None => Err(Error::file(format!("value type {id}: expected 0 to 12")).into()),
        }
    }

    fn name(self) -> &'static str {
        TYPES[self as usize].1
    }

    /// Bytes of a value, or the fewest it can have.
    fn bytes(self) -> u64 {
        TYPES[self as usize].2
    }
}

/// A value as it stands in the header.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(Type, i128),
    Float(Type, f64),
    Bool(bool),
    Text(Range<usize>),
    List(List),
}

/// An array: where its items lie. `starts` has the places of the length in front of each string, if it holds strings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct List {
    item: Type,
    len: usize,
    at: usize,
    starts: Vec<u32>,
}

/// Reads `count` key-value pairs.
pub(super) fn read_entries(cursor: &mut Cursor, count: u64) -> Step<BTreeMap<String, Value>> {
    cursor.expect_room(count, 8 + 4 + 1).map_err(|stop| stop.at(|| format!("{count} metadata keys")))?;
    let mut entries = BTreeMap::new();
    for i in 0..count {
        let key = cursor.name().map_err(|stop| stop.at(|| format!("metadata key {i}")))?;
        let value = Value::read(cursor).map_err(|stop| stop.at(|| format!("metadata {}", quoted(key))))?;
        if entries.insert(key.to_owned(), value).is_some() {
            return Err(Error::file(format!("metadata {}: the key stands twice", quoted(key))).into());
        }
    }
    Ok(entries)
}

impl Value {
    fn read(cursor: &mut Cursor) -> Step<Value> {
        match Type::read(cursor)? {
            Type::Str => {
                let n = cursor.string()?.len();
                Ok(Value::Text(cursor.at() - n..cursor.at()))
            }
            Type::Array => Ok(Value::List(List::read(cursor, 1)?)),
            kind => Value::scalar(kind, cursor.take(kind.bytes())?).map_err(Stop::from),
        }
    }

    /// A number or truth value from its bytes, as many as its type has.
    fn scalar(kind: Type, bytes: &[u8]) -> Result<Value> {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(word);
        let unused = 64 - 8 * bytes.len();
        let signed = (unsigned << unused) as i64 >> unused;
        match kind {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Ok(Value::Int(kind, unsigned.into())),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => Ok(Value::Int(kind, signed.into())),
            Type::F32 => Ok(Value::Float(kind, f32::from_bits(unsigned as u32).into())),
            Type::F64 => Ok(Value::Float(kind, f64::from_bits(unsigned))),
            Type::Bool if unsigned <= 1 => Ok(Value::Bool(unsigned == 1)),
            Type::Bool => Err(Error::file(format!("a bool of {unsigned}: expected 0 or 1"))),
            Type::Str | Type::Array => unreachable!("{} is not a scalar", kind.name()),
        }
    }
}

impl List {
    fn read(cursor: &mut Cursor, depth: u32) -> Step<List> {
        if depth > MAX_DEPTH {
            return Err(Error::file(format!("arrays in arrays: expected at most {MAX_DEPTH} deep")).into());
        }
        let item = Type::read(cursor)?;
        let len = cursor.u64()?;
        cursor
            .expect_room(len, item.bytes())
            .map_err(|stop| stop.at(|| format!("array of {len} {}", item.name())))?;
        let mut list = List { item, len: len as usize, at: cursor.at(), starts: Vec::new() };
        match item {
            Type::Str => {
                for _ in 0..len {
                    list.starts.push(cursor.at() as u32);
                    cursor.string()?;
                }
            }
            Type::Array => {
                for _ in 0..len {
                    List::read(cursor, depth + 1)?;
                }
            }
            scalar => {
                cursor.take(len * scalar.bytes())?;
            }
        }
        Ok(list)
    }
}

/// Reading a value as a Rust type; see [`Metadata::get`].
pub trait FromMetadata<'a>: Sized {
    /// What an error says was expected.
    const EXPECTED: &'static str;

    /// The value, if it is of this type and fits.
    #[doc(hidden)]
    fn from_value(value: ValueRef<'a>) -> Option<Self>;
}

/// A value and the bytes it lies in.
#[derive(Clone, Copy, Debug)]
pub struct ValueRef<'a> {
    value: &'a Value,
    bytes: &'a [u8],
}

/// A value that metadata are made with.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A count or an id.
    U32(u32),
    /// A real number.
    F32(f32),
    /// A text.
    Text(String),
    /// An array of truth values.
    Flags(Vec<bool>),
}

impl FromIterator<(String, Given)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, Given)>>(values: I) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, given) in values {
            let value = match given {
                Given::U32(n) => Value::Int(Type::U32, n.into()),
                Given::F32(x) => Value::Float(Type::F32, x.into()),
                Given::Text(text) => {
                    let start = metadata.bytes.len();
                    metadata.bytes.extend(text.bytes());
                    Value::Text(start..metadata.bytes.len())
                }
                Given::Flags(flags) => {
                    let (at, len) = (metadata.bytes.len(), flags.len());
                    metadata.bytes.extend(flags.into_iter().map(u8::from));
                    Value::List(List { item: Type::Bool, len, at, starts: Vec::new() })
                }
            };
            metadata.entries.insert(key, value);
        }
        metadata
    }
}

impl Metadata {
    pub(super) fn new(bytes: Vec<u8>, entries: BTreeMap<String, Value>) -> Metadata {
        Metadata { bytes, entries }
    }

    /// Whether the file has this key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The keys with a short description of each value, in alphabetical order.
    pub fn describe(&self) -> impl Iterator<Item = (&str, String)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), self.value(value).describe()))
    }

    /// The number or the numbers of a key, truth values as 0 and 1; none for texts, and for what the file does not have.
    pub fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        let value = self.value(self.entries.get(key)?);
        number(value.value).map(|one| vec![one]).or_else(|| value.items(number))
    }

    /// The value of a key, or none if the file does not have it.
    ///
    /// # Errors
    ///
    /// A file error if the value is of another type.
    pub fn get<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        let value = self.value(value);
        match T::from_value(value) {
            Some(t) => Ok(Some(t)),
            None => {
                let (key, expected, got) = (quoted(key), T::EXPECTED, value.describe());
                Err(Error::file(format!("metadata {key}: expected {expected}, got {got}")))
            }
        }
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    ///
    /// A file error if the key is missing or its value is of another type.
    pub fn need<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<T> {
        self.get(key)?.ok_or_else(|| {
            Error::file(format!("metadata {}: expected {}, missing", quoted(key), T::EXPECTED))
        })
    }

    /// A number that must be there. Errors as [`Metadata::need`].
    pub fn u32(&self, key: &str) -> Result<u32> {
        self.need(key)
    }

    /// A number that must be there. Errors as [`Metadata::need`].
    pub fn f32(&self, key: &str) -> Result<f32> {
        self.need(key)
    }

    /// A truth value that must be there. Errors as [`Metadata::need`].
    pub fn bool(&self, key: &str) -> Result<bool> {
        self.need(key)
    }

    /// A text that must be there. Errors as [`Metadata::need`].
    pub fn str(&self, key: &str) -> Result<&str> {
        self.need(key)
    }

    /// An array of strings that must be there. Errors as [`Metadata::need`].
    pub fn strings(&self, key: &str) -> Result<Strings<'_>> {
        self.need(key)
    }

    /// An array of integers that must be there. Errors as [`Metadata::need`].
    pub fn i32s(&self, key: &str) -> Result<Vec<i32>> {
        self.need(key)
    }

    /// An array of floats that must be there. Errors as [`Metadata::need`].
    pub fn f32s(&self, key: &str) -> Result<Vec<f32>> {
        self.need(key)
    }

    fn value<'a>(&'a self, value: &'a Value) -> ValueRef<'a> {
        ValueRef { value, bytes: &self.bytes }
    }
}

impl<'a> ValueRef<'a> {
    fn describe(self) -> String {
        match self.value {
            Value::Int(kind, n) => format!("{} {n}", kind.name()),
            Value::Float(kind, x) => format!("{} {x}", kind.name()),
            Value::Bool(b) => format!("bool {b}"),
            Value::Text(range) => {
                format!("string {}", quoted(&String::from_utf8_lossy(&self.bytes[range.clone()])))
            }
            Value::List(list) => format!("array of {} {}", list.len, list.item.name()),
        }
    }

    /// The items of an array of numbers, each through `get`; none if this is not one or an item does not fit.
    fn items<T>(self, get: fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        let Value::List(list) = self.value else { return None };
        if matches!(list.item, Type::Str | Type::Array) {
            return None;
        }
        let size = list.item.bytes() as usize;
        let items = self.bytes[list.at..][..list.len * size].chunks_exact(size);
        items.map(|bytes| get(&Value::scalar(list.item, bytes).ok()?)).collect()
    }
}

fn int<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    match value {
        Value::Int(_, n) => T::try_from(*n).ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f32> {
    match value {
        Value::Float(_, x) => Some(*x as f32),
        _ => None,
    }
}

impl FromMetadata<'_> for u32 {
    const EXPECTED: &'static str = "u32";
    fn from_value(value: ValueRef) -> Option<u32> {
        int(value.value)
    }
}

impl FromMetadata<'_> for f32 {
    const EXPECTED: &'static str = "f32";
    fn from_value(value: ValueRef) -> Option<f32> {
        float(value.value)
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        _ => None,
    }
}

/// Any number, and truth values as 0 and 1.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(_, n) => Some(*n as f64),
        Value::Float(_, x) => Some(*x),
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Text(_) | Value::List(_) => None,
    }
}

impl FromMetadata<'_> for bool {
    const EXPECTED: &'static str = "bool";
    fn from_value(value: ValueRef) -> Option<bool> {
        flag(value.value)
    }
}

impl FromMetadata<'_> for Vec<bool> {
    const EXPECTED: &'static str = "array of bool";
    fn from_value(value: ValueRef) -> Option<Vec<bool>> {
        value.items(flag)
    }
}

impl<'a> FromMetadata<'a> for &'a str {
    const EXPECTED: &'static str = "string of UTF-8";
    fn from_value(value: ValueRef<'a>) -> Option<&'a str> {
        match value.value {
            Value::Text(range) => std::str::from_utf8(&value.bytes[range.clone()]).ok(),
            _ => None,
        }
    }
}

impl FromMetadata<'_> for Vec<i32> {
    const EXPECTED: &'static str = "array of i32";
    fn from_value(value: ValueRef) -> Option<Vec<i32>> {
        value.items(int)
    }
}

impl FromMetadata<'_> for Vec<u32> {
    const EXPECTED: &'static str = "array of u32";
    fn from_value(value: ValueRef) -> Option<Vec<u32>> {
        value.items(int)
    }
}

impl FromMetadata<'_> for Vec<f32> {
    const EXPECTED: &'static str = "array of f32";
    fn from_value(value: ValueRef) -> Option<Vec<f32>> {
        value.items(float)
    }
}

impl<'a> FromMetadata<'a> for Strings<'a> {
    const EXPECTED: &'static str = "array of string";
    fn from_value(value: ValueRef<'a>) -> Option<Strings<'a>> {
        match value.value {
            Value::List(list) if list.item == Type::Str => {
                Some(Strings { bytes: value.bytes, starts: &list.starts })
            }
            _ => None,
        }
    }
}

/// An array of strings, as bytes: GGUF says UTF-8, and the reader of a string must hold it to that.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    starts: &'a [u32],
}

impl<'a> Strings<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The string at an index.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let (len, rest) = self.bytes[*self.starts.get(index)? as usize..].split_first_chunk()?;
        rest.get(..u64::from_le_bytes(*len) as usize)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let strings = *self;
        (0..strings.len()).filter_map(move |i| strings.get(i))
    }
}
