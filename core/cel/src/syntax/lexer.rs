//! From characters to words.

use super::{Fault, Found, fault, literal};
use std::sync::Arc;

/// A word and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) place: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Name(Arc<str>),
    /// As written, without a sign before it.
    Number(String),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "!", "-",
    "+", "*", "/", "%", "<", ">",
];

pub(super) fn tokens(text: &[char]) -> Found<Vec<Token>> {
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip();
        let place = lexer.at;
        let word = lexer.word()?;
        let ends = word == Word::End;
        found.push(Token { word, place });
        if ends {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    text: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Spaces and comments.
    fn skip(&mut self) {
        loop {
            match self.peek(0) {
                Some(' ' | '\t' | '\n' | '\r' | '\u{c}') => self.at += 1,
                Some('/') if self.peek(1) == Some('/') => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn word(&mut self) -> Found<Word> {
        let Some(first) = self.peek(0) else { return Ok(Word::End) };
        if first == '"' || first == '\'' {
            return self.quoted(false, false);
        }
        if let Some((raw, bytes, length)) = self.prefix() {
            self.at += length;
            return self.quoted(raw, bytes);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let start = self.at;
            while self.peek(0).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                self.at += 1;
            }
            return Ok(Word::Name(self.text[start..self.at].iter().collect::<String>().into()));
        }
        let is_number = first.is_ascii_digit()
            || first == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit());
        if is_number {
            return Ok(Word::Number(self.number()));
        }
        for sign in SIGNS {
            if sign.chars().enumerate().all(|(index, c)| self.peek(index) == Some(c)) {
                self.at += sign.len();
                return Ok(Word::Sign(sign));
            }
        }
        let message = "Syntax error".to_owned();
        Err(Fault { place: self.at, message, grammar: true })
    }

    /// Whether a text with a prefix begins here: raw, of bytes, how long the prefix is.
    fn prefix(&self) -> Option<(bool, bool, usize)> {
        let is_quote = |c: Option<char>| matches!(c, Some('"' | '\''));
        match (self.peek(0)?, self.peek(1)) {
            ('r' | 'R', next) if is_quote(next) => Some((true, false, 1)),
            ('b' | 'B', next) if is_quote(next) => Some((false, true, 1)),
            ('b' | 'B', Some('r' | 'R')) if is_quote(self.peek(2)) => Some((true, true, 2)),
            _ => None,
        }
    }

    fn quoted(&mut self, raw: bool, bytes: bool) -> Found<Word> {
        let place = self.at;
        let unended = || Err(Fault { place, message: "Syntax error".to_owned(), grammar: true });
        let Some(quote) = self.peek(0) else { return unended() };
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let length = if triple { 3 } else { 1 };
        self.at += length;
        let start = self.at;
        loop {
            match self.peek(0) {
                None => return unended(),
                Some('\n' | '\r') if !triple => return unended(),
                Some('\\') if !raw => self.at += 2,
                Some(c) if c == quote => {
                    if (1..length).all(|index| self.peek(index) == Some(quote)) {
                        break;
                    }
                    self.at += 1;
                }
                Some(_) => self.at += 1,
            }
        }
        let inner = &self.text[start..self.at.min(self.text.len())];
        self.at += length;
        match literal::unquoted(inner, raw, bytes) {
            Ok(literal::Unquoted::String(text)) => Ok(Word::String(text.into())),
            Ok(literal::Unquoted::Bytes(made)) => Ok(Word::Bytes(made.into())),
            Err(message) => fault(place, message),
        }
    }

    fn number(&mut self) -> String {
        let start = self.at;
        let digits = |lexer: &mut Self, is: fn(char) -> bool| {
            while lexer.peek(0).is_some_and(is) {
                lexer.at += 1;
            }
        };
        let decimal = |c: char| c.is_ascii_digit();
        if self.peek(0) == Some('0')
            && self.peek(1) == Some('x')
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.at += 2;
            digits(self, |c| c.is_ascii_hexdigit());
            self.at += usize::from(matches!(self.peek(0), Some('u' | 'U')));
            return self.text[start..self.at].iter().collect();
        }
        digits(self, decimal);
        let mut whole = true;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(decimal) {
            whole = false;
            self.at += 1;
            digits(self, decimal);
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + signed).is_some_and(decimal) {
                whole = false;
                self.at += 1 + signed;
                digits(self, decimal);
            }
        }
        if whole {
            self.at += usize::from(matches!(self.peek(0), Some('u' | 'U')));
        }
        self.text[start..self.at].iter().collect()
    }
}
