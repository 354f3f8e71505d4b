//! The functions of URLs.

mod parse;

use super::{Function, Out, fails, map_of, overload, text};
use crate::{
    fault::Fault,
    value::{Extra, Key, Text, Value},
};
use parse::{Mode, lossy, unescaped};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) use parse::{Url, check};

/// How many parts a query may have; of one with more nothing is read.
const MOST_PARTS: usize = 10_000;

/// Whether Go's `url.ParseRequestURI` takes a text: a URL with a scheme, or an absolute path.
#[must_use]
pub fn is_request_uri(text: &str) -> bool {
    check(text).is_ok()
}

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "url" => |args| match Url::parse(text(args, 0)?) {
            Ok(url) => Ok(Value::Extra(Extra::Url(Arc::new(url)))),
            Err(why) => fails(format!("URL parse error during conversion from string: {why}")),
        },
        "isURL" => |args| Ok(Value::Bool(check(text(args, 0)?).is_ok())),
        "getScheme" => |args| Ok(url(args)?.scheme().to_owned().into()),
        "getHost" => |args| Ok(url(args)?.host().to_owned().into()),
        "getHostname" => |args| Ok(url(args)?.host_and_port().0.to_owned().into()),
        "getPort" => |args| Ok(url(args)?.host_and_port().1.to_owned().into()),
        "getEscapedPath" => |args| Ok(url(args)?.path().to_owned().into()),
        "getQuery" => query,
        _ => return None,
    })
}

fn url<'v>(args: &'v [Value<'_>]) -> Result<&'v Url, Fault> {
    match args.first() {
        Some(Value::Extra(Extra::Url(url))) => Ok(url),
        _ => overload(),
    }
}

fn query<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut found: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    let parts: Vec<&str> = url(args)?.query().split('&').collect();
    let read = parts.len() <= MOST_PARTS;
    for part in parts.into_iter().filter(|part| read && !part.is_empty() && !part.contains(';')) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let plain = |text: &str| unescaped(text, Mode::Query).map(|bytes| lossy(&bytes));
        let (Ok(key), Ok(value)) = (plain(key), plain(value)) else { continue };
        found.entry(key).or_default().push(value.into());
    }
    let entries = found.into_iter();
    Ok(map_of(
        entries.map(|(key, values)| (Key::Text(Text::Shared(key.into())), values.into())).collect(),
    ))
}

#[cfg(test)]
mod tests;
