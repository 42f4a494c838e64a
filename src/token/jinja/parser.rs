//! Tokens as a tree. Source: `jinja2.parser`, with the loop controls and the `generation` block of transformers.

use std::rc::Rc;

use super::ast::{Arguments, Binary, Body, Called, Comparison, Expr, For, Node, Stmt, Target};
use super::fault::{Fault, Outcome};
use super::lexer::{Kind, Token, tokens};
use super::value::Value;

/// Expressions or blocks within each other at most, and operands of one operator in a row: the stack in a browser is small.
const MAX_NESTING: usize = 64;
const MAX_OPERANDS: usize = 160;

/// A template as a tree.
pub(super) fn parse(source: &str) -> Outcome<Vec<Stmt>> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0, loops: 0 };
    let body = parser.body(&[]).map_err(|fault| fault.at(parser.line()))?;
    Ok(body)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Loops around, for `break` and `continue`.
    loops: usize,
}

fn name(text: &str) -> Kind {
    Kind::Name(text.to_owned())
}

impl Parser {
    fn kind(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    fn line(&self) -> usize {
        self.tokens[self.at].line
    }

    fn next(&mut self) -> Kind {
        let kind = self.kind().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        kind
    }

    fn is(&self, operator: &str) -> bool {
        matches!(self.kind(), Kind::Operator(it) if *it == operator)
    }

    fn is_name(&self, word: &str) -> bool {
        matches!(self.kind(), Kind::Name(it) if it == word)
    }

    fn is_one_of(&self, words: &[&str]) -> bool {
        matches!(self.kind(), Kind::Name(it) if words.contains(&it.as_str()))
    }

    fn skip(&mut self, operator: &str) -> bool {
        let found = self.is(operator);
        self.at += usize::from(found);
        found
    }

    fn skip_name(&mut self, word: &str) -> bool {
        let found = self.is_name(word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, operator: &str) -> Outcome<()> {
        if self.skip(operator) { Ok(()) } else { Err(self.unexpected(&format!("'{operator}'"))) }
    }

    fn expect_kind(&mut self, kind: &Kind, what: &str) -> Outcome<()> {
        if self.kind() != kind {
            return Err(self.unexpected(what));
        }
        self.next();
        Ok(())
    }

    fn expect_name(&mut self) -> Outcome<Rc<str>> {
        match self.kind() {
            Kind::Name(_) => {
                let Kind::Name(it) = self.next() else { unreachable!("it is a name") };
                Ok(it.into())
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let got = match self.kind() {
            Kind::Data(_) => "text".to_owned(),
            Kind::PrintBegin => "'{{'".to_owned(),
            Kind::PrintEnd => "'}}'".to_owned(),
            Kind::BlockBegin => "'{%'".to_owned(),
            Kind::BlockEnd => "'%}'".to_owned(),
            Kind::Name(it) => format!("'{it}'"),
            Kind::Str(_) => "a string".to_owned(),
            Kind::Int(it) => it.to_string(),
            Kind::Float(it) => it.to_string(),
            Kind::Operator(it) => format!("'{it}'"),
            Kind::End => "the end of the template".to_owned(),
        };
        Fault::syntax(format!("expected {expected}, got {got}")).at(self.line())
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Parser) -> Outcome<T>) -> Outcome<T> {
        if self.depth == MAX_NESTING {
            return Err(Fault::syntax(format!("nests deeper than {MAX_NESTING}")).at(self.line()));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Statements up to one of these tags, whose name is next then; without any, up to the end.
    fn body(&mut self, ends: &[&str]) -> Outcome<Vec<Stmt>> {
        self.nested(|parser| parser.statements(ends))
    }

    fn statements(&mut self, ends: &[&str]) -> Outcome<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            match self.kind() {
                Kind::End if ends.is_empty() => return Ok(body),
                Kind::Data(_) => {
                    if let Kind::Data(text) = self.next() {
                        body.push(Stmt::Text(text));
                    }
                }
                Kind::PrintBegin => {
                    self.next();
                    body.push(Stmt::Print(self.tuple(true)?));
                    self.expect_kind(&Kind::PrintEnd, "'}}'")?;
                }
                Kind::BlockBegin => {
                    self.next();
                    if self.is_one_of(ends) {
                        return Ok(body);
                    }
                    self.statement(&mut body)?;
                    self.expect_kind(&Kind::BlockEnd, "'%}'")?;
                }
                _ => return Err(self.unexpected(&format!("'{}'", ends.join("' or '")))),
            }
        }
    }

    /// The rest of an opening tag, a body, and the name of the tag that ends it.
    fn block(&mut self, ends: &[&str]) -> Outcome<Vec<Stmt>> {
        self.skip(":");
        self.expect_kind(&Kind::BlockEnd, "'%}'")?;
        self.body(ends)
    }

    /// As [`block`](Parser::block), past the name of the tag that ends it.
    fn whole(&mut self, end: &str) -> Outcome<Vec<Stmt>> {
        let body = self.block(&[end])?;
        self.next();
        Ok(body)
    }

    fn statement(&mut self, body: &mut Vec<Stmt>) -> Outcome<()> {
        let line = self.line();
        let tag = self.expect_name()?;
        body.push(match &*tag {
            "for" => self.for_loop()?,
            "if" => self.condition()?,
            "set" => self.set(line)?,
            "macro" => {
                let name = self.expect_name()?;
                Stmt::Macro(self.definition(name)?)
            }
            "call" => self.call_block(line)?,
            "filter" => {
                let mut filters = vec![self.filter()?];
                filters.extend(self.filters()?);
                Stmt::Filter(filters, self.whole("endfilter")?, line)
            }
            "with" => self.with()?,
            "print" => return self.prints(body),
            "block" => self.named_block()?,
            "autoescape" => self.autoescape(line)?,
            "generation" => Stmt::Generation(self.whole("endgeneration")?),
            "break" | "continue" if self.loops == 0 => {
                return Err(Fault::syntax(format!("'{tag}' outside loop")).at(line));
            }
            "break" => Stmt::Break,
            "continue" => Stmt::Continue,
            "extends" | "include" | "import" | "from" => self.other_template(&tag, line)?,
            other => {
                return Err(Fault::syntax(format!("encountered unknown tag '{other}'")).at(line));
            }
        });
        Ok(())
    }

    fn for_loop(&mut self) -> Outcome<Stmt> {
        let target = self.targets()?;
        if !self.skip_name("in") {
            return Err(self.unexpected("'in'"));
        }
        let items = self.tuple(false)?;
        let test = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.loops += 1;
        let body = self.block(&["endfor", "else"])?;
        self.loops -= 1;
        let otherwise = if self.next() == name("else") { self.whole("endfor")? } else { Vec::new() };
        Ok(Stmt::For(Rc::new(For { target, items, test, recursive, body, otherwise })))
    }

    fn condition(&mut self) -> Outcome<Stmt> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false)?;
            branches.push((test, self.block(&["elif", "else", "endif"])?));
            match self.next() {
                Kind::Name(word) if word == "elif" => {}
                Kind::Name(word) if word == "else" => {
                    return Ok(Stmt::If(branches, self.whole("endif")?));
                }
                _ => return Ok(Stmt::If(branches, Vec::new())),
            }
        }
    }

