//! Runs a template. Source: `jinja2.compiler` and `jinja2.sandbox`, as transformers sets them.

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;

use super::args::Args;
use super::ast::{Arguments, Body, Called, Expr, For, Node, Stmt, Target};
use super::checks;
use super::fault::{Fault, Outcome};
use super::filters;
use super::functions::{self, global, has_method, is_kept, plain_attribute};
use super::meter::{Limits, Meter};
use super::object::{Loop, Macro, Object, Scope};
use super::operators;
use super::print::{str_of, too_deep};
use super::value::{Dict, MAX_DEPTH, Value};

/// Statements and expressions within each other at most, calls of macros included: the stack in a browser is small.
const MAX_NESTING: usize = 320;

/// What a template is run with.
#[derive(Debug)]
pub(in super::super) struct Given {
    /// The names that it sees.
    pub(in super::super) names: Vec<(String, Value)>,
    /// The local date and time, in seconds since 1970.
    pub(in super::super) now: i64,
    /// What is written around `{% generation %}`.
    pub(in super::super) marks: Option<[char; 2]>,
    pub(in super::super) limits: Limits,
}

/// A template that runs.
pub(super) struct Run {
    pub(super) meter: Meter,
    pub(super) now: i64,
    /// All namespaces, which may hold themselves.
    pub(super) namespaces: Vec<Rc<Object>>,
    marks: Option<[char; 2]>,
    scope: Rc<Scope>,
    out: String,
    nesting: usize,
}

/// What is next after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// The text that a template writes.
pub(super) fn run(body: &[Stmt], given: Given) -> Outcome<String> {
    let scope = Rc::new(Scope::default());
    let mut run = Run {
        meter: Meter::new(given.limits),
        now: given.now,
        namespaces: Vec::new(),
        marks: given.marks,
        scope: scope.clone(),
        out: String::new(),
        nesting: 0,
    };
    for (name, value) in given.names {
        scope.set(&name.into(), value);
    }
    let result = run.body(body);
    scope.clear();
    for namespace in mem::take(&mut run.namespaces) {
        if let Object::Namespace(dict) = &*namespace {
            dict.borrow_mut().clear();
        }
    }
    result.map(|_| run.out)
}

