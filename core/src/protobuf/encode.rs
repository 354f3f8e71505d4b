//! From JSON text to the wire.

use super::{
    Error, Result,
    plan::{self, Field, Message, Part, Shape},
    tape::{Node, Tape, What},
    wire::Reverse,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use std::borrow::Cow;

pub(super) fn encode(message: &Message, json: &[u8], revision: Option<&str>) -> Result<Vec<u8>> {
    let tape = Tape::read(json, message)?;
    let out = Reverse::with_capacity(json.len());
    let mut encoder = Encoder { tape, out, places: Vec::with_capacity(256) };
    encoder.root(message, revision)?;
    Ok(encoder.out.into_vec())
}

/// A field is missing at this place.
const MISSING: u32 = u32::MAX;

struct Encoder<'a> {
    tape: Tape<'a>,
    out: Reverse,
    /// A stack: where the fields, items or entries of what is being written are.
    places: Vec<u32>,
}

/// The places of a message's fields and what is to be put into it.
#[derive(Clone, Copy)]
struct Frame<'m> {
    message: &'m Message,
    base: usize,
    /// Of the metadata below this message.
    below: Option<&'m str>,
    /// Of this message, the metadata.
    own: Option<&'m str>,
}

impl<'a> Encoder<'a> {
    fn root(&mut self, message: &Message, revision: Option<&str>) -> Result<()> {
        self.message(message, Some(0), revision, None)
    }

    fn node(&self, index: u32) -> Node {
        self.tape.nodes[index as usize]
    }

    /// Writes a message's fields; those of one that is missing are all empty.
    fn message(
        &mut self,
        message: &Message,
        node: Option<u32>,
        below: Option<&str>,
        own: Option<&str>,
    ) -> Result<()> {
        let base = self.places.len();
        self.places.resize(base + message.fields.len(), MISSING);
        if let Some(index) = node {
            let node = self.node(index);
            if node.what != What::Map {
                return Err(mismatch(message.name));
            }
            let mut child = index + 1;
            while child < node.next {
                let found = self.node(child);
                if found.what != What::Null {
                    self.places[base + found.field as usize] = child;
                }
                child = found.next;
            }
        }
        let written = self.parts(&message.parts, Frame { message, base, below, own });
        self.places.truncate(base);
        written
    }

    fn parts(&mut self, parts: &[Part], frame: Frame<'_>) -> Result<()> {
        for part in parts.iter().rev() {
            match part {
                Part::Embedded(tag, inner) => {
                    let mark = self.out.len();
                    self.parts(inner, frame)?;
                    self.out.close(*tag, mark);
                }
                Part::Field(tag, index) => self.field(*tag, *index, frame)?,
            }
        }
        Ok(())
    }

    fn field(&mut self, tag: u32, index: usize, frame: Frame<'_>) -> Result<()> {
        let field = &frame.message.fields[index];
        let place = self.places[frame.base + index];
        let node = (place != MISSING).then_some(place);
        if let (Some(revision), true) = (frame.own, frame.message.revision == Some(index)) {
            self.out.bytes(tag, revision.as_bytes());
            return Ok(());
        }
        match (&field.shape, node) {
            (Shape::List(items), Some(node)) => self.list(tag, items, node, field),
            (Shape::Map(values), Some(node)) => self.map(tag, values, node, field),
            (Shape::List(_) | Shape::Map(_), None) => Ok(()),
            (_, None) if field.pointer => Ok(()),
            (Shape::Message(inner), node) if frame.below.is_some() && field.name == "metadata" => {
                let mark = self.out.len();
                self.message(plan::at(*inner), node, None, frame.below)?;
                self.out.close(tag, mark);
                Ok(())
            }
            (shape, node) => self.value(tag, shape, node, field.name),
        }
    }

    /// Puts the children of a list or map (keys only) on the stack; returns where they begin.
    fn children(&mut self, index: u32, what: What, field: &Field) -> Result<usize> {
        let node = self.node(index);
        if node.what != what {
            return Err(mismatch(field.name));
        }
        let base = self.places.len();
        let mut child = index + 1;
        while child < node.next {
            self.places.push(child);
            child = self.node(child).next;
            if what == What::Map {
                child = self.node(child).next;
            }
        }
        Ok(base)
    }

    fn list(&mut self, tag: u32, items: &Shape, node: u32, field: &Field) -> Result<()> {
        let base = self.children(node, What::List, field)?;
        while self.places.len() > base {
            let Some(item) = self.places.pop() else { break };
            let item = (self.node(item).what != What::Null).then_some(item);
            self.value(tag, items, item, field.name)?;
        }
        Ok(())
    }

