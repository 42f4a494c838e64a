//! A chat template as minijinja's instructions, with the filters of [`bounds`](super::bounds) around all that reads or makes values.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{
    AutoEscape, BinOp, BinOpKind, Block, Break, Call, CallArg, CallBlock, Compare, CompareOp, Const,
    Continue, Do, EmitExpr, Expr, Extends, Filter, FilterBlock, ForLoop, FromImport, GetAttr, GetItem,
    IfCond, IfExpr, Import, Include, List, Macro, Map, Set, SetBlock, Spanned, Stmt, Template, Test, Tuple,
    UnaryOp, UnaryOpKind, Var, WithBlock,
};
use minijinja::machinery::{CodeGenerator, Instructions, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape as Escaping, Environment, Error, Value};
use self_cell::self_cell;

use super::bounds::{MADE, PART, READ, TIMES};

/// Filters that look at no more than the first, the last or the number of items.
const GLANCES: [&str; 7] = ["attr", "count", "d", "default", "first", "last", "length"];

/// A template's instructions and those of its blocks.
#[derive(Debug)]
struct Compiled<'source>(Instructions<'source>, BTreeMap<&'source str, Instructions<'source>>);

self_cell!(
    /// A template that is ready to run; its instructions borrow from its source.
    pub(super) struct Program {
        owner: String,
        #[covariant]
        dependent: Compiled,
    }

    impl {Debug}
);

impl Program {
    /// Reads a template; errors name it so.
    pub(super) fn compile(
        source: String,
        name: &'static str,
        syntax: SyntaxConfig,
    ) -> Result<Program, Error> {
        Program::try_new(source, |source| {
            let template = parse(source, name, syntax)?;
            let mut generator = CodeGenerator::new(name, source);
            generator.compile_stmt(&statement(&template));
            let (instructions, blocks) = generator.finish();
            Ok(Compiled(instructions, blocks))
        })
    }

    /// Runs it.
    pub(super) fn run(&self, environment: &Environment, values: Value) -> Result<String, Error> {
        let Compiled(instructions, blocks) = self.borrow_dependent();
        let mut text = String::new();
        eval(environment, instructions, values, blocks, &mut make_string_output(&mut text), Escaping::None)?;
        Ok(text)
    }
}

fn statement<'a>(it: &Stmt<'a>) -> Stmt<'a> {
    match it {
        Stmt::Template(it) => Stmt::Template(at(it, Template { children: body(&it.children) })),
        Stmt::EmitExpr(it) => Stmt::EmitExpr(at(it, EmitExpr { expr: emitted(&it.expr) })),
        Stmt::EmitRaw(it) => {
            let raw = Const { value: Value::from_safe_string(it.raw.to_owned()) };
            Stmt::EmitExpr(at(it, EmitExpr { expr: Expr::Const(at(it, raw)) }))
        }
        Stmt::ForLoop(it) => Stmt::ForLoop(at(
            it,
            ForLoop {
                target: target(&it.target),
                iter: read(&it.iter),
                filter_expr: it.filter_expr.as_ref().map(expression),
                recursive: it.recursive,
                body: body(&it.body),
                else_body: body(&it.else_body),
            },
        )),
        Stmt::IfCond(it) => Stmt::IfCond(at(
            it,
            IfCond {
                expr: expression(&it.expr),
                true_body: body(&it.true_body),
                false_body: body(&it.false_body),
            },
        )),
        Stmt::WithBlock(it) => {
            let assignments =
                it.assignments.iter().map(|(to, from)| (target(to), expression(from))).collect();
            Stmt::WithBlock(at(it, WithBlock { assignments, body: body(&it.body) }))
        }
        Stmt::Set(it) => Stmt::Set(at(it, Set { target: target(&it.target), expr: expression(&it.expr) })),
        Stmt::SetBlock(it) => Stmt::SetBlock(at(
            it,
            SetBlock {
                target: target(&it.target),
                filter: it.filter.as_ref().map(expression),
                body: body(&it.body),
            },
        )),
        Stmt::AutoEscape(it) => {
            Stmt::AutoEscape(at(it, AutoEscape { enabled: expression(&it.enabled), body: body(&it.body) }))
        }
        Stmt::FilterBlock(it) => {
            Stmt::FilterBlock(at(it, FilterBlock { filter: expression(&it.filter), body: body(&it.body) }))
        }
        Stmt::Block(it) => {
            Stmt::Block(at(it, Block { name: it.name, required: it.required, body: body(&it.body) }))
        }
        Stmt::Import(it) => {
            Stmt::Import(at(it, Import { expr: expression(&it.expr), name: target(&it.name) }))
        }
        Stmt::FromImport(it) => {
            let names =
                it.names.iter().map(|(name, alias)| (target(name), alias.as_ref().map(target))).collect();
            Stmt::FromImport(at(it, FromImport { expr: expression(&it.expr), names }))
        }
        Stmt::Extends(it) => Stmt::Extends(at(it, Extends { name: expression(&it.name) })),
        Stmt::Include(it) => {
            let (name, ignore_missing) = (expression(&it.name), it.ignore_missing);
            Stmt::Include(at(it, Include { name, ignore_missing }))
        }
        Stmt::Macro(it) => Stmt::Macro(at(it, definition(it))),
        Stmt::CallBlock(it) => {
            let (call, macro_decl) =
                (at(&it.call, call(&it.call)), at(&it.macro_decl, definition(&it.macro_decl)));
            Stmt::CallBlock(at(it, CallBlock { call, macro_decl }))
        }
        Stmt::Continue(it) => Stmt::Continue(at(it, Continue)),
        Stmt::Break(it) => Stmt::Break(at(it, Break)),
        Stmt::Do(it) => Stmt::Do(at(it, Do { call: at(&it.call, call(&it.call)) })),
    }
}

