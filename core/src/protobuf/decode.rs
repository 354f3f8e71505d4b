//! From the wire to JSON values.

use super::{
    DEEPEST, Error, Result,
    plan::{self, Field, Message, Part, Shape},
    wire::{Fields, Wire},
};
use crate::decode;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(super) fn decode(message: &Message, bytes: &[u8]) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    fill(&mut map, message, &message.parts, bytes, 0)?;
    trim(&mut map, message);
    Ok(map)
}

/// Reads a message into a map; one that comes in several parts is filled further.
fn fill(
    map: &mut Map<String, Value>,
    message: &Message,
    parts: &[Part],
    bytes: &[u8],
    depth: usize,
) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::Depth);
    }
    for field in Fields::new(bytes, message.name) {
        let (tag, wire) = field?;
        let Ok(at) = parts.binary_search_by_key(&tag, Part::tag) else { continue };
        match (&parts[at], wire) {
            (Part::Embedded(_, inner), Wire::Bytes(bytes)) => {
                fill(map, message, inner, bytes, depth + 1)?;
            }
            (Part::Embedded(..), wire) => return Err(wrong(wire, "an embedded message")),
            (Part::Field(_, index), wire) => {
                let field = &message.fields[*index];
                let slot = map.entry(field.name).or_insert(Value::Null);
                put(slot, wire, &field.shape, field.name, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// Leaves out what the original's JSON leaves out.
fn trim(map: &mut Map<String, Value>, message: &Message) {
    let empty = |field: &Field, value: &Value| match value {
        Value::Null => !matches!(field.shape, Shape::Raw),
        Value::String(text) => field.omit && text.is_empty(),
        Value::Bool(value) => field.omit && !value,
        Value::Number(number) => field.omit && number.as_f64() == Some(0.0),
        Value::Array(_) | Value::Object(_) => false,
    };
    map.retain(|name, value| {
        let field = message.fields.binary_search_by(|field| field.name.cmp(name));
        field.is_ok_and(|index| !empty(&message.fields[index], value))
    });
}

fn wrong(wire: Wire<'_>, field: &str) -> Error {
    let field = match field.split_at_checked(1) {
        _ if field == "metadata" => "ObjectMeta".to_owned(),
        Some((first, rest)) => first.to_uppercase() + rest,
        None => field.to_owned(),
    };
    Error::WrongWireType { found: wire.number(), field }
}

fn utf8(bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::Utf8)
}

/// Puts a value into its place: lists and maps gather what comes under the same tag, messages are merged.
fn put(slot: &mut Value, wire: Wire<'_>, shape: &Shape, name: &str, depth: usize) -> Result<()> {
    match (shape, wire) {
        (Shape::List(items), wire) => {
            if !slot.is_array() {
                *slot = json!([]);
            }
            let Value::Array(list) = slot else { return Ok(()) };
            push(list, wire, items, name, depth)?;
        }
        (Shape::Map(values), Wire::Bytes(entry)) => {
            if !slot.is_object() {
                *slot = json!({});
            }
            let Value::Object(map) = slot else { return Ok(()) };
            let (key, value) = entry_of(entry, values, name, depth)?;
            map.insert(key, value);
        }
        (Shape::Message(index), Wire::Bytes(bytes)) => {
            let inner = plan::at(*index);
            if !slot.is_object() {
                *slot = json!({});
            }
            let Value::Object(map) = slot else { return Ok(()) };
            fill(map, inner, &inner.parts, bytes, depth)?;
            trim(map, inner);
        }
        (shape, wire) => *slot = scalar(wire, shape, name, depth)?,
    }
    Ok(())
}

/// Numbers may come packed.
fn push(
    list: &mut Vec<Value>,
    wire: Wire<'_>,
    items: &Shape,
    name: &str,
    depth: usize,
) -> Result<()> {
    match (wire, items) {
        (Wire::Bytes(packed), Shape::Integer { .. } | Shape::Boolean) => {
            let mut rest = Fields::new(packed, name);
            while !rest.is_empty() {
                list.push(scalar(Wire::Varint(rest.varint()?), items, name, depth)?);
            }
        }
        (Wire::Bytes(packed), Shape::Number) => {
            let mut rest = Fields::new(packed, name);
            while !rest.is_empty() {
                let bits = u64::from_le_bytes(rest.chunk(8)?.try_into().unwrap_or_default());
                list.push(scalar(Wire::Fixed64(bits), items, name, depth)?);
            }
        }
        _ => list.push(scalar(wire, items, name, depth)?),
    }
    Ok(())
}

fn entry_of(entry: &[u8], values: &Shape, name: &str, depth: usize) -> Result<(String, Value)> {
    let (mut key, mut value) = (String::new(), None);
    for field in Fields::new(entry, name) {
        match field? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => value = Some(map_value(wire, values, name, depth)?),
            (1, wire) => return Err(wrong(wire, name)),
            _ => {}
        }
    }
    let value = match (value, values) {
        (Some(value), _) => value,
        (None, Shape::Boolean | Shape::Integer { .. }) => {
            scalar(Wire::Varint(0), values, name, depth)?
        }
        (None, _) => map_value(Wire::Bytes(&[]), values, name, depth)?,
    };
    Ok((key, value))
}

/// Lists as values of a map stand in a message of their own.
fn map_value(wire: Wire<'_>, shape: &Shape, name: &str, depth: usize) -> Result<Value> {
    let (Shape::List(items), Wire::Bytes(message)) = (shape, wire) else {
        return scalar(wire, shape, name, depth);
    };
    let mut list = Vec::new();
    for field in Fields::new(message, name) {
        if let (1, item) = field? {
            push(&mut list, item, items, name, depth)?;
        }
    }
    Ok(Value::Array(list))
}

fn scalar(wire: Wire<'_>, shape: &Shape, name: &str, depth: usize) -> Result<Value> {
    Ok(match (shape, wire) {
        (Shape::String, Wire::Bytes(text)) => utf8(text)?.into(),
        (Shape::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Shape::Boolean, Wire::Varint(number)) => (number != 0).into(),
        (Shape::Integer { wide: true }, Wire::Varint(number)) => number.cast_signed().into(),
        // Negative numbers of 32 bits are written as 64.
        (Shape::Integer { wide: false }, Wire::Varint(number)) => {
            (number.cast_signed() as i32).into()
        }
        (Shape::Number, Wire::Fixed64(bits)) => number(f64::from_bits(bits)),
        (Shape::Number, Wire::Fixed32(bits)) => number(f64::from(f32::from_bits(bits))),
        (Shape::Time { micro }, Wire::Bytes(message)) => time(message, *micro)?,
        (Shape::Quantity, Wire::Bytes(message)) => inner_text(message, 1)?.into(),
        (Shape::IntOrString, Wire::Bytes(message)) => int_or_string(message)?,
        (Shape::Raw, Wire::Bytes(message)) => raw(message)?,
        (Shape::SchemaOrArray, Wire::Bytes(message)) => schema_or(message, 1, 2, true, depth)?,
        (Shape::SchemaOrBool, Wire::Bytes(message)) => schema_or_bool(message, depth)?,
        (Shape::SchemaOrStrings, Wire::Bytes(message)) => schema_or(message, 1, 2, false, depth)?,
        (Shape::Message(_) | Shape::List(_) | Shape::Map(_), wire @ Wire::Bytes(_)) => {
            let mut value = Value::Null;
            put(&mut value, wire, shape, name, depth + 1)?;
            value
        }
        (_, wire) => return Err(wrong(wire, name)),
    })
}

/// Whole numbers are printed without a fraction.
fn number(number: f64) -> Value {
    match number.fract() == 0.0 && number.abs() < 9e15 {
        true => (number as i64).into(),
        false => json!(number),
    }
}

/// Seconds and nanoseconds; no fields at all are no time. Only a MicroTime has fractions.
fn time(message: &[u8], micro: bool) -> Result<Value> {
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in Fields::new(message, "Timestamp") {
        match field? {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanos = number.cast_signed() as i32,
            _ => {}
        }
    }
    let nanos = if micro { nanos } else { 0 };
    let time = Timestamp::new(seconds, nanos).map_err(|_| Error::Time)?;
    Ok(if micro { decode::micro_time(time) } else { decode::time(time) }.into())
}

fn inner_text(message: &[u8], tag: u32) -> Result<String> {
    let mut found = String::new();
    for field in Fields::new(message, "") {
        match field? {
            (own, Wire::Bytes(text)) if own == tag => found = utf8(text)?,
            _ => {}
        }
    }
    Ok(found)
}

fn int_or_string(message: &[u8]) -> Result<Value> {
    let (mut is_text, mut number) = (false, 0);
    for field in Fields::new(message, "IntOrString") {
        match field? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed() as i32,
            _ => {}
        }
    }
    Ok(if is_text { inner_text(message, 3)?.into() } else { number.into() })
}

/// Raw JSON in a message of its own.
fn raw(message: &[u8]) -> Result<Value> {
    let mut found = Value::Null;
    for field in Fields::new(message, "RawExtension") {
        match field? {
            (1, Wire::Bytes([])) => found = Value::Null,
            (1, Wire::Bytes(bytes)) => {
                found = serde_json::from_slice(bytes)
                    .map_err(|error| Error::Json(error.to_string()))?;
            }
            _ => {}
        }
    }
    Ok(found)
}

fn json_schema(bytes: &[u8], depth: usize) -> Result<Value> {
    let (message, mut map) = (plan::json_schema(), Map::new());
    fill(&mut map, message, &message.parts, bytes, depth + 1)?;
    trim(&mut map, message);
    Ok(Value::Object(map))
}

/// A schema under one tag, or a list under another: of schemas, or of texts.
fn schema_or(message: &[u8], one: u32, many: u32, schemas: bool, depth: usize) -> Result<Value> {
    let (mut schema, mut list) = (Value::Null, Vec::new());
    for field in Fields::new(message, "JSONSchemaPropsOrArray") {
        match field? {
            (tag, Wire::Bytes(bytes)) if tag == one => schema = json_schema(bytes, depth)?,
            (tag, Wire::Bytes(bytes)) if tag == many && schemas => {
                list.push(json_schema(bytes, depth)?);
            }
            (tag, Wire::Bytes(bytes)) if tag == many => list.push(utf8(bytes)?.into()),
            _ => {}
        }
    }
    Ok(if list.is_empty() { schema } else { Value::Array(list) })
}

fn schema_or_bool(message: &[u8], depth: usize) -> Result<Value> {
    let mut value = Value::Bool(false);
    for field in Fields::new(message, "JSONSchemaPropsOrBool") {
        match field? {
            (1, Wire::Varint(allows)) if !value.is_object() => value = (allows != 0).into(),
            (2, Wire::Bytes(bytes)) => value = json_schema(bytes, depth)?,
            _ => {}
        }
    }
    Ok(value)
}
