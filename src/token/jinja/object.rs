//! Values that are neither numbers, texts nor containers: namespaces, loops, macros, functions.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Body, For};
use super::fault::{Fault, Outcome};
use super::value::{Dict, Value};

#[derive(Debug)]
pub(in super::super) enum Object {
    Namespace(RefCell<Dict>),
    Loop(Loop),
    Macro(Macro),
    Cycler {
        items: Vec<Value>,
        at: Cell<usize>,
    },
    Joiner {
        separator: Value,
        used: Cell<bool>,
    },
    /// A global function by its name.
    Function(&'static str),
    /// A method of a value.
    Method(Value, Rc<str>),
}

/// `loop`.
#[derive(Debug)]
pub(in super::super) struct Loop {
    pub(super) items: Vec<Value>,
    pub(super) at: Cell<usize>,
    pub(super) depth: usize,
    pub(super) changed: RefCell<Option<Value>>,
    /// What `loop(items)` goes through again.
    pub(super) recursive: Option<Rc<For>>,
}

/// A macro and the names that it sees.
#[derive(Debug)]
pub(in super::super) struct Macro {
    pub(super) body: Rc<Body>,
    pub(super) scope: Rc<Scope>,
}

/// Names and their values, within those around them.
#[derive(Debug, Default)]
pub(in super::super) struct Scope {
    names: RefCell<HashMap<Rc<str>, Value>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    pub(super) fn within(parent: &Rc<Scope>) -> Rc<Scope> {
        Rc::new(Scope { names: RefCell::default(), parent: Some(parent.clone()) })
    }

    pub(super) fn set(&self, name: &Rc<str>, value: Value) {
        self.names.borrow_mut().insert(name.clone(), value);
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(it) = scope {
            if let Some(value) = it.names.borrow().get(name) {
                return Some(value.clone());
            }
            scope = it.parent.as_deref();
        }
        None
    }

    /// Drops all values: a macro of this scope holds the scope itself.
    pub(super) fn clear(&self) {
        let names = self.names.take();
        drop(names);
    }
}

impl Object {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Object::Namespace(_) => "Namespace",
            Object::Loop(_) => "LoopContext",
            Object::Macro(_) => "Macro",
            Object::Cycler { .. } => "Cycler",
            Object::Joiner { .. } => "Joiner",
            Object::Function("range" | "dict" | "namespace" | "cycler" | "joiner") => "type",
            Object::Function(_) => "function",
            Object::Method(..) => "builtin_function_or_method",
        }
    }

    /// A namespace holds values without being within them: it may change later.
    pub(super) fn depth(&self) -> usize {
        match self {
            Object::Cycler { items, .. } => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Object::Joiner { separator: value, .. } | Object::Method(value, _) => 1 + value.depth(),
            _ => 0,
        }
    }

    pub(super) fn is_callable(&self) -> bool {
        match self {
            Object::Namespace(_) | Object::Cycler { .. } => false,
            Object::Loop(_) | Object::Macro(_) | Object::Joiner { .. } => true,
            Object::Function(_) | Object::Method(..) => true,
        }
    }

    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Object::Loop(it) => Some(it.items.len()),
            _ => None,
        }
    }

    pub(super) fn is_iterable(&self) -> bool {
        matches!(self, Object::Loop(_))
    }

    /// What is left of a loop.
    pub(super) fn items(&self) -> Outcome<Vec<Value>> {
        match self {
            Object::Loop(it) => Ok(it.items.get(it.at.get() + 1..).unwrap_or_default().to_vec()),
            _ => Err(Fault::of_type(format!("'{}' object is not iterable", self.type_name()))),
        }
    }
}

impl Loop {
    /// An attribute of `loop`, but its methods.
    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
        let (at, n) = (self.at.get(), self.items.len());
        let neighbour = |at: Option<usize>, which: &str| {
            at.and_then(|at| self.items.get(at))
                .cloned()
                .unwrap_or_else(|| Value::undefined(format!("there is no {which} item")))
        };
        Some(match name {
            "index" => Value::from(at + 1),
            "index0" => Value::from(at),
            "revindex" => Value::from(n - at),
            "revindex0" => Value::from(n - at - 1),
            "first" => Value::Bool(at == 0),
            "last" => Value::Bool(at + 1 == n),
            "length" => Value::from(n),
            "depth" => Value::from(self.depth + 1),
            "depth0" => Value::from(self.depth),
            "previtem" => neighbour(at.checked_sub(1), "previous"),
            "nextitem" => neighbour(Some(at + 1), "next"),
            _ => return None,
        })
    }
}