    fn set(&mut self, line: usize) -> Outcome<Stmt> {
        let target = self.targets()?;
        if self.skip("=") {
            return Ok(Stmt::Set(target, self.tuple(true)?));
        }
        let filters = self.filters()?;
        Ok(Stmt::SetBlock(target, filters, self.whole("endset")?, line))
    }

    fn definition(&mut self, name: Rc<str>) -> Outcome<Rc<Body>> {
        let mut parameters = Vec::new();
        self.parameters(&mut parameters)?;
        self.defined(name, parameters, "endmacro")
    }

    fn parameters(&mut self, parameters: &mut Vec<(Rc<str>, Option<Expr>)>) -> Outcome<()> {
        self.expect("(")?;
        while !self.skip(")") {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            let name = self.expect_name()?;
            let default = if self.skip("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(Fault::syntax("non-default argument follows default argument").at(self.line()));
            }
            parameters.push((name, default));
        }
        Ok(())
    }

    fn defined(
        &mut self,
        name: Rc<str>,
        parameters: Vec<(Rc<str>, Option<Expr>)>,
        end: &str,
    ) -> Outcome<Rc<Body>> {
        let start = self.at;
        let loops = std::mem::take(&mut self.loops);
        let body = self.whole(end)?;
        self.loops = loops;
        let spoken = &self.tokens[start..self.at];
        let uses = ["caller", "varargs", "kwargs"]
            .map(|word| spoken.iter().any(|token| matches!(&token.kind, Kind::Name(it) if it == word)));
        Ok(Rc::new(Body { name, parameters, body, uses }))
    }

