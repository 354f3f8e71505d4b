use crate::shape::{Kind, Shape};
use kube_cel::cel::{
    self, Context, Program,
    objects::{Key, Map, OptionalValue},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

/// A value expressions can see.
#[derive(Clone)]
pub struct Bound(pub(crate) cel::Value);

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bound({:?})", self.0)
    }
}

impl Bound {
    /// `optional.of` of this value.
    #[must_use]
    pub fn optional(self) -> Self {
        Self(cel::Value::Opaque(Arc::new(OptionalValue::of(self.0))))
    }

    /// `optional.none()`.
    #[must_use]
    pub fn none() -> Self {
        Self(cel::Value::Opaque(Arc::new(OptionalValue::none())))
    }
}

/// Conversions that only the interpreter's own functions can make.
static TIMESTAMP: LazyLock<Option<Program>> =
    LazyLock::new(|| Program::compile("timestamp(text)").ok());
static DURATION: LazyLock<Option<Program>> =
    LazyLock::new(|| Program::compile("duration(text)").ok());

fn converted(text: &str, program: &Option<Program>) -> cel::Value {
    let mut context = Context::default();
    context.add_variable_from_value("text", cel::Value::from(text));
    let result = program.as_ref().and_then(|program| program.execute(&context).ok());
    result.unwrap_or_else(|| cel::Value::from(text))
}

impl Shape {
    /// The value as expressions see it: fields under their escaped names, times and durations as such.
    #[must_use]
    pub fn bind(&self, value: &Value) -> Bound {
        Bound(self.convert(value))
    }

    fn convert(&self, value: &Value) -> cel::Value {
        match (&self.kind, value) {
            (Kind::Double, Value::Number(number)) => {
                cel::Value::Float(number.as_f64().unwrap_or_default())
            }
            (Kind::Timestamp, Value::String(text)) if text.len() == 10 => {
                converted(&format!("{text}T00:00:00Z"), &TIMESTAMP)
            }
            (Kind::Timestamp, Value::String(text)) => converted(text, &TIMESTAMP),
            (Kind::Duration, Value::String(text)) => converted(text, &DURATION),
            (Kind::Bytes, Value::String(text)) => match decode_base64(text) {
                Some(bytes) => cel::Value::Bytes(Arc::new(bytes)),
                None => cel::Value::from(text.as_str()),
            },
            (Kind::List(items), Value::Array(list)) => {
                cel::Value::List(Arc::new(list.iter().map(|item| items.convert(item)).collect()))
            }
            (Kind::Map(values), Value::Object(map)) => {
                of_map(map.iter().map(|(key, value)| (key.clone(), values.convert(value))))
            }
            (Kind::Object(fields), Value::Object(map)) => {
                of_map(map.iter().filter_map(|(key, value)| {
                    let field = fields.get(key)?;
                    Some((field.escaped.clone(), field.shape.convert(value)))
                }))
            }
            (_, value) => plain(value),
        }
    }
}

pub(crate) fn of_map(entries: impl Iterator<Item = (String, cel::Value)>) -> cel::Value {
    let map: HashMap<_, _> =
        entries.map(|(key, value)| (Key::String(Arc::new(key)), value)).collect();
    cel::Value::Map(Map { map: Arc::new(map) })
}

pub(crate) fn plain(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => cel::Value::Int(value),
            (None, Some(value)) => cel::Value::UInt(value),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => cel::Value::from(text.as_str()),
        Value::Array(list) => cel::Value::List(Arc::new(list.iter().map(plain).collect())),
        Value::Object(map) => of_map(map.iter().map(|(key, value)| (key.clone(), plain(value)))),
    }
}

/// Standard base64 with padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(4) {
        return None;
    }
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let mut out = Vec::with_capacity(bytes.len() / 4 * 3);
    for chunk in bytes[..bytes.len() - padding.min(2)].chunks(4) {
        let mut bits = 0_u32;
        for byte in chunk {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        bits <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}