fn body<'a>(statements: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
    statements.iter().map(statement).collect()
}

fn definition<'a>(it: &Macro<'a>) -> Macro<'a> {
    Macro {
        name: it.name,
        args: it.args.iter().map(target).collect(),
        defaults: expressions(&it.defaults),
        body: body(&it.body),
    }
}

/// What is printed is counted then; minijinja knows `loop(...)` and `self.name()` as they stand.
fn emitted<'a>(it: &Expr<'a>) -> Expr<'a> {
    match it {
        Expr::Call(it) => Expr::Call(at(it, call(it))),
        it => expression(it),
    }
}

/// What is assigned to.
fn target<'a>(it: &Expr<'a>) -> Expr<'a> {
    match it {
        Expr::List(it) => Expr::List(at(it, List { items: it.items.iter().map(target).collect() })),
        Expr::Tuple(it) => Expr::Tuple(at(it, Tuple { items: it.items.iter().map(target).collect() })),
        it => expression(it),
    }
}

fn expression<'a>(it: &Expr<'a>) -> Expr<'a> {
    match it {
        Expr::Var(it) => Expr::Var(at(it, Var { id: it.id })),
        Expr::Const(it) => Expr::Const(at(it, Const { value: it.value.clone() })),
        Expr::Slice(it) => {
            let none = || Expr::Const(at(it, Const { value: Value::from(()) }));
            let end = |end: &Option<Expr<'a>>| CallArg::Pos(end.as_ref().map_or_else(none, expression));
            made(filter(PART, read(&it.expr), [&it.start, &it.stop, &it.step].map(end).into()))
        }
        Expr::UnaryOp(it) => {
            let negates = matches!(it.op, UnaryOpKind::Neg);
            let op = if negates { UnaryOpKind::Neg } else { UnaryOpKind::Not };
            Expr::UnaryOp(at(it, UnaryOp { op, expr: expression(&it.expr) }))
        }
        Expr::BinOp(it) => operation(it),
        Expr::Compare(it) => {
            let ops = it.ops.iter().map(|it| CompareOp { op: it.op, expr: compared(&it.expr) }).collect();
            Expr::Compare(at(it, Compare { expr: compared(&it.expr), ops }))
        }
        Expr::IfExpr(it) => Expr::IfExpr(at(
            it,
            IfExpr {
                test_expr: expression(&it.test_expr),
                true_expr: expression(&it.true_expr),
                false_expr: it.false_expr.as_ref().map(expression),
            },
        )),
        Expr::Filter(it) => {
            let expr = it.expr.as_ref().map(if GLANCES.contains(&it.name) { read } else { compared });
            made(Expr::Filter(at(it, Filter { name: it.name, expr, args: arguments(&it.args) })))
        }
        Expr::Test(it) => {
            Expr::Test(at(it, Test { name: it.name, expr: read(&it.expr), args: arguments(&it.args) }))
        }
        Expr::GetAttr(it) => Expr::GetAttr(at(it, GetAttr { expr: expression(&it.expr), name: it.name })),
        Expr::GetItem(it) => {
            let subscript_expr = expression(&it.subscript_expr);
            Expr::GetItem(at(it, GetItem { expr: read(&it.expr), subscript_expr }))
        }
        Expr::Call(it) => made(Expr::Call(at(it, call(it)))),
        Expr::List(it) => made(Expr::List(at(it, List { items: expressions(&it.items) }))),
        Expr::Tuple(it) => made(Expr::Tuple(at(it, Tuple { items: expressions(&it.items) }))),
        Expr::Map(it) => {
            made(Expr::Map(at(it, Map { keys: expressions(&it.keys), values: expressions(&it.values) })))
        }
    }
}

