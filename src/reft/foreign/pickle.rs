//! Python's pickles, as far as `torch.save` needs them for a dict of tensors, and no further.
//!
//! A pickle is a program for a small machine with a stack and a memo. This machine builds numbers, texts, tuples, dicts and
//! views of storages; it calls nothing. A global is a word of a fixed list ([`Global`]); any other ends the reading, and so
//! does any opcode that `torch.save` has no need of here. Opcodes: CPython's `Lib/pickletools.py`; arguments of the globals:
//! `torch/_utils.py`, `torch/serialization.py`.
//!
//! ```text
//! torch._utils._rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks)   a view of a storage
//! torch._utils._rebuild_parameter(tensor, requires_grad, hooks)                            the same
//! ("storage", torch.FloatStorage, key, device, numbers)                                    the storage in `data/<key>`
//! ```
//!
//! Files from before torch 1.6 are pickles one after the other ([`read_legacy`]): a magic number, the protocol's number, what the
//! machine was like, the dict, and the list of the storages' keys. There, None and lists occur, too, and a persistent id ends with None.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Names and shapes only: some twenty thousand tensors.
const MAX_BYTES: usize = 4 << 20;
/// A state dict's metadata are dicts in a dict in a dict; freeing what nests deeper could exhaust the stack.
const MAX_DEPTH: u8 = 8;
const MAX_DIMS: usize = 8;
const WRITERS: &str = "expected a dict of tensors that torch.save wrote";

/// A storage's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
}

impl Dtype {
    const ALL: [(Dtype, &str, usize); 6] = [
        (Dtype::F64, "DoubleStorage", 8),
        (Dtype::F32, "FloatStorage", 4),
        (Dtype::F16, "HalfStorage", 2),
        (Dtype::Bf16, "BFloat16Storage", 2),
        (Dtype::I64, "LongStorage", 8),
        (Dtype::I32, "IntStorage", 4),
    ];

    fn row(self) -> (Dtype, &'static str, usize) {
        Dtype::ALL.into_iter().find(|(dtype, ..)| *dtype == self).expect("the table has every one")
    }

    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        self.row().2
    }
}

/// A tensor of the pickle: which numbers of a storage it is.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    pub(super) dtype: Dtype,
    /// The storage is the file `data/<key>`.
    pub(super) key: Rc<str>,
    /// Numbers of the storage.
    pub(super) len: usize,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The globals that may be named.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    fn named(module: &str, name: &str) -> Option<Global> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
            ("torch", name) => {
                let row = Dtype::ALL.into_iter().find(|(_, storage, _)| *storage == name);
                row.map(|(dtype, ..)| Global::Storage(dtype))
            }
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
enum Value {
    None,
    Flag(bool),
    Int(i64),
    Text(Rc<str>),
    Global(Global),
    Tuple(Rc<Nested<Value>>),
    List(Rc<Nested<Value>>),
    Dict(Rc<Nested<(Value, Value)>>),
    Storage(Dtype, Rc<str>, usize),
    Tensor(Rc<View>),
}

/// Values in a value, and how deep they nest.
#[derive(Clone, Debug)]
struct Nested<T> {
    items: Vec<T>,
    depth: u8,
}

impl Value {
    fn depth(&self) -> u8 {
        match self {
            Value::Tuple(items) | Value::List(items) => items.depth,
            Value::Dict(dict) => dict.depth,
            _ => 0,
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Value::None => "nothing",
            Value::Flag(_) => "a flag",
            Value::Int(_) => "a number",
            Value::Text(_) => "a text",
            Value::Global(_) => "a global",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Storage(..) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }

    fn counts(&self) -> Option<Vec<usize>> {
        let Value::Tuple(tuple) = self else { return None };
        let count = |value: &Value| if let Value::Int(n) = value { usize::try_from(*n).ok() } else { None };
        tuple.items.iter().map(count).collect()
    }
}

/// The tensors of a pickled dict, by name.
///
/// # Errors
/// `File` for anything but a dict of tensors.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Rc<View>>> {
    if bytes.len() > MAX_BYTES {
        let len = bytes.len();
        return Err(Error::file(format!("pickle of {len} bytes: expected at most {MAX_BYTES}; {WRITERS}")));
    }
    let mut machine = Machine { bytes, ..Machine::default() };
    tensors(&machine.run()?)
}

