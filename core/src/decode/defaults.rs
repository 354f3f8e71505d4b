//! Values of missing fields: static defaults, and the empty values the original writes.

use crate::schema::{Field, Kind, Presence, Schema, SchemaRef};
use serde_json::{Map, Value};

/// Whether Go's `omitempty` leaves the value out.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Whether the original's round trip loses the value: empty ones where `omitempty` says so, and empty lists and
/// maps everywhere, since its stored form cannot tell them from missing ones.
pub(super) fn is_lost(value: &Value, field: &Field) -> bool {
    match field.presence {
        Presence::OmitEmpty => is_empty(value),
        Presence::Always => {
            matches!(field.schema.kind, Kind::List { .. } | Kind::Map { .. } | Kind::Bytes)
                && is_empty(value)
        }
        Presence::Optional | Presence::Null => false,
    }
}

/// The value of a built-in shape that was never set, as the original writes it.
#[must_use]
pub fn zero(schema: &Schema) -> Value {
    match &schema.kind {
        Kind::String => Value::String(String::new()),
        Kind::Integer { .. } | Kind::Number | Kind::IntOrString => 0.into(),
        Kind::Boolean => false.into(),
        Kind::Quantity => "0".into(),
        Kind::Object { fields, .. } => {
            let mut map = Map::new();
            fill(&mut map, fields);
            Value::Object(map)
        }
        Kind::Bytes | Kind::Time { .. } | Kind::Any | Kind::Map { .. } | Kind::List { .. } => {
            Value::Null
        }
    }
}

/// What null stands for as an item of a list or the value of a map. Bytes that are not there are empty in the original's
/// store, and so are they when they are read.
pub(super) fn item(schema: &Schema) -> Value {
    match &schema.kind {
        Kind::Bytes => Value::String(String::new()),
        _ => zero(schema),
    }
}

/// Gives missing fields of a built-in struct their defaults, or the empty values that are always written.
pub(super) fn fill(map: &mut Map<String, Value>, fields: &[Field]) {
    for field in fields {
        if field.presence != Presence::Always
            && field.presence != Presence::Null
            && field.default.is_none()
        {
            continue;
        }
        let unset = map
            .get(&*field.name)
            .is_none_or(|value| field.presence == Presence::Always && is_empty(value));
        if let Some(default) = field.default_value().filter(|_| unset) {
            if field.presence != Presence::OmitEmpty || !is_empty(&default) {
                map.insert(field.name.to_string(), default);
            }
            continue;
        }
        if map.contains_key(&*field.name) {
            continue;
        }
        match field.presence {
            Presence::Always => drop(map.insert(field.name.to_string(), zero(&field.schema))),
            Presence::Null => drop(map.insert(field.name.to_string(), Value::Null)),
            Presence::Optional | Presence::OmitEmpty => {}
        }
    }
}

/// Fills in the defaults of the shape, below what is there and below what was filled in. A null where null is
/// not allowed counts as missing when there is a default.
pub fn apply_schema_defaults(value: &mut Value, schema: &Schema) {
    match (&schema.kind, value) {
        (Kind::Object { fields, .. }, Value::Object(map)) => {
            for field in fields.iter() {
                apply_to_field(map, field);
            }
        }
        (Kind::Map { values, .. }, Value::Object(map)) => {
            for value in map.values_mut() {
                apply_schema_defaults(value, values);
            }
        }
        (Kind::List { items, .. }, Value::Array(list)) => {
            for value in list {
                apply_schema_defaults(value, items);
            }
        }
        _ => {}
    }
}

fn apply_to_field(map: &mut Map<String, Value>, field: &Field) {
    let missing = match map.get(&*field.name) {
        None => true,
        Some(value) => value.is_null() && !field.nullable,
    };
    if missing && let Some(default) = field.default_value() {
        // A built-in default that would be left out again is none.
        let pointless = matches!(field.schema, SchemaRef::Static(_)) && is_empty(&default);
        if !pointless {
            map.insert(field.name.to_string(), default);
        }
    }
    if let Some(value) = map.get_mut(&*field.name) {
        apply_schema_defaults(value, &field.schema);
    }
}
