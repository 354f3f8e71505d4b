//! The text form of label selectors.

use super::{Operator, Requirement, SelectorError, joined, key_error};
use crate::field::Path;
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn token(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "in" => Token::In,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::Open,
        _ => return None,
    })
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

type Item = (Token, String);
type Parsed<T> = Result<T, SelectorError>;

fn fail<T>(message: String) -> Parsed<T> {
    Err(SelectorError(message))
}

/// A NUL ends the text, as it does in the original.
fn scan(text: &str) -> Vec<Item> {
    let mut rest = text.split('\0').next().unwrap_or_default();
    let mut items = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_space);
        let Some(first) = rest.chars().next() else {
            break;
        };
        let (item, length) = if is_special(first) {
            scan_special(rest)
        } else {
            let end = rest.find(|c| is_special(c) || is_space(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            ((token(word).unwrap_or(Token::Identifier), word.to_owned()), end)
        };
        items.push(item);
        rest = &rest[length..];
    }
    items.push((Token::End, String::new()));
    items
}

/// The longest operator at the start of the text.
fn scan_special(text: &str) -> (Item, usize) {
    let run = text.find(|c| !is_special(c)).unwrap_or(text.len());
    let longest = (1..=run.min(2)).rev().find_map(|end| Some((token(&text[..end])?, end)));
    match longest {
        Some((token, end)) => ((token, text[..end].to_owned()), end),
        None => ((Token::Error, format!("error expected: keyword found '{}'", &text[..run])), run),
    }
}

struct Parser {
    items: Vec<Item>,
    position: usize,
}

impl Parser {
    fn item(&self) -> Item {
        self.items.get(self.position).cloned().unwrap_or((Token::End, String::new()))
    }

    /// Where a value is expected, `in` and `notin` are plain words.
    fn value(&self) -> Item {
        match self.item() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn take_value(&mut self) -> Item {
        let item = self.value();
        self.position += 1;
        item
    }

    fn take_operator(&mut self) -> Item {
        let item = self.item();
        self.position += 1;
        item
    }

    fn selector(&mut self) -> Parsed<Vec<Requirement>> {
        let mut requirements = Vec::new();
        loop {
            match self.value() {
                (Token::Identifier | Token::Not, _) => {}
                (Token::End, _) => return Ok(requirements),
                (_, text) => {
                    return fail(format!(
                        "found '{text}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            let requirement = self.requirement();
            requirements.push(requirement.map_err(|SelectorError(text)| {
                SelectorError(format!("unable to parse requirement: {text}"))
            })?);
            match self.take_value() {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => match self.value() {
                    (Token::Identifier | Token::Not, _) => {}
                    (_, text) => {
                        return fail(format!("found '{text}', expected: identifier after ','"));
                    }
                },
                (_, text) => {
                    return fail(format!("found '{text}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        let (mut token, mut key) = self.take_value();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take_value();
        }
        if token != Token::Identifier {
            return fail(format!("found '{key}', expected: identifier"));
        }
        if let Some(error) = key_error(&key, &Path::root()) {
            return fail(error.to_string());
        }
        let alone = matches!(self.value().0, Token::End | Token::Comma);
        let (operator, values) = match (negated, alone) {
            (true, _) => (Operator::DoesNotExist, BTreeSet::new()),
            (false, true) => (Operator::Exists, BTreeSet::new()),
            (false, false) => {
                let operator = self.operator()?;
                let set = matches!(operator, Operator::In | Operator::NotIn);
                (operator, if set { self.values()? } else { self.exact_value()? })
            }
        };
        Requirement::new(&key, operator, values.into_iter().collect(), &Path::root())
            .map_err(|errors| joined(&errors))
    }

    fn operator(&mut self) -> Parsed<Operator> {
        let (token, text) = self.take_operator();
        Ok(match token {
            Token::In => Operator::In,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            Token::NotIn => Operator::NotIn,
            Token::NotEquals => Operator::NotEquals,
            _ => {
                return fail(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        })
    }

    fn values(&mut self) -> Parsed<BTreeSet<String>> {
        let (token, text) = self.take_value();
        if token != Token::Open {
            return fail(format!("found '{text}' expected: '('"));
        }
        let (token, text) = self.value();
        match token {
            Token::Identifier | Token::Comma => {
                let values = self.identifiers()?;
                match self.take_value().0 {
                    Token::Close => Ok(values),
                    _ => fail(format!("found '{text}', expected: ')'")),
                }
            }
            Token::Close => {
                self.position += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            _ => fail(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    fn identifiers(&mut self) -> Parsed<BTreeSet<String>> {
        let mut values = BTreeSet::new();
        loop {
            let (token, text) = self.take_value();
            let (next, next_text) = self.value();
            match token {
                Token::Identifier => {
                    values.insert(text);
                    match next {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        _ => return fail(format!("found '{next_text}', expected: ',' or ')'")),
                    }
                }
                Token::Comma => {
                    if values.is_empty() || matches!(next, Token::Close | Token::Comma) {
                        values.insert(String::new());
                    }
                    if next == Token::Close {
                        return Ok(values);
                    }
                }
                _ => return fail(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Parsed<BTreeSet<String>> {
        if matches!(self.value().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.take_value() {
            (Token::Identifier, text) => Ok(BTreeSet::from([text])),
            (_, text) => fail(format!("found '{text}', expected: identifier")),
        }
    }
}

pub(super) fn parse(text: &str) -> Parsed<Vec<Requirement>> {
    Parser { items: scan(text), position: 0 }.selector()
}