fn tensors(top: &Value) -> Result<BTreeMap<String, Rc<View>>> {
    let Value::Dict(dict) = top else {
        return Err(Error::file(format!("pickle of {}: {WRITERS}", top.what())));
    };
    let mut tensors = BTreeMap::new();
    for (key, value) in &dict.items {
        let Value::Text(name) = key else {
            return Err(Error::file(format!("pickle: {} as a key: {WRITERS}", key.what())));
        };
        let Value::Tensor(view) = value else {
            return Err(Error::file(format!("pickle: {name:?} is {}: {WRITERS}", value.what())));
        };
        if tensors.insert(name.to_string(), view.clone()).is_some() {
            return Err(Error::file(format!("pickle: {name:?} occurs twice: {WRITERS}")));
        }
    }
    Ok(tensors)
}

/// How a file of torch before 1.6 begins: a pickle of a magic number, and one of the protocol's.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// What such a file has in front of its numbers.
pub(super) struct Legacy {
    pub(super) tensors: BTreeMap<String, Rc<View>>,
    /// The storages' keys, in the order of their numbers.
    pub(super) keys: Vec<Rc<str>>,
    /// Where the numbers begin.
    pub(super) end: usize,
}

/// The pickles of a file of torch before 1.6.
///
/// # Errors
/// `File` for anything but a dict of tensors that a little-endian machine wrote.
pub(super) fn read_legacy(bytes: &[u8]) -> Result<Legacy> {
    if !bytes.starts_with(LEGACY) {
        return Err(Error::file(format!("a bare pickle without torch's magic number: {WRITERS}")));
    }
    let mut end = LEGACY.len();
    let mut next = || {
        let most = bytes.len().min(end + MAX_BYTES);
        let mut machine = Machine { bytes: &bytes[end..most], legacy: true, ..Machine::default() };
        let value = machine.run()?;
        end += machine.at;
        Ok::<Value, Error>(value)
    };
    let (about, dict, keys) = (next()?, next()?, next()?);
    let is_little = |(key, value): &(Value, Value)| matches!((key, value), (Value::Text(key), Value::Flag(true)) if &**key == "little_endian");
    if !matches!(&about, Value::Dict(about) if about.items.iter().any(is_little)) {
        return Err(Error::file("pickle: expected numbers of a little-endian machine"));
    }
    let text = |value: &Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
    let keys = match &keys {
        Value::List(keys) => keys.items.iter().map(text).collect(),
        _ => None,
    };
    let keys = keys.ok_or_else(|| Error::file("pickle: expected a list of the storages' keys"))?;
    Ok(Legacy { tensors: tensors(&dict)?, keys, end })
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    /// Whether it is one of several pickles in a file of torch before 1.6.
    legacy: bool,
    at: usize,
    stack: Vec<Value>,
    /// Where on the stack the open lists begin.
    marks: Vec<usize>,
    /// None stands for a dict or a list: nothing may be put into it by another way.
    memo: BTreeMap<u32, Option<Value>>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Value> {
        loop {
            let at = self.at;
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.stop().map_err(|error| error.at(format!("pickle: byte {at}")));
            }
            self.step(opcode).map_err(|error| error.at(format!("pickle: byte {at}")))?;
        }
    }

    fn stop(&mut self) -> Result<Value> {
        let value = self.pop()?;
        let rest = if self.legacy { 0 } else { self.bytes.len() - self.at };
        if !self.stack.is_empty() || !self.marks.is_empty() || rest > 0 {
            let n = self.stack.len();
            return Err(Error::file(format!("end with {n} values and {rest} bytes left over: {WRITERS}")));
        }
        Ok(value)
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => self.protocol(),
            b'c' => self.global(),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b')' => self.tuple(0),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84)),
            b't' => self.tuple_from_mark(),
            b'}' => self.push(Value::Dict(Rc::new(Nested { items: Vec::new(), depth: 1 }))),
            b's' => self.set_items(2),
            b'u' => self.set_items_from_mark(),
            b'X' => self.text(),
            b'K' => self.int(1),
            b'M' => self.int(2),
            b'J' => self.int(4),
            0x8a => self.long(),
            0x88 | 0x89 => self.push(Value::Flag(opcode == 0x88)),
            b'N' if self.legacy => self.push(Value::None),
            b']' if self.legacy => self.push(Value::List(Rc::new(Nested { items: Vec::new(), depth: 1 }))),
            b'a' if self.legacy => self.append(1),
            b'e' if self.legacy => self.append_from_mark(),
            b'q' | b'r' => self.put(if opcode == b'q' { 1 } else { 4 }),
            b'h' | b'j' => self.get(if opcode == b'h' { 1 } else { 4 }),
            b'Q' => self.storage(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            _ => Err(Error::file(format!("opcode {opcode:#04x} is not one of a dict of tensors: {WRITERS}"))),
        }
    }

    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..n) else {
            let (at, left) = (self.at, rest.len());
            return Err(Error::file(format!("cut off: byte {at} of the pickle wants {n} more, got {left}")));
        };
        self.at += n;
        Ok(taken)
    }

    /// A number of 1, 2 or 4 bytes, without a sign.
    fn number(&mut self, n: usize) -> Result<u32> {
        let taken = self.take(n)?;
        Ok(taken.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(256).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| Error::file("global without an end of its name"))?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = if self.stack.len() > floor { self.stack.pop() } else { None };
        value.ok_or_else(|| Error::file("takes a value where there is none"))
    }

    /// The values since the last mark.
    fn pop_marked(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(|| Error::file("closes a list that was not opened"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_many(&mut self, n: usize) -> Result<Vec<Value>> {
        let mut values = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        values.reverse();
        Ok(values)
    }

    fn protocol(&mut self) -> Result<()> {
        match self.number(1)? {
            2 => Ok(()),
            other => {
                Err(Error::file(format!("pickle protocol {other}: expected 2, which torch.save writes")))
            }
        }
    }

    fn global(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        let global = Global::named(&module, &name).ok_or_else(|| {
            Error::file(format!(
                "global {module:?} {name:?}: expected only what tensors are made of; nothing of the file was executed"
            ))
        })?;
        self.push(Value::Global(global))
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        let items = self.pop_many(n)?;
        self.push_tuple(items)
    }

    fn tuple_from_mark(&mut self) -> Result<()> {
        let items = self.pop_marked()?;
        self.push_tuple(items)
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Result<()> {
        let depth = deeper(items.iter())?;
        self.push(Value::Tuple(Rc::new(Nested { items, depth })))
    }

    fn set_items(&mut self, n: usize) -> Result<()> {
        let items = self.pop_many(n)?;
        self.put_into_dict(items)
    }

    fn set_items_from_mark(&mut self) -> Result<()> {
        let items = self.pop_marked()?;
        self.put_into_dict(items)
    }

    fn put_into_dict(&mut self, items: Vec<Value>) -> Result<()> {
        let depth = deeper(items.iter())?;
        let mut dict = match self.pop()? {
            Value::Dict(dict) if items.len().is_multiple_of(2) => dict,
            other => return Err(Error::file(format!("puts {} values into {}", items.len(), other.what()))),
        };
        let inner = Rc::make_mut(&mut dict);
        inner.depth = inner.depth.max(depth);
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            inner.items.push((key, value));
        }
        self.push(Value::Dict(dict))
    }

    fn append(&mut self, n: usize) -> Result<()> {
        let items = self.pop_many(n)?;
        self.put_into_list(items)
    }

    fn append_from_mark(&mut self) -> Result<()> {
        let items = self.pop_marked()?;
        self.put_into_list(items)
    }

    fn put_into_list(&mut self, items: Vec<Value>) -> Result<()> {
        let depth = deeper(items.iter())?;
        let mut list = match self.pop()? {
            Value::List(list) => list,
            other => return Err(Error::file(format!("puts {} values into {}", items.len(), other.what()))),
        };
        let inner = Rc::make_mut(&mut list);
        inner.depth = inner.depth.max(depth);
        inner.items.extend(items);
        self.push(Value::List(list))
    }

    fn text(&mut self) -> Result<()> {
        let len = self.number(4)? as usize;
        let text =
            std::str::from_utf8(self.take(len)?).map_err(|error| Error::file(format!("text: {error}")))?;
        let text = Rc::from(text);
        self.push(Value::Text(text))
    }

    fn int(&mut self, n: usize) -> Result<()> {
        let number = self.number(n)?;
        // Only the one of four bytes has a sign.
        self.push(Value::Int(if n == 4 { i64::from(number as i32) } else { i64::from(number) }))
    }

    fn long(&mut self) -> Result<()> {
        let n = self.number(1)? as usize;
        if n > 8 {
            return Err(Error::file(format!("number of {n} bytes: expected at most 8")));
        }
        let taken = self.take(n)?;
        let negative = taken.last().is_some_and(|byte| *byte >= 0x80);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        bytes[..n].copy_from_slice(taken);
        self.push(Value::Int(i64::from_le_bytes(bytes)))
    }

    fn put(&mut self, n: usize) -> Result<()> {
        let place = self.number(n)?;
        let value = self.pop()?;
        let kept = Some(value.clone()).filter(|value| !matches!(value, Value::Dict(_) | Value::List(_)));
        self.memo.insert(place, kept);
        self.push(value)
    }

    fn get(&mut self, n: usize) -> Result<()> {
        let place = self.number(n)?;
        match self.memo.get(&place) {
            Some(Some(value)) => self.push(value.clone()),
            Some(None) => {
                Err(Error::file(format!("the dict or list of memo {place} occurs twice: {WRITERS}")))
            }
            None => Err(Error::file(format!("memo {place} is empty"))),
        }
    }

    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        if let Value::Tuple(tuple) = &id
            && let [
                word,
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(len),
                view @ ..,
            ] = tuple.items.as_slice()
            && (matches!(view, []) && !self.legacy || matches!(view, [Value::None]) && self.legacy)
            && matches!(word, Value::Text(word) if &**word == "storage")
            && let Ok(len) = usize::try_from(*len)
        {
            return self.push(Value::Storage(*dtype, key.clone(), len));
        }
        Err(Error::file(format!("persistent id of {}: expected one of a storage; {WRITERS}", id.what())))
    }

    fn reduce(&mut self) -> Result<()> {
        let (args, callable) = (self.pop()?, self.pop()?);
        let (Value::Tuple(args), Value::Global(global)) = (&args, &callable) else {
            return Err(Error::file(format!("calls {} with {}: {WRITERS}", callable.what(), args.what())));
        };
        match (global, args.items.as_slice()) {
            (Global::OrderedDict, []) => self.step(b'}'),
            (Global::RebuildTensor, [storage, offset, sizes, strides, Value::Flag(_), Value::Dict(_)]) => {
                let view = view(storage, offset, sizes, strides)?;
                self.push(Value::Tensor(Rc::new(view)))
            }
            (Global::RebuildParameter, [Value::Tensor(view), Value::Flag(_), Value::Dict(_)]) => {
                self.push(Value::Tensor(view.clone()))
            }
            (global, args) => {
                let args: Vec<&str> = args.iter().map(Value::what).collect();
                Err(Error::file(format!("{global:?} with arguments {}: {WRITERS}", args.join(", "))))
            }
        }
    }

    /// A state dict's attribute `_metadata` says nothing of its tensors.
    fn build(&mut self) -> Result<()> {
        let (state, object) = (self.pop()?, self.pop()?);
        if let (Value::Dict(state), Value::Dict(_)) = (&state, &object)
            && state.items.iter().all(|(key, _)| matches!(key, Value::Text(key) if &**key == "_metadata"))
        {
            return self.push(object);
        }
        Err(Error::file(format!("sets attributes of {}: expected _metadata of a dict only", object.what())))
    }
}

/// One more than the deepest of the values.
fn deeper<'a>(values: impl Iterator<Item = &'a Value>) -> Result<u8> {
    let depth = 1 + values.map(Value::depth).max().unwrap_or(0);
    match depth <= MAX_DEPTH {
        true => Ok(depth),
        false => Err(Error::file(format!("values nest more than {MAX_DEPTH} deep: {WRITERS}"))),
    }
}

