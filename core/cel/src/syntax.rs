//! From text to [`Expr`].

mod lexer;
mod literal;
mod macros;

use crate::{
    ast::{Entry, Expr, Field, Id, Kind, Literal, op},
    escape::is_reserved,
};
use lexer::{Token, Word};
use std::sync::Arc;

/// The deepest nesting that is read: what goes down with it needs no more stack than threads have.
const DEPTH: usize = 100;
/// What is said of a deeper one, in the original's words.
const TOO_DEEP: &str = "expression recursion limit exceeded: 250";
/// The longest text that is read, in characters.
const LENGTH: usize = 100_000;

/// An expression and where its parts stand, in characters from the start, by [`Id`].
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) expr: Expr,
    pub(crate) places: Vec<usize>,
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: usize,
    pub(crate) message: String,
    /// Whether the words are not those of the original's grammar, which are not known here.
    pub(crate) grammar: bool,
}

pub(crate) type Found<T> = Result<T, Fault>;

fn fault<T>(place: usize, message: impl Into<String>) -> Found<T> {
    Err(Fault { place, message: message.into(), grammar: false })
}

/// Reads a text; with `binds` it may use `cel.bind`.
pub(crate) fn parse(source: &str, binds: bool) -> Found<Parsed> {
    let characters: Vec<char> = source.chars().collect();
    if characters.len() > LENGTH {
        let size = characters.len();
        return fault(
            usize::MAX,
            format!("expression code point size exceeds limit: size: {size}, limit {LENGTH}"),
        );
    }
    let tokens = lexer::tokens(&characters)?;
    let mut parser =
        Parser { tokens, at: 0, depth: 0, binds, places: Vec::new(), faults: Vec::new() };
    let expr = parser.expression()?;
    parser.expect(&Word::End)?;
    match parser.faults.into_iter().next() {
        Some(found) => Err(found),
        None => Ok(Parsed { expr, places: parser.places }),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    binds: bool,
    places: Vec<usize>,
    /// What is wrong, but does not keep the rest from being read.
    faults: Vec<Fault>,
}

impl Parser {
    fn word(&self) -> &Word {
        &self.tokens[self.at.min(self.tokens.len() - 1)].word
    }

    fn place(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].place
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.word(), Word::Sign(found) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    fn unexpected<T>(&self) -> Found<T> {
        let message = "Syntax error".to_owned();
        Err(Fault { place: self.place(), message, grammar: true })
    }

    fn expect(&mut self, word: &Word) -> Found<usize> {
        if self.word() == word {
            return Ok(self.next().place);
        }
        self.unexpected()
    }

    fn sign(&mut self, sign: &'static str) -> Found<usize> {
        self.expect(&Word::Sign(sign))
    }

    fn id(&mut self, place: usize) -> Id {
        self.places.push(place);
        self.places.len() - 1
    }

    fn expr(&mut self, place: usize, kind: Kind) -> Expr {
        Expr { id: self.id(place), kind }
    }

    fn call(&mut self, place: usize, function: &str, args: Vec<Expr>) -> Expr {
        self.expr(place, Kind::Call { function: function.into(), target: None, args })
    }

    /// One level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Found<T>) -> Found<T> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Fault { place: usize::MAX, message: TOO_DEEP.to_owned(), grammar: false });
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn expression(&mut self) -> Found<Expr> {
        self.deeper(|parser| {
            let condition = parser.logical(op::OR)?;
            if !parser.is("?") {
                return Ok(condition);
            }
            let place = parser.next().place;
            let yes = parser.logical(op::OR)?;
            parser.sign(":")?;
            let no = parser.expression()?;
            Ok(parser.call(place, op::CONDITIONAL, vec![condition, yes, no]))
        })
    }

    /// Terms of `||` or `&&`, as a tree that is as flat as can be.
    fn logical(&mut self, function: &'static str) -> Found<Expr> {
        let sign = if function == op::OR { "||" } else { "&&" };
        let term = |parser: &mut Self| match function {
            op::OR => parser.logical(op::AND),
            _ => parser.operators(1),
        };
        let mut terms = vec![term(self)?];
        let mut places = Vec::new();
        while self.is(sign) {
            places.push(self.next().place);
            terms.push(term(self)?);
        }
        let ids: Vec<Id> = places.into_iter().map(|place| self.id(place)).collect();
        let mut terms: Vec<Option<Expr>> = terms.into_iter().map(Some).collect();
        Ok(balanced(function, &mut terms, &ids))
    }

    /// Operators that bind at least so strongly.
    fn operators(&mut self, strength: u8) -> Found<Expr> {
        let mut left = self.unary()?;
        while let Some((function, own)) = self.operator().filter(|(_, own)| *own >= strength) {
            let place = self.next().place;
            let right = self.operators(own + 1)?;
            let made = self.call(place, function, vec![left, right]);
            left = self.bounded(made)?;
        }
        Ok(left)
    }

    /// The operator that stands here, and how strongly it binds.
    fn operator(&self) -> Option<(&'static str, u8)> {
        Some(match self.word() {
            Word::Sign("<") => ("_<_", 1),
            Word::Sign("<=") => ("_<=_", 1),
            Word::Sign(">") => ("_>_", 1),
            Word::Sign(">=") => ("_>=_", 1),
            Word::Sign("==") => (op::EQUALS, 1),
            Word::Sign("!=") => (op::NOT_EQUALS, 1),
            Word::Name(name) if &**name == "in" => (op::IN, 1),
            Word::Sign("+") => (op::ADD, 2),
            Word::Sign("-") => ("_-_", 2),
            Word::Sign("*") => ("_*_", 3),
            Word::Sign("/") => ("_/_", 3),
            Word::Sign("%") => ("_%_", 3),
            _ => return None,
        })
    }

    /// Refuses what grew too deep to the left.
    fn bounded(&self, expr: Expr) -> Found<Expr> {
        let mut depth = 0;
        let mut inner = &expr;
        loop {
            inner = match &inner.kind {
                Kind::Call { target: Some(target), .. } => target,
                Kind::Call { args, .. } if !args.is_empty() => &args[0],
                Kind::Select { operand, .. } => operand,
                _ => return Ok(expr),
            };
            depth += 1;
            if depth > DEPTH {
                return Err(Fault {
                    place: usize::MAX,
                    message: TOO_DEEP.to_owned(),
                    grammar: false,
                });
            }
        }
    }

    fn unary(&mut self) -> Found<Expr> {
        let (sign, function) = match self.word() {
            Word::Sign("!") => ("!", op::NOT),
            Word::Sign("-") => {
                let following = self.tokens.get(self.at + 1).map(|token| &token.word);
                let is_signed = |text: &String| !text.ends_with(['u', 'U']);
                if matches!(following, Some(Word::Number(text)) if is_signed(text)) {
                    return self.member();
                }
                ("-", op::NEGATE)
            }
            _ => return self.member(),
        };
        let place = self.place();
        let mut count = 0;
        while self.take(sign) {
            count += 1;
        }
        let operand = self.member()?;
        match count % 2 {
            0 => Ok(operand),
            _ => Ok(self.call(place, function, vec![operand])),
        }
    }

    fn member(&mut self) -> Found<Expr> {
        let mut left = self.primary()?;
        loop {
            if self.is(".") {
                let place = self.next().place;
                left = self.selected(left, place)?;
            } else if self.is("[") {
                let place = self.next().place;
                let optional = self.take("?");
                let index = self.expression()?;
                self.sign("]")?;
                let function = if optional { op::OPT_INDEX } else { op::INDEX };
                left = self.call(place, function, vec![left, index]);
            } else if self.is("{")
                && let Some(name) = left.dotted()
            {
                let place = self.next().place;
                left = self.fields(name.into(), place)?;
            } else {
                return Ok(left);
            }
            left = self.bounded(left)?;
        }
    }

    fn selected(&mut self, operand: Expr, place: usize) -> Found<Expr> {
        let optional = self.take("?");
        let name_place = self.place();
        let Word::Name(name) = self.word().clone() else { return self.unexpected() };
        if matches!(&*name, "in" | "true" | "false" | "null") {
            return self.unexpected();
        }
        self.at += 1;
        if self.is("(") && !optional {
            let open = self.next().place;
            let args = self.list(")")?;
            return self.called(open, name, Some(operand), args);
        }
        if optional {
            let field = self.expr(name_place, Kind::Literal(Literal::String(name)));
            return Ok(self.call(place, op::OPT_SELECT, vec![operand, field]));
        }
        Ok(self.expr(place, Kind::Select { operand: Box::new(operand), field: name, test: false }))
    }

    fn primary(&mut self) -> Found<Expr> {
        let token = self.next();
        let place = token.place;
        match token.word {
            Word::Sign("(") => {
                let inner = self.expression()?;
                self.sign(")")?;
                Ok(inner)
            }
            Word::Sign("[") => self.elements(place),
            Word::Sign("{") => self.entries(place),
            Word::Sign("-") => match self.next().word {
                Word::Number(text) => self.number(place, &format!("-{text}")),
                _ => self.unexpected(),
            },
            Word::Sign(".") => match self.next() {
                Token { word: Word::Name(name), place } if !is_reserved(&name) => {
                    self.named(format!(".{name}").into(), place)
                }
                _ => {
                    self.at -= 1;
                    self.unexpected()
                }
            },
            Word::Number(text) => self.number(place, &text),
            Word::String(text) => Ok(self.expr(place, Kind::Literal(Literal::String(text)))),
            Word::Bytes(bytes) => Ok(self.expr(place, Kind::Literal(Literal::Bytes(bytes)))),
            Word::Name(name) => self.named(name, place),
            _ => {
                self.at -= 1;
                self.unexpected()
            }
        }
    }

    fn named(&mut self, name: Arc<str>, place: usize) -> Found<Expr> {
        let literal = match &*name {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            "in" => {
                self.at -= 1;
                return self.unexpected();
            }
            _ => None,
        };
        if let Some(literal) = literal {
            return Ok(self.expr(place, Kind::Literal(literal)));
        }
        if is_reserved(&name) {
            let message = format!("reserved identifier: {name}");
            self.faults.push(Fault { place, message, grammar: false });
        }
        if self.is("(") {
            let open = self.next().place;
            let args = self.list(")")?;
            return self.called(open, name, None, args);
        }
        Ok(self.expr(place, Kind::Ident(name)))
    }

    fn number(&mut self, place: usize, text: &str) -> Found<Expr> {
        match literal::number(text) {
            Ok(literal) => Ok(self.expr(place, Kind::Literal(literal))),
            Err(message) => fault(place, message),
        }
    }

    /// Expressions up to a closing sign.
    fn list(&mut self, close: &'static str) -> Found<Vec<Expr>> {
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(self.expression()?);
            if self.take(close) {
                return Ok(items);
            }
            self.sign(",")?;
        }
    }

    fn elements(&mut self, place: usize) -> Found<Expr> {
        let (mut elements, mut optional) = (Vec::new(), Vec::new());
        while !self.take("]") {
            if self.take("?") {
                optional.push(elements.len());
            }
            elements.push(self.expression()?);
            if !self.is("]") {
                self.sign(",")?;
            }
        }
        Ok(self.expr(place, Kind::List { elements, optional }))
    }

    fn entries(&mut self, place: usize) -> Found<Expr> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expression()?;
            self.sign(":")?;
            let value = self.expression()?;
            entries.push(Entry { key, value, optional });
            if !self.is("}") {
                self.sign(",")?;
            }
        }
        Ok(self.expr(place, Kind::Map(entries)))
    }

    fn fields(&mut self, name: Arc<str>, place: usize) -> Found<Expr> {
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let Token { word: Word::Name(field), .. } = self.next() else {
                self.at -= 1;
                return self.unexpected();
            };
            let colon = self.sign(":")?;
            let id = self.id(colon);
            let value = self.expression()?;
            fields.push(Field { id, name: field, value, optional });
            if !self.is("}") {
                self.sign(",")?;
            }
        }
        Ok(self.expr(place, Kind::Struct { name, fields }))
    }

    /// A call, or what the macro of this name makes of it.
    fn called(
        &mut self,
        place: usize,
        function: Arc<str>,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Found<Expr> {
        macros::expand(self, place, function, target, args)
    }
}

/// The terms as a tree of two each; `ids` are those of the operators between them.
fn balanced(function: &'static str, terms: &mut [Option<Expr>], ids: &[Id]) -> Expr {
    if let [term] = terms
        && let Some(term) = term.take()
    {
        return term;
    }
    let middle = terms.len().div_ceil(2);
    let id = ids[middle - 1];
    let (left, right) = terms.split_at_mut(middle);
    let left = balanced(function, left, &ids[..middle - 1]);
    let right = balanced(function, right, &ids[middle..]);
    let args = vec![left, right];
    Expr { id, kind: Kind::Call { function: function.into(), target: None, args } }
}

#[cfg(test)]
mod tests;
