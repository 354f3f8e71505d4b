//! Where the values of a JSON text lie, found in one pass along the shape and without copying any.

use super::{
    DEEPEST, Error, Result,
    plan::{self, Message, Shape},
};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Null,
    True,
    False,
    Number,
    /// Text without escapes.
    Text,
    /// Text with escapes.
    Escaped,
    /// Its children follow.
    List,
    /// A struct: its known fields follow. Or a map: keys and values follow in turn.
    Map,
    /// Any value, not looked into.
    Raw,
}

/// A value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) what: What,
    /// Which field of its message it is.
    pub(super) field: u16,
    /// Where it begins and ends in the text: texts without their quotes.
    start: u32,
    end: u32,
    /// The node behind it and what it holds.
    pub(super) next: u32,
}

/// The values of a text.
#[derive(Debug)]
pub(super) struct Tape<'a> {
    text: &'a [u8],
    pub(super) nodes: Vec<Node>,
}

impl<'a> Tape<'a> {
    /// Reads a struct.
    pub(super) fn read(text: &'a [u8], message: &Message) -> Result<Self> {
        if u32::try_from(text.len()).is_err() {
            return Err(Error::Json("the object is larger than 4 GiB".into()));
        }
        let nodes = Vec::with_capacity(text.len() / 24 + 16);
        let mut reader = Reader { text, at: 0, nodes };
        reader.space();
        reader.message(message, 0, 0)?;
        reader.space();
        match reader.at == text.len() {
            true => Ok(Self { text, nodes: reader.nodes }),
            false => Err(reader.bad("end of the text")),
        }
    }

    /// The text of a node.
    pub(super) fn slice(&self, node: Node) -> &'a [u8] {
        &self.text[node.start as usize..node.end as usize]
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
}

impl<'a> Reader<'a> {
    fn bad(&self, expected: &str) -> Error {
        Error::Json(format!("JSON: expected {expected} at byte {}", self.at))
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The next byte that is no space, not taken.
    fn peek(&mut self) -> Result<u8> {
        self.space();
        self.text.get(self.at).copied().ok_or(Error::Eof)
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        match self.eat(byte) {
            true => Ok(()),
            false => Err(self.bad(&format!("'{}'", byte as char))),
        }
    }

    fn push(&mut self, what: What, field: u16, start: usize, end: usize) -> usize {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { what, field, start: start as u32, end: end as u32, next });
        next as usize - 1
    }

    /// Notes that a list or map ends here.
    fn close(&mut self, index: usize) {
        self.nodes[index].end = self.at as u32;
        self.nodes[index].next = self.nodes.len() as u32;
    }

    /// From behind an opening quote to behind the closing one.
    fn quoted(&mut self) -> Result<(What, usize, usize)> {
        let (start, mut what) = (self.at, What::Text);
        loop {
            let rest = &self.text[self.at..];
            let stop =
                rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Error::Eof)?;
            self.at += stop + 1;
            if rest[stop] == b'"' {
                return Ok((what, start, self.at - 1));
            }
            what = What::Escaped;
            self.at += 1;
            if self.at > self.text.len() {
                return Err(Error::Eof);
            }
        }
    }

    /// A literal or a number.
    fn word(&mut self) -> (What, usize, usize) {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
            .unwrap_or(rest.len());
        self.at += length;
        let what = match &rest[..length] {
            b"null" => What::Null,
            b"true" => What::True,
            b"false" => What::False,
            _ => What::Number,
        };
        (what, start, self.at)
    }

    /// Goes behind a value of any shape.
    fn skip(&mut self) -> Result<(usize, usize)> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.at += 1;
                self.quoted()?;
            }
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    let byte = *self.text.get(self.at).ok_or(Error::Eof)?;
                    self.at += 1;
                    match byte {
                        b'"' => drop(self.quoted()?),
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                self.word();
            }
        }
        Ok((start, self.at))
    }

    fn message(&mut self, message: &Message, field: u16, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(Error::Depth);
        }
        let start = self.at;
        self.expect(b'{')?;
        let index = self.push(What::Map, field, start, start);
        if !self.eat(b'}') {
            loop {
                self.member(message, depth)?;
                if !self.eat(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.close(index);
        Ok(())
    }

    fn member(&mut self, message: &Message, depth: usize) -> Result<()> {
        self.expect(b'"')?;
        let (what, start, end) = self.quoted()?;
        self.expect(b':')?;
        let name = &self.text[start..end];
        let found = match what {
            What::Text => {
                message.fields.binary_search_by(|field| field.name.as_bytes().cmp(name)).ok()
            }
            _ => None,
        };
        match found {
            Some(found) => self.value(&message.fields[found].shape, found as u16, depth + 1),
            None => self.skip().map(drop),
        }
    }

    fn value(&mut self, shape: &Shape, field: u16, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(Error::Depth);
        }
        let first = self.peek()?;
        match (shape, first) {
            (Shape::Raw, _) => {
                let (start, end) = self.skip()?;
                let null = &self.text[start..end] == b"null";
                self.push(if null { What::Null } else { What::Raw }, field, start, end);
            }
            (Shape::Message(index), b'{') => self.message(plan::at(*index), field, depth)?,
            (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, b'{') => {
                self.message(plan::json_schema(), field, depth)?;
            }
            (Shape::SchemaOrStrings, b'[') => self.list(&Shape::String, field, depth)?,
            (Shape::SchemaOrArray, b'[') => self.schemas(field, depth)?,
            (Shape::List(items), b'[') => self.list(items, field, depth)?,
            (Shape::Map(values), b'{') => self.map(values, field, depth)?,
            (_, b'"') => {
                self.at += 1;
                let (what, start, end) = self.quoted()?;
                self.push(what, field, start, end);
            }
            (_, b'{' | b'[' | b'}' | b']' | b',' | b':') => {
                return Err(self.bad("a value of the field's type"));
            }
            _ => {
                let (what, start, end) = self.word();
                self.push(what, field, start, end);
            }
        }
        Ok(())
    }

    fn list(&mut self, items: &Shape, field: u16, depth: usize) -> Result<()> {
        self.items(field, |reader| reader.value(items, 0, depth + 1))
    }

    fn schemas(&mut self, field: u16, depth: usize) -> Result<()> {
        self.items(field, |reader| {
            reader.space();
            reader.message(plan::json_schema(), 0, depth + 1)
        })
    }

    fn items(&mut self, field: u16, mut one: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let index = self.push(What::List, field, self.at, self.at);
        self.expect(b'[')?;
        if !self.eat(b']') {
            loop {
                one(self)?;
                if !self.eat(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        self.close(index);
        Ok(())
    }

    fn map(&mut self, values: &Shape, field: u16, depth: usize) -> Result<()> {
        let index = self.push(What::Map, field, self.at, self.at);
        self.expect(b'{')?;
        if !self.eat(b'}') {
            loop {
                self.expect(b'"')?;
                let (what, start, end) = self.quoted()?;
                self.push(what, 0, start, end);
                self.expect(b':')?;
                self.value(values, 0, depth + 1)?;
                if !self.eat(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.close(index);
        Ok(())
    }
}