/// A tensor, if all of its numbers lie in the storage, and are not more than those of it.
fn view(storage: &Value, offset: &Value, sizes: &Value, strides: &Value) -> Result<View> {
    let wrong = || Error::file(format!("tensor of arguments that make none: {WRITERS}"));
    let (Value::Storage(dtype, key, len), Value::Int(offset)) = (storage, offset) else {
        return Err(wrong());
    };
    let (shape, strides) = (sizes.counts().ok_or_else(wrong)?, strides.counts().ok_or_else(wrong)?);
    let offset = usize::try_from(*offset).map_err(|_| wrong())?;
    if shape.len() != strides.len() || shape.len() > MAX_DIMS {
        return Err(wrong());
    }
    let mut last = Some(offset);
    for (n, stride) in shape.iter().zip(&strides) {
        let steps = n.saturating_sub(1).checked_mul(*stride);
        last = last.zip(steps).and_then(|(last, steps)| last.checked_add(steps));
    }
    let count = shape.iter().try_fold(1usize, |count, n| count.checked_mul(*n));
    let inside = count == Some(0) || last.is_some_and(|last| last < *len);
    if !inside || count.is_none_or(|count| count > *len) {
        return Err(Error::file(format!(
            "tensor {shape:?} with strides {strides:?} from {offset}: storage {key:?} has {len} numbers"
        )));
    }
    Ok(View { dtype: *dtype, key: key.clone(), len: *len, offset, shape, strides })
}

