//! Arithmetic, comparisons and sizes.

use super::{Function, Out, fails, overload};
use crate::{
    ast::op,
    fault::Fault,
    time,
    value::{List, Value},
};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Ordering;

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        op::NOT => not,
        op::EQUALS => |args| Ok(Value::Bool(args[0].equals(&args[1]))),
        op::NOT_EQUALS => |args| Ok(Value::Bool(!args[0].equals(&args[1]))),
        "_<_" => |args| compared(args, |order| order == Ordering::Less),
        "_<=_" => |args| compared(args, |order| order != Ordering::Greater),
        "_>_" => |args| compared(args, |order| order == Ordering::Greater),
        "_>=_" => |args| compared(args, |order| order != Ordering::Less),
        op::ADD => |args| add(&args[0], &args[1]),
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        op::NEGATE => negate,
        op::IN => among,
        op::NOT_STRICTLY_FALSE => |args| Ok(Value::Bool(!matches!(args[0], Value::Bool(false)))),
        "size" => size,
        _ => return None,
    })
}

fn not<'a>(args: &[Value<'a>]) -> Out<'a> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => overload(),
    }
}

fn compared<'a>(args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Out<'a> {
    let is_nan = |value: &Value<'_>| matches!(value, Value::Double(value) if value.is_nan());
    match args[0].compare(&args[1]) {
        Some(order) => Ok(Value::Bool(holds(order))),
        None if args.iter().any(is_nan) => fails("NaN values cannot be ordered"),
        None => overload(),
    }
}

fn overflow() -> Fault {
    Fault::new("integer overflow")
}

fn uint_overflow() -> Fault {
    Fault::new("unsigned integer overflow")
}

fn time_overflow() -> Fault {
    Fault::new("timestamp overflow")
}

fn span_overflow() -> Fault {
    Fault::new("duration overflow")
}

/// A moment so many nanoseconds later.
fn later<'a>(moment: Timestamp, span: i128) -> Out<'a> {
    let span = SignedDuration::from_nanos_i128(span);
    let moment = moment.checked_add(span).map_err(|_| time_overflow())?;
    match time::is_in_range(moment.as_second()) {
        true => Ok(Value::Timestamp(moment)),
        false => Err(time_overflow()),
    }
}

/// The sum of two values.
pub(super) fn add<'a>(a: &Value<'a>, b: &Value<'a>) -> Out<'a> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => {
            Value::Uint(a.checked_add(*b).ok_or_else(uint_overflow)?)
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::String(a), Value::String(b)) => format!("{}{}", a.as_str(), b.as_str()).into(),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&**a, &**b].concat().into()),
        (Value::List(a), Value::List(b)) => List::clone(a).plus(b),
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_add(*b).ok_or_else(span_overflow)?)
        }
        (Value::Timestamp(moment), Value::Duration(span))
        | (Value::Duration(span), Value::Timestamp(moment)) => {
            return later(*moment, i128::from(*span));
        }
        _ => return overload(),
    })
}

fn subtract<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_sub(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => {
            Value::Uint(a.checked_sub(*b).ok_or_else(uint_overflow)?)
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(a - b),
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_sub(*b).ok_or_else(span_overflow)?)
        }
        (Value::Timestamp(moment), Value::Duration(span)) => {
            return later(*moment, -i128::from(*span));
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let span = a.as_nanosecond() - b.as_nanosecond();
            Value::Duration(i64::try_from(span).map_err(|_| span_overflow())?)
        }
        _ => return overload(),
    })
}

fn multiply<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_mul(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => {
            Value::Uint(a.checked_mul(*b).ok_or_else(uint_overflow)?)
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(a * b),
        _ => return overload(),
    })
}

fn divide<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            return fails("division by zero");
        }
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_div(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a / b),
        (Value::Double(a), Value::Double(b)) => Value::Double(a / b),
        _ => return overload(),
    })
}

fn modulo<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            return fails("modulus by zero");
        }
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_rem(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a % b),
        _ => return overload(),
    })
}

fn negate<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(match &args[0] {
        Value::Int(value) => Value::Int(value.checked_neg().ok_or_else(overflow)?),
        Value::Double(value) => Value::Double(-value),
        _ => return overload(),
    })
}

fn among<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[1] {
        Value::List(list) => Ok(Value::Bool(list.contains(&args[0]))),
        Value::Map(map) => {
            let found = args[0].key().and_then(|key| map.get(&key));
            Ok(Value::Bool(found.is_some()))
        }
        _ => overload(),
    }
}

fn size<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)) => {
            Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
        }
        _ => fails("no such overload: size"),
    }
}
