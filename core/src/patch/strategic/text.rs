//! Values and types as Go prints them, for messages clients compare.

use crate::schema::{Kind, Schema};
use serde_json::{Map, Value};
use std::fmt::Write;

/// As `%v` prints it.
pub(super) fn go(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

/// As `%v` prints a map.
pub(super) fn go_map(map: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_map(&mut out, map);
    out
}

/// As `%v` prints a list.
pub(super) fn go_list(list: &[Value]) -> String {
    let mut out = String::new();
    write_list(&mut out, list);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Object(map) => write_map(out, map),
        Value::Array(list) => write_list(out, list),
        other => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{other}");
        }
    }
}

fn write_map(out: &mut String, map: &Map<String, Value>) {
    out.push_str("map[");
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(key);
        out.push(':');
        write(out, value);
    }
    out.push(']');
}

fn write_list(out: &mut String, list: &[Value]) {
    out.push('[');
    for (index, value) in list.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        write(out, value);
    }
    out.push(']');
}

/// The message of a value of the wrong Go type.
pub(super) fn bad_type(expected: &str, actual: &Value) -> String {
    format!("expected a {expected}, but received a {}", go_type(actual))
}

/// The Go type of decoded JSON.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The Go kind of what a schema describes.
pub(super) fn go_kind(schema: &Schema) -> &'static str {
    match schema.kind {
        Kind::Map { .. } => "map",
        Kind::List { .. } | Kind::Bytes => "slice",
        Kind::String => "string",
        Kind::Boolean => "bool",
        Kind::Integer { wide: true } => "int64",
        Kind::Integer { wide: false } => "int32",
        Kind::Number => "float64",
        Kind::Any
        | Kind::Object { .. }
        | Kind::Time { .. }
        | Kind::Quantity
        | Kind::IntOrString => "struct",
    }
}