    fn map(&mut self, tag: u32, values: &Shape, node: u32, field: &Field) -> Result<()> {
        let base = self.children(node, What::Map, field)?;
        self.sort(base)?;
        while self.places.len() > base {
            let Some(key) = self.places.pop() else { break };
            let mark = self.out.len();
            let value = key + 1;
            let present = self.node(value).what != What::Null;
            if present || !matches!(values, Shape::Bytes) {
                self.map_value(values, present.then_some(value), field)?;
            }
            let key = self.text(self.node(key), field.name)?;
            self.out.bytes(1, key.as_bytes());
            self.out.close(tag, mark);
        }
        Ok(())
    }

    /// Lists as values of a map stand in a message of their own.
    fn map_value(&mut self, values: &Shape, node: Option<u32>, field: &Field) -> Result<()> {
        let Shape::List(items) = values else { return self.value(2, values, node, field.name) };
        let mark = self.out.len();
        if let Some(node) = node {
            self.list(1, items, node, field)?;
        }
        self.out.close(2, mark);
        Ok(())
    }

    /// Sorts the keys on the stack by their text.
    fn sort(&mut self, base: usize) -> Result<()> {
        let plain = |index: &u32| self.tape.nodes[*index as usize].what == What::Text;
        let slice = |index: &u32| self.tape.slice(self.tape.nodes[*index as usize]);
        let keys = &self.places[base..];
        if keys.iter().all(plain) {
            if !keys.is_sorted_by(|a, b| slice(a) <= slice(b)) {
                let mut sorted = keys.to_vec();
                sorted.sort_by(|a, b| slice(a).cmp(slice(b)));
                self.places[base..].copy_from_slice(&sorted);
            }
            return Ok(());
        }
        let named = |index: &u32| Ok((self.text(self.node(*index), "a key")?.into_owned(), *index));
        let mut named: Vec<(String, u32)> = keys.iter().map(named).collect::<Result<_>>()?;
        named.sort();
        self.places.truncate(base);
        self.places.extend(named.into_iter().map(|(_, index)| index));
        Ok(())
    }

