//! The functions that expressions can call.

pub(crate) mod convert;
pub(crate) mod format;
mod lists;
pub(crate) mod named;
pub(crate) mod net;
mod operators;
mod optional;
mod quantity;
pub(crate) mod regex;
pub(crate) mod semver;
mod strings;
mod times;
pub(crate) mod url;

use crate::{
    authorizer,
    fault::Fault,
    value::{Key, Map, Value},
};
use ::base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{collections::BTreeMap, sync::Arc};

/// A function: values in, a value out.
pub(crate) type Function = for<'a> fn(&[Value<'a>]) -> Out<'a>;
pub(crate) type Out<'a> = Result<Value<'a>, Fault>;

/// The function of a name, in a form if it is known which.
pub(crate) fn function(name: &str, form: &str) -> Option<Function> {
    operators::named(name)
        .or_else(|| convert::named(name))
        .or_else(|| strings::named(name))
        .or_else(|| lists::named(name))
        .or_else(|| optional::named(name))
        .or_else(|| times::named(name))
        .or_else(|| regex::named(name))
        .or_else(|| url::named(name))
        .or_else(|| net::named(name))
        .or_else(|| quantity::named(name, form))
        .or_else(|| semver::named(name))
        .or_else(|| named::named(name))
        .or_else(|| authorizer::named(name))
}

/// Functions that turn a value into one of another type, done at once for constants.
pub(crate) fn is_conversion(name: &str) -> bool {
    matches!(
        name,
        "bool"
            | "bytes"
            | "double"
            | "duration"
            | "dyn"
            | "int"
            | "string"
            | "timestamp"
            | "type"
            | "uint"
    )
}

pub(crate) fn map_of<'a>(entries: Vec<(Key<'a>, Value<'a>)>) -> Value<'a> {
    let map: BTreeMap<_, _> = entries.into_iter().collect();
    Value::Map(Map::Shared(Arc::new(map), None))
}

/// Standard base64 with padding.
pub(crate) fn base64(text: &str) -> Option<Arc<[u8]>> {
    STANDARD.decode(text).ok().map(Into::into)
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn overload<T>() -> Result<T, Fault> {
    Err(Fault::overload())
}

fn fails<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(why))
}

/// The text that an argument is.
fn text<'v>(args: &'v [Value<'_>], index: usize) -> Result<&'v str, Fault> {
    match args.get(index) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => overload(),
    }
}

fn int(args: &[Value<'_>], index: usize) -> Result<i64, Fault> {
    match args.get(index) {
        Some(Value::Int(value)) => Ok(*value),
        _ => overload(),
    }
}