    fn call_block(&mut self, line: usize) -> Outcome<Stmt> {
        let mut parameters = Vec::new();
        if self.is("(") {
            self.parameters(&mut parameters)?;
        }
        let call = self.expression()?;
        if !matches!(call.node, Node::Call(..)) {
            return Err(Fault::syntax("expected call").at(line));
        }
        Ok(Stmt::CallBlock(call, self.defined("caller".into(), parameters, "endcall")?))
    }

    fn with(&mut self) -> Outcome<Stmt> {
        let mut values = Vec::new();
        while *self.kind() != Kind::BlockEnd {
            if !values.is_empty() {
                self.expect(",")?;
            }
            let target = self.target()?;
            self.expect("=")?;
            values.push((target, self.expression()?));
        }
        Ok(Stmt::With(values, self.whole("endwith")?))
    }

    fn prints(&mut self, body: &mut Vec<Stmt>) -> Outcome<()> {
        let mut first = true;
        while *self.kind() != Kind::BlockEnd {
            if !std::mem::take(&mut first) {
                self.expect(",")?;
            }
            body.push(Stmt::Print(self.expression()?));
        }
        Ok(())
    }

    fn named_block(&mut self) -> Outcome<Stmt> {
        let block = self.expect_name()?;
        self.skip_name("scoped");
        self.skip_name("required");
        let body = self.whole("endblock")?;
        self.skip_name(&block);
        Ok(Stmt::Scope(body))
    }

    fn autoescape(&mut self, line: usize) -> Outcome<Stmt> {
        let enabled = self.expression()?;
        let body = self.whole("endautoescape")?;
        match enabled.node {
            Node::Const(value) if !value.is_true() => Ok(Stmt::Scope(body)),
            _ => Ok(Stmt::Unsupported("{% autoescape %} that escapes".to_owned(), line)),
        }
    }

    /// A tag that speaks of another template, of which there is none.
    fn other_template(&mut self, tag: &str, line: usize) -> Outcome<Stmt> {
        while !matches!(self.kind(), Kind::BlockEnd | Kind::End) {
            self.next();
        }
        Ok(Stmt::Unsupported(format!("{{% {tag} %}}: there is no other template"), line))
    }

    /// What is assigned to: names, members of a namespace, or several with commas.
    fn targets(&mut self) -> Outcome<Target> {
        let first = self.target()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip(",") {
            if !matches!(self.kind(), Kind::Name(_) | Kind::Operator("(")) || self.is_name("in") {
                break;
            }
            all.push(self.target()?);
        }
        Ok(Target::Tuple(all))
    }