impl Run {
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Run) -> Outcome<T>) -> Outcome<T> {
        if self.nesting == MAX_NESTING {
            return Err(Fault::limit("recursion: the template nests deeper than is supported"));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    fn body(&mut self, body: &[Stmt]) -> Outcome<Flow> {
        for statement in body {
            self.meter.step()?;
            let flow = self.nested(|run| run.statement(statement))?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn statement(&mut self, statement: &Stmt) -> Outcome<Flow> {
        match statement {
            Stmt::Text(text) => self.write(text)?,
            Stmt::Print(value) => self.print(value)?,
            Stmt::Set(target, value) => {
                let line = value.line;
                let value = self.eval(value)?;
                self.assign(target, value).map_err(|fault| fault.at(line))?;
            }
            Stmt::SetBlock(target, filters, body, line) => {
                let text = self.captured(|run| run.scoped(|run| run.body(body)))?;
                let value = self.filtered(filters, text).map_err(|fault| fault.at(*line))?;
                self.assign(target, value)?;
            }
            Stmt::For(it) => {
                let items = self.eval(&it.items)?;
                self.for_loop(it, &items, 0).map_err(|fault| fault.at(it.items.line))?;
            }
            Stmt::If(branches, otherwise) => return self.condition(branches, otherwise),
            Stmt::With(values, body) => return self.with(values, body),
            Stmt::Filter(filters, body, line) => {
                let text = self.captured(|run| run.scoped(|run| run.body(body)))?;
                let value = self.filtered(filters, text).map_err(|fault| fault.at(*line))?;
                self.write_value(&value)?;
            }
            Stmt::Macro(body) => {
                let value = self.macro_of(body);
                self.scope.set(&body.name, value);
            }
            Stmt::CallBlock(call, body) => self.call_block(call, body)?,
            Stmt::Scope(body) => return self.scoped(|run| run.body(body)),
            Stmt::Generation(body) => return self.generation(body),
            Stmt::Break => return Ok(Flow::Break),
            Stmt::Continue => return Ok(Flow::Continue),
            Stmt::Unsupported(what, line) => return Err(Fault::unsupported(what).at(*line)),
        }
        Ok(Flow::On)
    }

    fn write(&mut self, text: &str) -> Outcome<()> {
        self.meter.write(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn write_value(&mut self, value: &Value) -> Outcome<()> {
        match value {
            Value::Str(text) => self.write(text),
            other => {
                let text = str_of(&self.meter, other)?;
                self.write(&text)
            }
        }
    }

    fn print(&mut self, expr: &Expr) -> Outcome<()> {
        let value = self.eval(expr)?;
        self.write_value(&value).map_err(|fault| fault.at(expr.line))
    }

    /// What is written meanwhile, as a text.
    fn captured(&mut self, write: impl FnOnce(&mut Run) -> Outcome<Flow>) -> Outcome<String> {
        let outer = mem::take(&mut self.out);
        let result = write(self);
        let text = mem::replace(&mut self.out, outer);
        self.meter.unwrite(text.len());
        result.map(|_| text)
    }

    fn in_scope<T>(&mut self, scope: Rc<Scope>, inner: impl FnOnce(&mut Run) -> Outcome<T>) -> Outcome<T> {
        let outer = mem::replace(&mut self.scope, scope);
        let result = inner(self);
        mem::replace(&mut self.scope, outer).clear();
        result
    }

    fn scoped<T>(&mut self, inner: impl FnOnce(&mut Run) -> Outcome<T>) -> Outcome<T> {
        self.in_scope(Scope::within(&self.scope), inner)
    }

    fn filtered(&mut self, filters: &[Called], text: String) -> Outcome<Value> {
        let mut value = Value::from(text);
        for filter in filters {
            let args = self.args(&filter.arguments)?;
            value = filters::apply(self, &filter.name, value, args)?;
        }
        Ok(value)
    }

    fn condition(&mut self, branches: &[(Expr, Vec<Stmt>)], otherwise: &[Stmt]) -> Outcome<Flow> {
        for (test, body) in branches {
            if self.eval(test)?.is_true() {
                return self.body(body);
            }
        }
        self.body(otherwise)
    }

    fn with(&mut self, values: &[(Target, Expr)], body: &[Stmt]) -> Outcome<Flow> {
        // Values see what is outside, not each other.
        let values = values.iter().map(|(target, value)| Ok((target, self.eval(value)?)));
        let values = values.collect::<Outcome<Vec<(&Target, Value)>>>()?;
        self.scoped(|run| {
            for (target, value) in values {
                run.assign(target, value)?;
            }
            run.body(body)
        })
    }

    fn generation(&mut self, body: &[Stmt]) -> Outcome<Flow> {
        let [opens, closes] = self.marks.map_or([None; 2], |marks| marks.map(Some));
        self.out.extend(opens);
        let flow = self.scoped(|run| run.body(body))?;
        self.out.extend(closes);
        Ok(flow)
    }

    fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(name) => self.scope.set(name, value),
            Target::Member(of, name) => {
                let Some(Value::Object(object)) = self.lookup(of) else { return Err(not_a_namespace()) };
                let Object::Namespace(dict) = &*object else { return Err(not_a_namespace()) };
                dict.borrow_mut().insert(Value::from(&**name), value)?;
            }
            Target::Tuple(targets) => {
                let values = operators::items(&self.meter, &value).map_err(|fault| match &value {
                    Value::Undefined(_) => fault,
                    other => {
                        Fault::of_type(format!("cannot unpack non-iterable {} object", other.type_name()))
                    }
                })?;
                if values.len() != targets.len() {
                    let (wanted, got) = (targets.len(), values.len());
                    let text = format!("expected {wanted} values to unpack, got {got}");
                    return Err(Fault::value(text));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
            }
        }
        Ok(())
    }

    fn lookup(&self, name: &str) -> Option<Value> {
        self.scope.get(name).or_else(|| global(name))
    }

    fn for_loop(&mut self, it: &Rc<For>, items: &Value, depth: usize) -> Outcome<()> {
        let mut items = self.items(items)?;
        if let Some(test) = &it.test {
            let mut kept = Vec::new();
            for item in items {
                let passes = self.scoped(|run| {
                    run.assign(&it.target, item.clone())?;
                    Ok(run.eval(test)?.is_true())
                })?;
                if passes {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            return self.scoped(|run| run.body(&it.otherwise)).map(|_| ());
        }
        let recursive = it.recursive.then(|| it.clone());
        let state = Loop { items, at: Cell::new(0), depth, changed: RefCell::new(None), recursive };
        self.iterate(it, &Rc::new(Object::Loop(state)))
    }

    fn iterate(&mut self, it: &For, object: &Rc<Object>) -> Outcome<()> {
        let Object::Loop(state) = &**object else { unreachable!("it is a loop") };
        for (at, item) in state.items.iter().enumerate() {
            self.meter.step()?;
            state.at.set(at);
            let flow = self.scoped(|run| {
                run.scope.set(&"loop".into(), Value::Object(object.clone()));
                run.assign(&it.target, item.clone())?;
                run.body(&it.body)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn macro_of(&self, body: &Rc<Body>) -> Value {
        Value::Object(Rc::new(Object::Macro(Macro { body: body.clone(), scope: self.scope.clone() })))
    }

    fn call_block(&mut self, call: &Expr, body: &Rc<Body>) -> Outcome<()> {
        let Node::Call(callee, arguments) = &call.node else { unreachable!("the parser asks for a call") };
        let callee = self.eval(callee)?;
        let mut args = self.args(arguments)?;
        args.named.push(("caller".into(), self.macro_of(body)));
        let value = self.call(&callee, args).map_err(|fault| fault.at(call.line))?;
        self.write_value(&value)
    }

    /// The value of an expression.
    fn eval(&mut self, expr: &Expr) -> Outcome<Value> {
        self.meter.step()?;
        let value = self.nested(|run| run.node(&expr.node)).map_err(|fault| fault.at(expr.line))?;
        if value.depth() > MAX_DEPTH {
            return Err(too_deep().at(expr.line));
        }
        Ok(value)
    }

    fn all(&mut self, exprs: &[Expr]) -> Outcome<Vec<Value>> {
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    fn both(&mut self, exprs: &[Expr; 2]) -> Outcome<[Value; 2]> {
        Ok([self.eval(&exprs[0])?, self.eval(&exprs[1])?])
    }

    fn node(&mut self, node: &Node) -> Outcome<Value> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Name(name) => Ok(self.lookup(name).unwrap_or_else(|| missing_name(name))),
            Node::List(items) => Ok(Value::list(self.all(items)?)),
            Node::Tuple(items) => Ok(Value::tuple(self.all(items)?)),
            Node::Dict(pairs) => self.dict(pairs),
            Node::Not(inner) => Ok(Value::Bool(!self.eval(inner)?.is_true())),
            Node::Negative(inner) => operators::signed(&self.eval(inner)?, true),
            Node::Positive(inner) => operators::signed(&self.eval(inner)?, false),
            Node::And(sides) => {
                let left = self.eval(&sides[0])?;
                if left.is_true() { self.eval(&sides[1]) } else { Ok(left) }
            }
            Node::Or(sides) => {
                let left = self.eval(&sides[0])?;
                if left.is_true() { Ok(left) } else { self.eval(&sides[1]) }
            }
            Node::Binary(operator, sides) => {
                let [left, right] = self.both(sides)?;
                operators::binary(&self.meter, *operator, &left, &right)
            }
            Node::Compare(first, others) => self.compare(first, others),
            Node::Concat(parts) => self.concat(parts),
            Node::If(parts, otherwise) => self.conditional(parts, otherwise.as_deref()),
            Node::Attribute(of, name) => {
                let of = self.eval(of)?;
                self.attribute(&of, name)
            }
            Node::Item(parts) => {
                let [of, key] = self.both(parts)?;
                self.item(&of, &key)
            }
            Node::Slice(of, parts) => self.slice(of, parts),
            Node::Call(callee, arguments) => self.called(callee, arguments),
            Node::Filter(of, name, arguments) => {
                let of = self.eval(of)?;
                let args = self.args(arguments)?;
                filters::apply(self, name, of, args)
            }
            Node::Test(of, name, arguments, negated) => {
                let of = self.eval(of)?;
                let args = self.args(arguments)?;
                Ok(Value::Bool(checks::test(self, name, &of, args)? != *negated))
            }
        }
    }

    fn dict(&mut self, pairs: &[(Expr, Expr)]) -> Outcome<Value> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            dict.insert(self.eval(key)?, self.eval(value)?)?;
        }
        Ok(Value::Dict(dict.into()))
    }

    fn compare(&mut self, first: &Expr, others: &[(super::ast::Comparison, Expr)]) -> Outcome<Value> {
        let mut left = self.eval(first)?;
        for (comparison, right) in others {
            let right = self.eval(right)?;
            if !operators::compare(&self.meter, *comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn concat(&mut self, parts: &[Expr]) -> Outcome<Value> {
        let mut out = String::new();
        for part in parts {
            let value = self.eval(part)?;
            let text = str_of(&self.meter, &value)?;
            out.push_str(&text);
            self.meter.fits(out.len())?;
        }
        self.meter.make(out.len())?;
        Ok(Value::from(out))
    }

    fn conditional(&mut self, parts: &[Expr; 2], otherwise: Option<&Expr>) -> Outcome<Value> {
        if self.eval(&parts[0])?.is_true() {
            return self.eval(&parts[1]);
        }
        let nothing = "the inline if-expression evaluated to false and no else section was defined.";
        otherwise.map_or_else(|| Ok(Value::undefined(nothing)), |otherwise| self.eval(otherwise))
    }

    fn slice(&mut self, of: &Expr, parts: &[Option<Expr>; 3]) -> Outcome<Value> {
        let of = self.eval(of)?;
        let mut values = [None, None, None];
        for (value, part) in values.iter_mut().zip(parts) {
            *value = part.as_ref().map(|part| self.eval(part)).transpose()?;
        }
        operators::slice(&self.meter, &of, values)
    }

    fn called(&mut self, callee: &Expr, arguments: &Arguments) -> Outcome<Value> {
        // A method of a value, without making it a value of its own.
        if let Node::Attribute(of, name) = &callee.node {
            let of = self.eval(of)?;
            if has_method(&of, name) {
                let args = self.args(arguments)?;
                return functions::method(self, &of, name, args);
            }
            let callee = self.attribute(&of, name)?;
            let args = self.args(arguments)?;
            return self.call(&callee, args);
        }
        let callee = self.eval(callee)?;
        let args = self.args(arguments)?;
        self.call(&callee, args)
    }

    fn args(&mut self, arguments: &Arguments) -> Outcome<Args> {
        let mut args = Args { plain: self.all(&arguments.plain)?, named: Vec::new() };
        for (name, value) in &arguments.named {
            args.named.push((name.clone(), self.eval(value)?));
        }
        if let Some(star) = &arguments.star {
            let more = self.eval(star)?;
            args.plain.extend(self.items(&more)?);
        }
        if let Some(stars) = &arguments.stars {
            let Value::Dict(dict) = self.eval(stars)? else {
                return Err(Fault::of_type("argument after ** must be a mapping"));
            };
            for (name, value) in dict.pairs() {
                let name = name.as_str().ok_or_else(|| Fault::of_type("keywords must be strings"))?;
                args.named.push((name.into(), value.clone()));
            }
        }
        Ok(args)
    }

    fn call(&mut self, callee: &Value, args: Args) -> Outcome<Value> {
        let object = match callee {
            Value::Undefined(what) => return Err(Fault::undefined(what)),
            Value::Object(object) => object,
            other => return Err(Fault::of_type(format!("'{}' object is not callable", other.type_name()))),
        };
        match &**object {
            Object::Function(name) => functions::call(self, name, args),
            Object::Method(receiver, name) => functions::method(self, receiver, name, args),
            Object::Macro(it) => self.nested(|run| run.call_macro(it, args)),
            Object::Joiner { separator, used } => {
                args.none("joiner")?;
                Ok(if used.replace(true) { separator.clone() } else { Value::from("") })
            }
            Object::Loop(Loop { recursive: Some(it), depth, .. }) => {
                let [items] = args.bind("loop", ["iterable"], 1)?;
                let items = items.unwrap_or(Value::None);
                let text = self.captured(|run| {
                    run.nested(|run| run.for_loop(it, &items, depth + 1)).map(|()| Flow::On)
                })?;
                Ok(Value::from(text))
            }
            Object::Loop(_) => {
                let text = "The loop must have the 'recursive' marker to be called recursively.";
                Err(Fault::of_type(text))
            }
            other => Err(Fault::of_type(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    fn call_macro(&mut self, it: &Macro, args: Args) -> Outcome<Value> {
        let body = it.body.clone();
        let scope = Scope::within(&it.scope);
        let text = self.captured(|run| {
            run.in_scope(scope, |run| {
                run.bind(&body, args)?;
                run.body(&body.body)
            })
        })?;
        Ok(Value::from(text))
    }

    /// Gives a macro's parameters their values.
    fn bind(&mut self, body: &Body, mut args: Args) -> Outcome<()> {
        let [uses_caller, uses_varargs, uses_kwargs] = body.uses;
        let mut plain = mem::take(&mut args.plain).into_iter();
        let mut missing = Vec::new();
        for (name, default) in &body.parameters {
            match plain.next().or_else(|| args.take(name)) {
                Some(value) => self.scope.set(name, value),
                None => missing.push((name, default)),
            }
        }
        let caller = args.take("caller");
        if uses_caller && !body.parameters.iter().any(|(name, _)| &**name == "caller") {
            let caller = caller.clone().unwrap_or_else(|| Value::undefined("No caller defined"));
            self.scope.set(&"caller".into(), caller);
        }
        for (name, default) in missing {
            let value = match default {
                Some(default) => self.eval(default)?,
                None => Value::undefined(format!("parameter '{name}' was not provided")),
            };
            self.scope.set(name, value);
        }
        let more: Vec<Value> = plain.collect();
        if uses_varargs {
            self.scope.set(&"varargs".into(), Value::tuple(more));
        } else if !more.is_empty() {
            let (name, n) = (&body.name, body.parameters.len());
            return Err(Fault::of_type(format!("macro '{name}' takes not more than {n} argument(s)")));
        }
        if uses_kwargs {
            let pairs = args.named.into_iter().map(|(name, value)| (Value::from(&*name), value));
            self.scope.set(&"kwargs".into(), Value::Dict(Dict::new(pairs)?.into()));
        } else if let Some((name, _)) = args.named.first() {
            let text = format!("macro '{}' takes no keyword argument '{name}'", body.name);
            return Err(Fault::of_type(text));
        } else if caller.is_some() && !uses_caller {
            let text = format!("macro '{}' takes no keyword argument 'caller'", body.name);
            return Err(Fault::of_type(text));
        }
        Ok(())
    }

    /// `receiver.name(args)`.
    pub(super) fn method(&mut self, receiver: &Value, name: &str, args: Args) -> Outcome<Value> {
        functions::method(self, receiver, name, args)
    }

    /// What a value gives when it is gone through, counted.
    pub(super) fn items(&self, value: &Value) -> Outcome<Vec<Value>> {
        operators::items(&self.meter, value)
    }

    /// Python's `getattr(value, name)`, as far as Jinja's sandbox lets it.
    pub(super) fn python_attribute(&self, value: &Value, name: &str) -> Option<Value> {
        if has_method(value, name) {
            return Some(Value::Object(Rc::new(Object::Method(value.clone(), name.into()))));
        }
        if is_kept(value, name) {
            return Some(kept(value, name));
        }
        plain_attribute(value, name)
    }

    /// `value.name`: an attribute, else an item.
    pub(super) fn attribute(&self, value: &Value, name: &str) -> Outcome<Value> {
        if let Value::Undefined(what) = value {
            let is_kept = name.starts_with("__") && !what.starts_with(SECURITY);
            return if is_kept { Ok(kept(value, name)) } else { Err(Fault::undefined(what)) };
        }
        if name.starts_with("__") && !matches!(value, Value::Dict(_)) {
            return Ok(kept(value, name));
        }
        if let Some(found) = self.python_attribute(value, name) {
            return Ok(found);
        }
        let item = match value {
            Value::Dict(dict) => dict.get_str(name).cloned(),
            _ => None,
        };
        Ok(item.unwrap_or_else(|| self.missing(value, &Value::from(name))))
    }

    /// `value[key]`: an item, else an attribute.
    pub(super) fn item(&self, value: &Value, key: &Value) -> Outcome<Value> {
        if let Some(found) = operators::item(&self.meter, value, key)? {
            return Ok(found);
        }
        let attribute = key.as_str().and_then(|name| self.python_attribute(value, name));
        Ok(attribute.unwrap_or_else(|| self.missing(value, key)))
    }

    /// What a text's `format` reads of a value.
    pub(super) fn format_member(&self, value: &Value, key: &str, is_item: bool) -> Outcome<Value> {
        if !is_item {
            return self.attribute(value, key);
        }
        self.item(value, &key.parse().map_or_else(|_| Value::from(key), Value::Int))
    }

    /// The undefined value in the place of an attribute or an item.
    pub(super) fn missing(&self, value: &Value, key: &Value) -> Value {
        let of = match value {
            Value::None => "None".to_owned(),
            other => format!("{} object", other.type_name()),
        };
        Value::undefined(match key {
            Value::Str(name) => format!("'{of}' has no attribute '{}'", &**name),
            Value::Int(at) => format!("{of} has no element {at}"),
            other => format!("{of} has no element of type {}", other.type_name()),
        })
    }
}

/// What begins the text about something that the sandbox keeps.
const SECURITY: &str = "SecurityError: ";

/// What Jinja's sandbox keeps from templates.
fn kept(value: &Value, name: &str) -> Value {
    let kind = value.type_name();
    Value::undefined(format!("{SECURITY}access to attribute '{name}' of '{kind}' object is unsafe."))
}

fn missing_name(name: &str) -> Value {
    Value::undefined(format!("'{name}' is undefined"))
}

fn not_a_namespace() -> Fault {
    Fault::other("TemplateRuntimeError: cannot assign attribute on non-namespace object")
}
