//! Amounts, and the functions that versions have too.

use super::{Function, Out, fails, overload, semver, text};
use crate::{
    fault::Fault,
    value::{Extra, Value},
};
use kubeplane_core::quantity::{Format, Quantity};
use std::{cmp::Ordering, sync::Arc};

pub(super) fn named(name: &str, _form: &str) -> Option<Function> {
    Some(match name {
        "quantity" => |args| match Quantity::parse(text(args, 0)?) {
            Ok(quantity) => Ok(made(quantity)),
            Err(error) => fails(error.to_string()),
        },
        "isQuantity" => |args| Ok(Value::Bool(Quantity::parse(text(args, 0)?).is_ok())),
        "asApproximateFloat" => |args| Ok(Value::Double(quantity(args, 0)?.as_f64())),
        "isInteger" => |args| Ok(Value::Bool(quantity(args, 0)?.as_i64().is_some())),
        "asInteger" => |args| match quantity(args, 0)?.as_i64() {
            Some(value) => Ok(Value::Int(value)),
            None => fails("cannot convert value to integer"),
        },
        "sign" => |args| Ok(Value::Int(i64::from(quantity(args, 0)?.sign()))),
        "add" => |args| changed(args, Quantity::add),
        "sub" => |args| changed(args, Quantity::sub),
        "isGreaterThan" => |args| Ok(Value::Bool(compared(args)? == Ordering::Greater)),
        "isLessThan" => |args| Ok(Value::Bool(compared(args)? == Ordering::Less)),
        "compareTo" => |args| Ok(Value::Int(compared(args)? as i64)),
        _ => return None,
    })
}

fn made<'a>(quantity: Quantity) -> Value<'a> {
    Value::Extra(Extra::Quantity(Arc::new(quantity)))
}

fn quantity<'v>(args: &'v [Value<'_>], index: usize) -> Result<&'v Quantity, Fault> {
    match args.get(index) {
        Some(Value::Extra(Extra::Quantity(quantity))) => Ok(quantity),
        _ => overload(),
    }
}

fn changed<'a>(args: &[Value<'a>], change: fn(&mut Quantity, &Quantity)) -> Out<'a> {
    let mut result = quantity(args, 0)?.clone();
    match &args[1] {
        Value::Int(value) => change(&mut result, &Quantity::new(*value, Format::DecimalExponent)),
        _ => change(&mut result, quantity(args, 1)?),
    }
    Ok(made(result))
}

fn compared(args: &[Value<'_>]) -> Result<Ordering, Fault> {
    match args {
        [Value::Extra(Extra::Semver(a)), Value::Extra(Extra::Semver(b))] => {
            Ok(semver::Version::precedence(a, b))
        }
        _ => Ok(quantity(args, 0)?.cmp(quantity(args, 1)?)),
    }
}