fn expressions<'a>(items: &[Expr<'a>]) -> Vec<Expr<'a>> {
    items.iter().map(expression).collect()
}

fn operation<'a>(it: &Spanned<BinOp<'a>>) -> Expr<'a> {
    let (left, right) = (&it.left, &it.right);
    let with = |left, right| Expr::BinOp(at(it, BinOp { op: it.op, left, right }));
    match it.op {
        BinOpKind::Mul => {
            let args = vec![CallArg::Pos(expression(right))];
            made(filter(TIMES, expression(left), args))
        }
        BinOpKind::Add | BinOpKind::Concat => made(with(expression(left), expression(right))),
        BinOpKind::ScAnd | BinOpKind::ScOr => with(expression(left), expression(right)),
        _ => with(compared(left), compared(right)),
    }
}

fn call<'a>(it: &Call<'a>) -> Call<'a> {
    let expr = match &it.expr {
        Expr::GetAttr(it) => Expr::GetAttr(at(it, GetAttr { expr: read(&it.expr), name: it.name })),
        it => expression(it),
    };
    Call { expr, args: arguments(&it.args) }
}

fn arguments<'a>(args: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let argument = |it: &CallArg<'a>| match it {
        CallArg::Pos(it) => CallArg::Pos(read(it)),
        CallArg::Kwarg(name, it) => CallArg::Kwarg(name, read(it)),
        CallArg::PosSplat(it) => CallArg::PosSplat(compared(it)),
        CallArg::KwargSplat(it) => CallArg::KwargSplat(compared(it)),
    };
    args.iter().map(argument).collect()
}

/// A value that is read whole.
fn compared<'a>(it: &Expr<'a>) -> Expr<'a> {
    match it {
        Expr::Const(_) => expression(it),
        it => made(expression(it)),
    }
}

/// A value of which texts are read whole, and lists in a place or two.
fn read<'a>(it: &Expr<'a>) -> Expr<'a> {
    match it {
        Expr::Const(_) => expression(it),
        it => filter(READ, expression(it), Vec::new()),
    }
}

fn made<'a>(it: Expr<'a>) -> Expr<'a> {
    match &it {
        Expr::Filter(filter) if filter.name == MADE => it,
        _ => filter(MADE, it, Vec::new()),
    }
}

fn filter<'a>(name: &'static str, expr: Expr<'a>, args: Vec<CallArg<'a>>) -> Expr<'a> {
    let span = expr.span();
    Expr::Filter(Spanned::new(Filter { name, expr: Some(expr), args }, span))
}

/// A node in the place of another.
fn at<T, U>(place: &Spanned<T>, node: U) -> Spanned<U> {
    Spanned::new(node, place.span())
}