    /// A field's text, without escapes.
    fn text(&self, node: Node, field: &str) -> Result<Cow<'a, str>> {
        let slice = self.tape.slice(node);
        match node.what {
            What::Text => std::str::from_utf8(slice).map(Cow::Borrowed).map_err(|_| Error::Utf8),
            What::Escaped => {
                let quoted = [b"\"", slice, b"\""].concat();
                let text = serde_json::from_slice::<String>(&quoted);
                text.map(Cow::Owned).map_err(|error| Error::Json(error.to_string()))
            }
            _ => Err(mismatch(field)),
        }
    }

    fn integer(&self, node: Node, field: &str) -> Result<i64> {
        if node.what != What::Number {
            return Err(mismatch(field));
        }
        let text = std::str::from_utf8(self.tape.slice(node)).map_err(|_| Error::Utf8)?;
        if let Ok(number) = text.parse::<i64>() {
            return Ok(number);
        }
        // Such numbers as 1e3 are whole too.
        let number: f64 = text.parse().map_err(|_| mismatch(field))?;
        match number.fract() == 0.0 && number.abs() < 9e18 {
            true => Ok(number as i64),
            false => Err(mismatch(field)),
        }
    }

    /// One value under a tag; one that is missing is written empty.
    fn value(&mut self, tag: u32, shape: &Shape, index: Option<u32>, name: &str) -> Result<()> {
        let node = index.map(|index| self.node(index));
        match (shape, node) {
            (Shape::String | Shape::Bytes, None) => self.out.bytes(tag, b""),
            (Shape::String, Some(node)) if node.what == What::Text => {
                self.out.bytes(tag, self.tape.slice(node));
            }
            (Shape::String, Some(node)) => {
                let text = self.text(node, name)?;
                self.out.bytes(tag, text.as_bytes());
            }
            (Shape::Bytes, Some(node)) => {
                let text = self.text(node, name)?;
                let bytes = STANDARD.decode(&*text).map_err(|_| mismatch(name))?;
                self.out.bytes(tag, &bytes);
            }
            (Shape::Boolean, node) => {
                let value = match node.map(|node| node.what) {
                    Some(What::True) => 1,
                    None | Some(What::False) => 0,
                    Some(_) => return Err(mismatch(name)),
                };
                self.out.number(tag, value);
            }
            (Shape::Integer { .. }, node) => {
                let value = node.map_or(Ok(0), |node| self.integer(node, name))?;
                self.out.number(tag, value.cast_unsigned());
            }
            (Shape::Number, node) => self.float(tag, node, name)?,
            (Shape::List(_) | Shape::Map(_), _) => return Err(mismatch(name)),
            (shape, _) => {
                let mark = self.out.len();
                self.inner(shape, index, name)?;
                self.out.close(tag, mark);
            }
        }
        Ok(())
    }

    fn float(&mut self, tag: u32, node: Option<Node>, name: &str) -> Result<()> {
        let value: f64 = match node {
            None => 0.0,
            Some(node) => {
                let text = std::str::from_utf8(self.tape.slice(node)).map_err(|_| Error::Utf8)?;
                text.parse().map_err(|_| mismatch(name))?
            }
        };
        self.out.put(&value.to_bits().to_le_bytes());
        self.out.key(tag, 1);
        Ok(())
    }

    /// What is inside a value that is a message.
    fn inner(&mut self, shape: &Shape, index: Option<u32>, name: &str) -> Result<()> {
        let node = index.map(|index| self.node(index));
        match (shape, node) {
            (Shape::Message(inner), _) => self.message(plan::at(*inner), index, None, None)?,
            (Shape::Raw, Some(node)) => {
                let raw = self.tape.slice(node);
                self.out.bytes(1, raw);
            }
            (Shape::Time { micro }, Some(node)) => {
                let text = self.text(node, name)?;
                let (seconds, nanos) = time(&text)?;
                let nanos = if *micro { nanos / 1000 * 1000 } else { 0 };
                self.out.number(2, i64::from(nanos).cast_unsigned());
                self.out.number(1, seconds.cast_unsigned());
            }
            (Shape::Quantity, None) => self.out.bytes(1, b"0"),
            (Shape::Quantity, Some(node)) if node.what == What::Number => {
                let number = self.tape.slice(node);
                self.out.bytes(1, number);
            }
            (Shape::Quantity, Some(node)) => {
                let text = self.text(node, name)?;
                self.out.bytes(1, text.as_bytes());
            }
            (Shape::IntOrString, node) => self.int_or_string(node, name)?,
            (Shape::SchemaOrArray | Shape::SchemaOrStrings | Shape::SchemaOrBool, node) => {
                self.schema_or(shape, index.zip(node), name)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn int_or_string(&mut self, node: Option<Node>, name: &str) -> Result<()> {
        let text = match node {
            Some(node) if matches!(node.what, What::Text | What::Escaped) => {
                Some(self.text(node, name)?)
            }
            _ => None,
        };
        let number = match (node, &text) {
            (Some(node), None) => self.integer(node, name)?,
            _ => 0,
        };
        self.out.bytes(3, text.as_deref().unwrap_or_default().as_bytes());
        self.out.number(2, number.cast_unsigned());
        self.out.number(1, u64::from(text.is_some()));
        Ok(())
    }

    fn schema_or(&mut self, shape: &Shape, found: Option<(u32, Node)>, name: &str) -> Result<()> {
        let schema = plan::json_schema();
        let is_bool = matches!(shape, Shape::SchemaOrBool);
        match found.map(|(index, node)| (index, node.what)) {
            Some((index, What::Map)) => {
                let mark = self.out.len();
                self.message(schema, Some(index), None, None)?;
                self.out.close(if is_bool { 2 } else { 1 }, mark);
                if is_bool {
                    self.out.number(1, 1);
                }
            }
            Some((index, What::List)) => {
                let field =
                    Field { name: "items", shape: shape.clone(), pointer: false, omit: false };
                let base = self.children(index, What::List, &field)?;
                while self.places.len() > base {
                    let Some(item) = self.places.pop() else { break };
                    if matches!(shape, Shape::SchemaOrStrings) {
                        self.value(2, &Shape::String, Some(item), name)?;
                        continue;
                    }
                    let mark = self.out.len();
                    self.message(schema, Some(item), None, None)?;
                    self.out.close(2, mark);
                }
            }
            Some((_, What::True)) if is_bool => self.out.number(1, 1),
            None | Some((_, What::False)) if is_bool => self.out.number(1, 0),
            None => {}
            Some(_) => return Err(mismatch(name)),
        }
        Ok(())
    }
}

fn mismatch(field: &str) -> Error {
    Error::Json(format!("JSON: the value of {field} has another type than the field"))
}

/// Seconds since 1970 and nanoseconds.
fn time(text: &str) -> Result<(i64, i32)> {
    let time: Timestamp = text.parse().map_err(|_| Error::Time)?;
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    // Fractions count forward, before 1970 too.
    Ok(if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) })
}
