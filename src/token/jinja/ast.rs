//! A template as a tree.

use std::rc::Rc;

use super::value::Value;

/// An expression and its line.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) line: usize,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Const(Value),
    Name(Rc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    And(Box<[Expr; 2]>),
    Or(Box<[Expr; 2]>),
    Binary(Binary, Box<[Expr; 2]>),
    /// `a < b <= c`.
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// All that `~` joins.
    Concat(Vec<Expr>),
    /// `then if test else otherwise`.
    If(Box<[Expr; 2]>, Option<Box<Expr>>),
    Attribute(Box<Expr>, Rc<str>),
    Item(Box<[Expr; 2]>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, Rc<str>, Arguments),
    /// A test, and whether `is not` asks for it.
    Test(Box<Expr>, Rc<str>, Arguments, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

/// What a call is given.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) plain: Vec<Expr>,
    pub(super) named: Vec<(Rc<str>, Expr)>,
    /// `*list`.
    pub(super) star: Option<Box<Expr>>,
    /// `**dictionary`.
    pub(super) stars: Option<Box<Expr>>,
}

/// What is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Rc<str>),
    /// `namespace.name`.
    Member(Rc<str>, Rc<str>),
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub(super) enum Stmt {
    /// Text as it stands.
    Text(String),
    Print(Expr),
    Set(Target, Expr),
    SetBlock(Target, Vec<Called>, Vec<Stmt>, usize),
    For(Rc<For>),
    /// Tests with their bodies, and the last body.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    Filter(Vec<Called>, Vec<Stmt>, usize),
    Macro(Rc<Body>),
    /// The call, and what `caller()` then does.
    CallBlock(Expr, Rc<Body>),
    /// Its own scope, whatever it is for: `{% block %}`, `{% autoescape false %}`.
    Scope(Vec<Stmt>),
    /// What the assistant says.
    Generation(Vec<Stmt>),
    Break,
    Continue,
    /// What webreft does not have, with its line.
    Unsupported(String, usize),
}

/// A filter without what it is applied to.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) name: Rc<str>,
    pub(super) arguments: Arguments,
}

#[derive(Debug)]
pub(in super::super) struct For {
    pub(super) target: Target,
    pub(super) items: Expr,
    pub(super) test: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Vec<Stmt>,
}

/// A macro's parameters and its body.
#[derive(Debug)]
pub(in super::super) struct Body {
    pub(super) name: Rc<str>,
    pub(super) parameters: Vec<(Rc<str>, Option<Expr>)>,
    pub(super) body: Vec<Stmt>,
    /// Which of `caller`, `varargs` and `kwargs` the body speaks of.
    pub(super) uses: [bool; 3],
}
