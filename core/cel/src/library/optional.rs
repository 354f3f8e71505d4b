//! Values that may be missing.

use super::{Function, Out, fails, overload};
use crate::value::Value;

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "optional.none" => |_| Ok(Value::Optional(None)),
        "optional.of" => |args| Ok(args[0].clone().some()),
        "optional.ofNonZeroValue" => |args| match is_zero(&args[0]) {
            true => Ok(Value::Optional(None)),
            false => Ok(args[0].clone().some()),
        },
        "hasValue" => |args| match &args[0] {
            Value::Optional(inner) => Ok(Value::Bool(inner.is_some())),
            _ => overload(),
        },
        "optional.unwrap" | "unwrapOpt" => unwrapped,
        "value" => value,
        "or" => |args| match &args[0] {
            Value::Optional(None) => Ok(args[1].clone()),
            found => Ok(found.clone()),
        },
        "orValue" => |args| match &args[0] {
            Value::Optional(Some(inner)) => Ok(Value::clone(inner)),
            Value::Optional(None) => Ok(args[1].clone()),
            _ => overload(),
        },
        _ => return None,
    })
}

fn value<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Optional(Some(inner)) => Ok(Value::clone(inner)),
        Value::Optional(None) => fails("optional.none() dereference"),
        _ => overload(),
    }
}

/// The values of those that have one.
fn unwrapped<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Value::List(list) = &args[0] else { return overload() };
    let mut items = Vec::new();
    for item in list.iter() {
        match item {
            Value::Optional(inner) => items.extend(inner.map(|inner| Value::clone(&inner))),
            _ => return overload(),
        }
    }
    Ok(items.into())
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(value) => !value,
        Value::Int(value) | Value::Duration(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.as_str().is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.len() == 0,
        Value::Map(map) => map.len() == 0,
        Value::Timestamp(_)
        | Value::Optional(Some(_))
        | Value::Type(_)
        | Value::Extra(_)
        | Value::Failed(_) => false,
    }
}
