//! Bodies in the protobuf form, which typed clients send for built-in kinds: turned into JSON by the tags
//! of the schema table. Answers are JSON always; such clients take that too.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kubeplane_core::{
    decode,
    schema::{Kind, Schema},
    status::{ApiError, ApiResult},
};
use serde_json::{Map, Value, json};

/// What a body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest.
const DEEPEST: usize = 64;

/// The JSON of a body, with its kind and version; `schema` is the shape of the kind expected.
pub(crate) fn to_json(body: &[u8], schema: &Schema) -> ApiResult<Value> {
    let message = body.strip_prefix(MAGIC).ok_or_else(|| {
        bad("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    })?;
    let (mut kind, mut version, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(message) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut value = object(raw, schema, 0)?;
    value["kind"] = kind.into();
    value["apiVersion"] = version.into();
    Ok(value)
}

fn bad(why: &str) -> ApiError {
    ApiError::bad_request(why)
}

/// A value as it stands on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message: tag and value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> ApiResult<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(|| bad("unexpected EOF"))?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("proto: integer overflow"))
    }

    fn take(&mut self, length: u64) -> ApiResult<&'a [u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len());
        let (taken, rest) = self.0.split_at(length.ok_or_else(|| bad("unexpected EOF"))?);
        self.0 = rest;
        Ok(taken)
    }

    fn one(&mut self) -> ApiResult<(u32, Wire<'a>)> {
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| bad("proto: illegal tag"))?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default())),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default())),
            _ => return Err(bad("proto: illegal wireType")),
        };
        Ok((tag, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = ApiResult<(u32, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.one();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn utf8(bytes: &[u8]) -> ApiResult<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| bad("proto: invalid UTF-8 in a string"))
}

fn object(message: &[u8], schema: &Schema, depth: usize) -> ApiResult<Value> {
    let mut map = Map::new();
    fill(&mut map, message, schema, 0, depth)?;
    Ok(Value::Object(map))
}

/// Reads a message into a map. Fields of a message that JSON leaves out have that message's tag, `outer`,
/// above their own.
fn fill(
    map: &mut Map<String, Value>,
    message: &[u8],
    schema: &Schema,
    outer: u32,
    depth: usize,
) -> ApiResult<()> {
    if depth > DEEPEST {
        return Err(bad("proto: nested too deep"));
    }
    for field in Fields(message) {
        let (tag, wire) = field?;
        let full = (outer << 16) | tag;
        if let Some(field) =
            schema.fields().iter().find(|field| field.tag != 0 && field.tag == full)
        {
            let slot = map.entry(field.name.as_ref()).or_insert(Value::Null);
            put(slot, wire, &field.schema, depth)?;
        } else if let (0, Wire::Bytes(inner)) = (outer, wire)
            && schema.fields().iter().any(|field| field.tag >> 16 == tag)
        {
            fill(map, inner, schema, tag, depth + 1)?;
        }
    }
    Ok(())
}

/// Puts a value into its place: lists and maps gather what comes under the same tag.
fn put(slot: &mut Value, wire: Wire<'_>, schema: &Schema, depth: usize) -> ApiResult<()> {
    match &schema.kind {
        Kind::List { items, .. } => {
            if slot.is_null() {
                *slot = json!([]);
            }
            let Value::Array(list) = slot else { return Ok(()) };
            match (wire, &items.kind) {
                (Wire::Bytes(packed), Kind::Integer { .. } | Kind::Boolean) => {
                    let mut rest = Fields(packed);
                    while !rest.0.is_empty() {
                        let one = Wire::Varint(rest.varint()?);
                        list.push(scalar(one, items, depth)?);
                    }
                }
                _ => list.push(scalar(wire, items, depth)?),
            }
        }
        Kind::Map { values, .. } => {
            if slot.is_null() {
                *slot = json!({});
            }
            let (Value::Object(map), Wire::Bytes(entry)) = (slot, wire) else { return Ok(()) };
            let (mut key, mut value) = (String::new(), None);
            for field in Fields(entry) {
                match field? {
                    (1, Wire::Bytes(text)) => key = utf8(text)?,
                    (2, wire) => value = Some(map_value(wire, values, depth)?),
                    _ => {}
                }
            }
            let value = value.map_or_else(|| map_value(Wire::Bytes(&[]), values, depth), Ok)?;
            map.insert(key, value);
        }
        _ => *slot = scalar(wire, schema, depth)?,
    }
    Ok(())
}

/// Lists as values of a map stand in a message of their own.
fn map_value(wire: Wire<'_>, schema: &Schema, depth: usize) -> ApiResult<Value> {
    let (Kind::List { .. }, Wire::Bytes(message)) = (&schema.kind, wire) else {
        return scalar(wire, schema, depth);
    };
    let mut list = json!([]);
    for field in Fields(message) {
        if let (1, item) = field? {
            put(&mut list, item, schema, depth)?;
        }
    }
    Ok(list)
}

fn scalar(wire: Wire<'_>, schema: &Schema, depth: usize) -> ApiResult<Value> {
    Ok(match (&schema.kind, wire) {
        (Kind::String, Wire::Bytes(text)) => utf8(text)?.into(),
        (Kind::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Kind::Boolean, Wire::Varint(number)) => (number != 0).into(),
        (Kind::Integer { wide: true }, Wire::Varint(number)) => number.cast_signed().into(),
        // Negative numbers of 32 bits are written as 64.
        (Kind::Integer { wide: false }, Wire::Varint(number)) => {
            (number.cast_signed() as i32).into()
        }
        (Kind::Number, Wire::Fixed64(bits)) => json!(f64::from_bits(bits)),
        (Kind::Number, Wire::Fixed32(bits)) => json!(f32::from_bits(bits)),
        (Kind::Time { micro }, Wire::Bytes(message)) => time(message, *micro)?,
        (Kind::Quantity, Wire::Bytes(message)) => inner_text(message, 1)?.into(),
        (Kind::IntOrString, Wire::Bytes(message)) => int_or_string(message)?,
        (Kind::Any, Wire::Bytes(message)) => raw(message)?,
        (Kind::Object { .. }, Wire::Bytes(message)) => object(message, schema, depth + 1)?,
        (Kind::List { .. } | Kind::Map { .. }, wire) => {
            let mut value = Value::Null;
            put(&mut value, wire, schema, depth + 1)?;
            value
        }
        _ => return Err(bad("proto: wrong wireType")),
    })
}

/// Seconds and nanoseconds; no fields at all are no time.
fn time(message: &[u8], micro: bool) -> ApiResult<Value> {
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in Fields(message) {
        match field? {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanos = number.cast_signed() as i32,
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| bad("proto: a time is out of range"))?;
    Ok(if micro { decode::micro_time(time) } else { decode::time(time) }.into())
}

fn inner_text(message: &[u8], tag: u32) -> ApiResult<String> {
    for field in Fields(message) {
        match field? {
            (own, Wire::Bytes(text)) if own == tag => return utf8(text),
            _ => {}
        }
    }
    Ok(String::new())
}

fn int_or_string(message: &[u8]) -> ApiResult<Value> {
    let (mut is_text, mut number) = (false, 0);
    for field in Fields(message) {
        match field? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed() as i32,
            _ => {}
        }
    }
    Ok(if is_text { inner_text(message, 3)?.into() } else { number.into() })
}

/// Raw JSON in a message of its own.
fn raw(message: &[u8]) -> ApiResult<Value> {
    for field in Fields(message) {
        if let (1, Wire::Bytes(bytes)) = field? {
            return serde_json::from_slice(bytes).map_err(|error| bad(&error.to_string()));
        }
    }
    Ok(Value::Null)
}

#[cfg(test)]
mod tests;
