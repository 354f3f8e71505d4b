//! From one type to another.

use super::{Function, Out, fails, overload};
use crate::{
    time,
    value::{Extra, Value},
};
use jiff::Timestamp;
use std::sync::Arc;

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "type" => |args| Ok(Value::Type(Arc::new(args[0].type_of()))),
        "dyn" => |args| Ok(args[0].clone()),
        "bool" => bool,
        "bytes" => bytes,
        "double" => double,
        "duration" => duration,
        "int" => int,
        "string" => string,
        "timestamp" => timestamp,
        "uint" => uint,
        _ => return None,
    })
}

fn wrong<'a>(from: &Value<'_>, to: &str) -> Out<'a> {
    let from = from.type_of();
    fails(format!("type conversion error from '{}' to '{to}'", from.name()))
}

fn bool<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => wrong(&args[0], "bool"),
        },
        _ => overload(),
    }
}

fn bytes<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => Ok(Value::Bytes(text.as_str().as_bytes().into())),
        _ => overload(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "so does the original")]
fn double<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Double(value) => Ok(Value::Double(*value)),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => {
            let plain = text.as_str();
            let trimmed = plain.trim() == plain;
            match plain.parse().ok().filter(|_| trimmed) {
                Some(value) => Ok(Value::Double(value)),
                None => wrong(&args[0], "double"),
            }
        }
        _ => overload(),
    }
}

fn duration<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Duration(span) => Ok(Value::Duration(*span)),
        Value::Int(span) => Ok(Value::Duration(*span)),
        Value::String(text) => match time::span(text.as_str()) {
            Some(span) => Ok(Value::Duration(span)),
            None => wrong(&args[0], "google.protobuf.Duration"),
        },
        _ => overload(),
    }
}

fn int<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Int(value) => Ok(Value::Int(*value)),
        Value::Uint(value) => match i64::try_from(*value) {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => fails("integer overflow"),
        },
        #[expect(clippy::cast_possible_truncation, reason = "bounds are looked at before")]
        Value::Double(value) => {
            match *value > -9.223_372_036_854_775e18 && *value < 9.223_372_036_854_775e18 {
                true => Ok(Value::Int(*value as i64)),
                false => fails("integer overflow"),
            }
        }
        Value::String(text) => match text.as_str().parse() {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => wrong(&args[0], "int"),
        },
        Value::Timestamp(moment) => Ok(Value::Int(moment.as_second())),
        Value::Duration(span) => Ok(Value::Int(*span)),
        _ => overload(),
    }
}

fn uint<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Uint(value) => Ok(Value::Uint(*value)),
        Value::Int(value) => match u64::try_from(*value) {
            Ok(value) => Ok(Value::Uint(value)),
            Err(_) => fails("unsigned integer overflow"),
        },
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounds are looked at before"
        )]
        Value::Double(value) => match *value >= 0.0 && *value < 1.844_674_407_370_955e19 {
            true => Ok(Value::Uint(*value as u64)),
            false => fails("unsigned integer overflow"),
        },
        Value::String(text) => match text.as_str().parse() {
            Ok(value) if !text.as_str().starts_with('+') => Ok(Value::Uint(value)),
            _ => wrong(&args[0], "uint"),
        },
        _ => overload(),
    }
}

fn timestamp<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Timestamp(moment) => Ok(Value::Timestamp(*moment)),
        Value::Int(second) => {
            let moment = Timestamp::from_second(*second).ok();
            match moment.filter(|_| time::is_in_range(*second)) {
                Some(moment) => Ok(Value::Timestamp(moment)),
                None => fails("timestamp overflow"),
            }
        }
        Value::String(text) => match time::rfc3339(text.as_str()) {
            Some(moment) if time::is_in_range(moment.as_second()) => Ok(Value::Timestamp(moment)),
            Some(_) => fails("timestamp overflow"),
            None => wrong(&args[0], "google.protobuf.Timestamp"),
        },
        _ => overload(),
    }
}

pub(super) fn string<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(match &args[0] {
        value @ Value::String(_) => value.clone(),
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Uint(value) => value.to_string().into(),
        Value::Double(value) => go_double(*value).into(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned().into(),
            Err(_) => return fails("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Value::Timestamp(moment) => time::written(*moment).into(),
        Value::Duration(span) => time::seconds(*span).into(),
        Value::Extra(Extra::Ip(address)) => address.to_string().into(),
        Value::Extra(Extra::Cidr(prefix)) => prefix.to_string().into(),
        _ => return overload(),
    })
}

/// A number as Go prints it with `%g`.
pub(crate) fn go_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or_default();
    if (-4..21).contains(&power) {
        return value.to_string();
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}