    fn target(&mut self) -> Outcome<Target> {
        if self.skip("(") {
            let inner = self.nested(Parser::targets)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let line = self.line();
        let name = self.expect_name()?;
        if ["true", "false", "none", "True", "False", "None"].contains(&&*name) {
            return Err(Fault::syntax(format!("can't assign to '{name}'")).at(line));
        }
        if self.skip(".") {
            return Ok(Target::Member(name, self.expect_name()?));
        }
        Ok(Target::Name(name))
    }

    /// One expression, or several with commas as a tuple.
    fn tuple(&mut self, conditional: bool) -> Outcome<Expr> {
        let line = self.line();
        let mut items = Vec::new();
        let mut is_tuple = false;
        while !self.ends_tuple() {
            items.push(if conditional { self.expression()? } else { self.nested(Parser::or)? });
            if !self.skip(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            Some(last) => {
                items.push(last);
                Ok(Expr { line, node: Node::Tuple(items) })
            }
            None => Err(self.unexpected("an expression")),
        }
    }

    fn ends_tuple(&self) -> bool {
        matches!(self.kind(), Kind::PrintEnd | Kind::BlockEnd) || self.is(")") || self.is_name("recursive")
    }

    fn expression(&mut self) -> Outcome<Expr> {
        self.nested(Parser::conditional)
    }

    fn conditional(&mut self) -> Outcome<Expr> {
        let mut then = self.or()?;
        let mut n = 0;
        while self.is_name("if") {
            let line = self.line();
            self.next();
            self.operands(&mut n)?;
            let test = self.or()?;
            let otherwise = if self.skip_name("else") { Some(Box::new(self.expression()?)) } else { None };
            then = Expr { line, node: Node::If(Box::new([test, then]), otherwise) };
        }
        Ok(then)
    }

    /// Counts one more operand in a row.
    fn operands(&self, n: &mut usize) -> Outcome<()> {
        *n += 1;
        if *n > MAX_OPERANDS {
            let text = format!("more than {MAX_OPERANDS} operands in a row");
            return Err(Fault::syntax(text).at(self.line()));
        }
        Ok(())
    }

    fn or(&mut self) -> Outcome<Expr> {
        let (mut left, mut n) = (self.and()?, 0);
        while self.is_name("or") {
            let line = self.line();
            self.next();
            self.operands(&mut n)?;
            left = Expr { line, node: Node::Or(Box::new([left, self.and()?])) };
        }
        Ok(left)
    }

    fn and(&mut self) -> Outcome<Expr> {
        let (mut left, mut n) = (self.not()?, 0);
        while self.is_name("and") {
            let line = self.line();
            self.next();
            self.operands(&mut n)?;
            left = Expr { line, node: Node::And(Box::new([left, self.not()?])) };
        }
        Ok(left)
    }

    fn not(&mut self) -> Outcome<Expr> {
        let line = self.line();
        if self.skip_name("not") {
            let inner = self.nested(Parser::not)?;
            return Ok(Expr { line, node: Node::Not(Box::new(inner)) });
        }
        self.compare()
    }

    fn compare(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut others = Vec::new();
        while let Some(comparison) = self.comparison() {
            others.push((comparison, self.sum()?));
        }
        if others.is_empty() {
            return Ok(first);
        }
        Ok(Expr { line, node: Node::Compare(Box::new(first), others) })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let found = match self.kind() {
            Kind::Operator("==") => Comparison::Equal,
            Kind::Operator("!=") => Comparison::NotEqual,
            Kind::Operator("<") => Comparison::Less,
            Kind::Operator("<=") => Comparison::LessOrEqual,
            Kind::Operator(">") => Comparison::Greater,
            Kind::Operator(">=") => Comparison::GreaterOrEqual,
            Kind::Name(word) if word == "in" => Comparison::In,
            Kind::Name(word) if word == "not" && self.tokens[self.at + 1].kind == name("in") => {
                self.next();
                Comparison::NotIn
            }
            _ => return None,
        };
        self.next();
        Some(found)
    }

    /// Operands of operators that bind alike, from left to right.
    fn chain(
        &mut self,
        operators: &[(&str, Binary)],
        operand: fn(&mut Parser) -> Outcome<Expr>,
    ) -> Outcome<Expr> {
        let (mut left, mut n) = (operand(self)?, 0);
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.is(sign)) {
            let line = self.line();
            self.next();
            self.operands(&mut n)?;
            let right = operand(self)?;
            left = Expr { line, node: Node::Binary(*operator, Box::new([left, right])) };
        }
        Ok(left)
    }

    fn sum(&mut self) -> Outcome<Expr> {
        self.chain(&[("+", Binary::Add), ("-", Binary::Sub)], Parser::concat)
    }

    fn concat(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let mut parts = vec![self.product()?];
        while self.skip("~") {
            parts.push(self.product()?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                Ok(Expr { line, node: Node::Concat(parts) })
            }
        }
    }

    fn product(&mut self) -> Outcome<Expr> {
        let operators =
            [("*", Binary::Mul), ("/", Binary::Div), ("//", Binary::FloorDiv), ("%", Binary::Mod)];
        self.chain(&operators, Parser::power)
    }

    fn power(&mut self) -> Outcome<Expr> {
        self.chain(&[("**", Binary::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Outcome<Expr> {
        let line = self.line();
        let node = if self.skip("-") {
            let inner = self.nested(|parser| parser.unary(false))?;
            Expr { line, node: Node::Negative(Box::new(inner)) }
        } else if self.skip("+") {
            let inner = self.nested(|parser| parser.unary(false))?;
            Expr { line, node: Node::Positive(Box::new(inner)) }
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filter { self.filtered(node) } else { Ok(node) }
    }

    fn primary(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let node = match self.kind().clone() {
            Kind::Name(word) => {
                self.next();
                match word.as_str() {
                    "true" | "True" => Node::Const(Value::Bool(true)),
                    "false" | "False" => Node::Const(Value::Bool(false)),
                    "none" | "None" => Node::Const(Value::None),
                    word => Node::Name(word.into()),
                }
            }
            Kind::Str(_) => {
                let mut text = String::new();
                while let Kind::Str(part) = self.kind() {
                    text.push_str(part);
                    self.next();
                }
                Node::Const(Value::from(text))
            }
            Kind::Int(it) => {
                self.next();
                Node::Const(Value::Int(it))
            }
            Kind::Float(it) => {
                self.next();
                Node::Const(Value::Float(it))
            }
            Kind::Operator("(") => return self.parenthesized(line),
            Kind::Operator("[") => {
                self.next();
                Node::List(self.enclosed("]", |parser| parser.expression())?)
            }
            Kind::Operator("{") => {
                self.next();
                Node::Dict(self.enclosed("}", Parser::pair)?)
            }
            _ => return Err(self.unexpected("an expression")),
        };
        Ok(Expr { line, node })
    }

    fn parenthesized(&mut self, line: usize) -> Outcome<Expr> {
        self.next();
        if self.skip(")") {
            return Ok(Expr { line, node: Node::Tuple(Vec::new()) });
        }
        let inner = self.tuple(true)?;
        self.expect(")")?;
        Ok(inner)
    }

    fn pair(&mut self) -> Outcome<(Expr, Expr)> {
        let key = self.expression()?;
        self.expect(":")?;
        Ok((key, self.expression()?))
    }

    fn enclosed<T>(&mut self, end: &str, item: impl Fn(&mut Parser) -> Outcome<T>) -> Outcome<Vec<T>> {
        let mut items = Vec::new();
        while !self.skip(end) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.skip(end) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn postfix(&mut self, mut node: Expr) -> Outcome<Expr> {
        let mut n = 0;
        loop {
            self.operands(&mut n)?;
            let line = self.line();
            node = if self.skip(".") {
                self.member(node, line)?
            } else if self.skip("[") {
                self.subscript(node, line)?
            } else if self.is("(") {
                let arguments = self.arguments()?;
                Expr { line, node: Node::Call(Box::new(node), arguments) }
            } else {
                return Ok(node);
            };
        }
    }

    fn member(&mut self, of: Expr, line: usize) -> Outcome<Expr> {
        let node = match self.next() {
            Kind::Name(name) => Node::Attribute(Box::new(of), name.into()),
            Kind::Int(at) => {
                let at = Expr { line, node: Node::Const(Value::Int(at)) };
                Node::Item(Box::new([of, at]))
            }
            _ => return Err(Fault::syntax("expected name or number").at(line)),
        };
        Ok(Expr { line, node })
    }

    fn subscript(&mut self, of: Expr, line: usize) -> Outcome<Expr> {
        let start = if self.is(":") { None } else { Some(self.expression()?) };
        if !self.skip(":") {
            let mut items = Vec::from_iter(start);
            let mut is_tuple = false;
            while !self.skip("]") {
                self.expect(",")?;
                is_tuple = true;
                items.push(self.expression()?);
            }
            let item = match items.pop() {
                Some(only) if !is_tuple => only,
                last => {
                    items.extend(last);
                    Expr { line, node: Node::Tuple(items) }
                }
            };
            return Ok(Expr { line, node: Node::Item(Box::new([of, item])) });
        }
        let stop = self.slice_part()?;
        let step = if self.skip(":") { self.slice_part()? } else { None };
        self.expect("]")?;
        Ok(Expr { line, node: Node::Slice(Box::new(of), Box::new([start, stop, step])) })
    }

    fn slice_part(&mut self) -> Outcome<Option<Expr>> {
        if self.is(":") || self.is("]") { Ok(None) } else { self.expression().map(Some) }
    }

    fn arguments(&mut self) -> Outcome<Arguments> {
        self.nested(Parser::argument_list)
    }

    fn argument_list(&mut self) -> Outcome<Arguments> {
        let line = self.line();
        let mut all = Arguments::default();
        self.expect("(")?;
        let mut first = true;
        while !self.skip(")") {
            if !std::mem::take(&mut first) {
                self.expect(",")?;
                if self.skip(")") {
                    break;
                }
            }
            let is_sound = if self.skip("*") {
                let free = all.star.is_none() && all.stars.is_none();
                all.star = Some(Box::new(self.expression()?));
                free
            } else if self.skip("**") {
                let free = all.stars.is_none();
                all.stars = Some(Box::new(self.expression()?));
                free
            } else {
                self.argument(&mut all)?
            };
            if !is_sound {
                return Err(Fault::syntax("invalid syntax for function call expression").at(line));
            }
        }
        Ok(all)
    }

    /// One argument; whether it may stand there.
    fn argument(&mut self, all: &mut Arguments) -> Outcome<bool> {
        let is_named = self.tokens.get(self.at + 1).is_some_and(|next| next.kind == Kind::Operator("="));
        if is_named && matches!(self.kind(), Kind::Name(_)) {
            let name = self.expect_name()?;
            self.expect("=")?;
            all.named.push((name, self.expression()?));
            return Ok(all.stars.is_none());
        }
        all.plain.push(self.expression()?);
        Ok(all.star.is_none() && all.stars.is_none() && all.named.is_empty())
    }

    /// Filters, tests and calls after an expression.
    fn filtered(&mut self, mut node: Expr) -> Outcome<Expr> {
        let mut n = 0;
        loop {
            self.operands(&mut n)?;
            let line = self.line();
            node = if self.skip("|") {
                let Called { name, arguments } = self.filter()?;
                Expr { line, node: Node::Filter(Box::new(node), name, arguments) }
            } else if self.skip_name("is") {
                self.test(node, line)?
            } else if self.is("(") {
                let arguments = self.arguments()?;
                Expr { line, node: Node::Call(Box::new(node), arguments) }
            } else {
                return Ok(node);
            };
        }
    }

    fn filters(&mut self) -> Outcome<Vec<Called>> {
        let mut filters = Vec::new();
        while self.skip("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    fn filter(&mut self) -> Outcome<Called> {
        let name = self.dotted()?;
        let arguments = if self.is("(") { self.arguments()? } else { Arguments::default() };
        Ok(Called { name, arguments })
    }

    fn dotted(&mut self) -> Outcome<Rc<str>> {
        let mut name = self.expect_name()?.to_string();
        while self.skip(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name.into())
    }

    fn test(&mut self, of: Expr, line: usize) -> Outcome<Expr> {
        let negated = self.skip_name("not");
        let test = self.dotted()?;
        let takes = match self.kind() {
            Kind::Name(word) => !["else", "or", "and"].contains(&word.as_str()),
            Kind::Str(_) | Kind::Int(_) | Kind::Float(_) => true,
            _ => self.is("[") || self.is("{"),
        };
        let arguments = if self.is("(") {
            self.arguments()?
        } else if takes {
            if self.is_name("is") {
                return Err(Fault::syntax("You cannot chain multiple tests with is").at(line));
            }
            let argument = self.primary()?;
            Arguments { plain: vec![self.postfix(argument)?], ..Arguments::default() }
        } else {
            Arguments::default()
        };
        Ok(Expr { line, node: Node::Test(Box::new(of), test, arguments, negated) })
    }
}
