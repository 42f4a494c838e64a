//! Jinja as transformers runs it: `ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)` with loop controls.
//!
//! Chat templates are written for Python: they call methods of its types, print its values and rely on its errors. So values here are
//! Python's, and a template means what it means there. What it takes is bounded ([`Limits`]).

mod args;
mod ast;
mod checks;
mod fault;
mod filters;
mod formatting;
mod functions;
mod interpreter;
mod json;
mod lexer;
mod lists;
mod meter;
mod object;
mod operators;
mod parser;
mod print;
mod strings;
mod value;

pub(super) use self::fault::Fault;
pub(super) use self::interpreter::Given;
pub(super) use self::meter::Limits;
pub(super) use self::value::Value;

/// A template that is ready to run.
#[derive(Debug)]
pub(super) struct Template {
    body: Vec<ast::Stmt>,
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(source: &str) -> Result<Template, Fault> {
        parser::parse(source).map(|body| Template { body })
    }

    /// Whether it has `{% generation %}`.
    pub(super) fn marks_turns(&self) -> bool {
        self.body.iter().any(marks_turns)
    }

    /// The text that it writes.
    pub(super) fn render(&self, given: Given) -> Result<String, Fault> {
        interpreter::run(&self.body, given)
    }
}

fn marks_turns(statement: &ast::Stmt) -> bool {
    let any = |body: &[ast::Stmt]| body.iter().any(marks_turns);
    match statement {
        ast::Stmt::Generation(_) => true,
        ast::Stmt::If(branches, otherwise) => branches.iter().any(|(_, body)| any(body)) || any(otherwise),
        ast::Stmt::For(it) => any(&it.body) || any(&it.otherwise),
        ast::Stmt::Macro(body) | ast::Stmt::CallBlock(_, body) => any(&body.body),
        ast::Stmt::SetBlock(_, _, body, _) | ast::Stmt::Filter(_, body, _) => any(body),
        ast::Stmt::With(_, body) | ast::Stmt::Scope(body) => any(body),
        _ => false,
    }
}