/// A pickled dict of whole row-major tensors, the numbers of which are the storages 0, 1, …
pub(super) fn write<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize])>) -> Vec<u8> {
    let mut pickle = vec![0x80, 2];
    ordered_dict(&mut pickle);
    pickle.push(b'(');
    for (number, (name, dtype, shape)) in tensors.enumerate() {
        text(&mut pickle, name);
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut pickle, "storage");
        pickle.extend(format!("ctorch\n{}\n", dtype.row().1).bytes());
        text(&mut pickle, &number.to_string());
        text(&mut pickle, "cpu");
        int(&mut pickle, shape.iter().product());
        pickle.extend(b"tQ");
        int(&mut pickle, 0);
        let strides: Vec<usize> = (1..=shape.len()).map(|i| shape[i..].iter().product()).collect();
        for counts in [shape, &strides] {
            pickle.push(b'(');
            counts.iter().for_each(|n| int(&mut pickle, *n));
            pickle.push(b't');
        }
        pickle.push(0x89);
        ordered_dict(&mut pickle);
        pickle.extend(b"tR");
    }
    pickle.extend(b"u.");
    pickle
}

fn ordered_dict(pickle: &mut Vec<u8>) {
    pickle.extend(b"ccollections\nOrderedDict\n)R");
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

fn int(pickle: &mut Vec<u8>, n: usize) {
    match i32::try_from(n) {
        Ok(n) => {
            pickle.push(b'J');
            pickle.extend(n.to_le_bytes());
        }
        Err(_) => {
            pickle.extend([0x8a, 8]);
            pickle.extend((n as u64).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn sound() -> Vec<u8> {
        let tensors = [("weight", Dtype::F32, &[2, 3][..]), ("dim", Dtype::I64, &[])];
        write(tensors.into_iter())
    }

    /// Checks that a pickle is refused as a wrong file, with a text that holds `part`.
    fn check(pickle: &[u8], part: &str) {
        let error = read(pickle).expect_err("not a dict of tensors");
        assert_eq!(error.kind(), ErrorKind::File);
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let tensors = read(&sound()).expect("a dict of tensors");
        let weight = View {
            dtype: Dtype::F32,
            key: "0".into(),
            len: 6,
            offset: 0,
            shape: vec![2, 3],
            strides: vec![3, 1],
        };
        assert_eq!(*tensors["weight"], weight);
        assert_eq!(tensors["dim"].shape, [0usize; 0]);
        assert_eq!(tensors.len(), 2);
    }

    #[test]
    fn anything_else_is_refused() {
        check(b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.", "global \"os\" \"system\"");
        check(b"\x80\x04.", "protocol 4");
        check(b"\x80\x02]q\0.", "opcode 0x5d");
        check(b"\x80\x02K\x01.", "pickle of a number");
        check(b"\x80\x02}K\x01K\x02s.", "a number as a key");
        check(b"\x80\x02}X\x01\0\0\0aK\x02s.", "\"a\" is a number");
        check(b"\x80\x02}q\0h\0s.", "occurs twice");
        check(b"\x80\x02h\x07.", "memo 7 is empty");
        check(b"\x80\x02)))R.", "calls a tuple");
        check(b"\x80\x02(.", "none");
        check(b"\x80\x02}..", "left over");
        check(&[b"\x80\x02)".as_slice(), &[0x85; 9], b"."].concat(), "nest");
        check(b"\x80\x02X\xff\xff\xff\xffa", "cut off");
    }

    #[test]
    fn lists_are_read_in_legacy_files_only() {
        let about = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.".as_slice();
        let file = |about: &[u8], keys: &[u8]| [LEGACY, about, b"\x80\x02}.", keys].concat();
        let keys = b"\x80\x02]q\0(X\x01\0\0\0aX\x01\0\0\0be.".as_slice();
        let read = read_legacy(&file(about, keys)).expect("a legacy file");
        assert_eq!(read.keys, ["a".into(), "b".into()] as [Rc<str>; 2]);
        assert_eq!(read.end, file(about, keys).len());
        let refused = |file: &[u8], part: &str| {
            let error = read_legacy(file).err().expect("no legacy file").to_string();
            assert!(error.contains(part), "{part:?} is not in: {error}");
        };
        refused(b"\x80\x02}.", "without torch's magic number");
        refused(&file(b"\x80\x02}X\x0d\0\0\0little_endian\x89s.", keys), "little-endian");
        refused(&file(about, b"\x80\x02}."), "a list of the storages' keys");
        refused(&file(about, b"\x80\x02]K\x01a."), "a list of the storages' keys");
        refused(&file(about, b"\x80\x02]q\0h\0a."), "occurs twice");
        refused(&file(about, b"\x80\x02N"), "cut off");
    }

    #[test]
    fn a_tensor_lies_within_its_storage() {
        let file = sound();
        let numbers = [b'J', 6, 0, 0, 0, b't', b'Q'];
        let at = file.windows(numbers.len()).position(|window| window == numbers).expect("the count");
        let mut short = file.clone();
        short[at + 1] = 5;
        check(&short, "storage \"0\" has 5 numbers");
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let file = sound();
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
        for at in 0..file.len() {
            for byte in 0..=255 {
                let mut file = file.clone();
                file[at] = byte;
                let _ = read(&file);
            }
        }
    }
}
