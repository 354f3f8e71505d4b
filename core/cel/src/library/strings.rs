//! Functions of texts.

use super::{Function, Out, fails, format, int, lists, overload, text};
use crate::{fault::Fault, value::Value};

/// The longest text that is made of others, in bytes: whoever looked at more of it could not pay for that.
pub(super) const LONGEST: usize = 10_000_000;

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "contains" => |args| Ok(Value::Bool(text(args, 0)?.contains(text(args, 1)?))),
        "startsWith" => |args| Ok(Value::Bool(text(args, 0)?.starts_with(text(args, 1)?))),
        "endsWith" => |args| Ok(Value::Bool(text(args, 0)?.ends_with(text(args, 1)?))),
        "charAt" => char_at,
        "indexOf" => |args| position(args, false),
        "lastIndexOf" => |args| position(args, true),
        "join" => join,
        "lowerAscii" => |args| Ok(text(args, 0)?.to_ascii_lowercase().into()),
        "upperAscii" => |args| Ok(text(args, 0)?.to_ascii_uppercase().into()),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "trim" => |args| Ok(text(args, 0)?.trim().to_owned().into()),
        "strings.quote" => quote,
        "format" => |args| format::formatted(text(args, 0)?, args.get(1)),
        "jsonpatch.escapeKey" => {
            |args| Ok(text(args, 0)?.replace('~', "~0").replace('/', "~1").into())
        }
        _ => return None,
    })
}

fn out_of_range<T>(index: i64) -> Result<T, crate::fault::Fault> {
    fails(format!("index out of range: {index}"))
}

/// The characters between two places.
fn part(text: &str, start: i64, end: Option<i64>) -> Result<String, crate::fault::Fault> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(end) = end.filter(|end| start > *end) {
        return fails(format!("invalid substring range. start: {start}, end: {end}"));
    }
    for at in [Some(start), end].into_iter().flatten() {
        if at < 0 || at > length {
            return out_of_range(at);
        }
    }
    let (start, end) = (usize::try_from(start), usize::try_from(end.unwrap_or(length)));
    let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
    Ok(text.chars().skip(start).take(end - start).collect())
}

fn char_at<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (text, index) = (text(args, 0)?, int(args, 1)?);
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if index < 0 || index > length {
        return out_of_range(index);
    }
    Ok(part(text, index, Some((index + 1).min(length)))?.into())
}

fn substring<'a>(args: &[Value<'a>]) -> Out<'a> {
    let end = if args.len() > 2 { Some(int(args, 2)?) } else { None };
    Ok(part(text(args, 0)?, int(args, 1)?, end)?.into())
}

/// Of a text in a text, or of an item in a list.
fn position<'a>(args: &[Value<'a>], last: bool) -> Out<'a> {
    let Value::String(_) = &args[0] else { return lists::position(args, last) };
    let (text, wanted): (Vec<char>, Vec<char>) =
        (text(args, 0)?.chars().collect(), text(args, 1)?.chars().collect());
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let given = if args.len() > 2 { Some(int(args, 2)?) } else { None };
    if wanted.is_empty() {
        return Ok(Value::Int(given.unwrap_or(if last { length } else { 0 })));
    }
    if given.is_none() && text.len() < wanted.len() {
        return Ok(Value::Int(-1));
    }
    let from = given.unwrap_or(if last { length - 1 } else { 0 });
    if from < 0 {
        return out_of_range(from);
    }
    if from >= length || wanted.len() > text.len() {
        return Ok(Value::Int(-1));
    }
    let from = usize::try_from(from).unwrap_or_default();
    let latest = text.len() - wanted.len();
    let is_at = |at: &usize| text[*at..].starts_with(&wanted);
    let found = match last {
        true => (0..=from.min(latest)).rev().find(is_at),
        false => (from..=latest).find(is_at),
    };
    Ok(Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn join<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Value::List(list) = &args[0] else { return overload() };
    let between = if args.len() > 1 { text(args, 1)? } else { "" };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            joined.push_str(between);
        }
        match &item {
            Value::String(text) => joined.push_str(text.as_str()),
            other => {
                let shown = other.to_json().map(|json| json.to_string()).unwrap_or_default();
                return fails(format!("join: invalid input: {shown}"));
            }
        }
        if joined.len() > LONGEST {
            return Err(Fault::Spent);
        }
    }
    Ok(joined.into())
}

fn replace<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (text, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let times = if args.len() > 3 { int(args, 3)? } else { -1 };
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    let more = to.len().saturating_sub(from.len());
    let count = if more > 0 { text.matches(from).take(times).count() } else { 0 };
    if text.len().saturating_add(more.saturating_mul(count)) > LONGEST {
        return Err(Fault::Spent);
    }
    Ok(text.replacen(from, to, times).into())
}

fn split<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (text, between) = (text(args, 0)?, text(args, 1)?);
    let most = if args.len() > 2 { int(args, 2)? } else { -1 };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most == 0 {
        return Ok(Vec::new().into());
    }
    let parts: Vec<Value<'a>> = match between.is_empty() {
        true => {
            let count = text.chars().count();
            let single = if count > most { most - 1 } else { count };
            let mut parts: Vec<String> = text.chars().take(single).map(String::from).collect();
            if count > most {
                parts.push(text.chars().skip(single).collect());
            }
            parts.into_iter().map(Value::from).collect()
        }
        false => text.splitn(most, between).map(|part| part.to_owned().into()).collect(),
    };
    Ok(parts.into())
}

fn quote<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut quoted = String::from("\"");
    for c in text(args, 0)?.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted.into())
}
