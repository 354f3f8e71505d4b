//! Patterns: those of Go's `regexp`.

mod syntax;

pub use syntax::go_pattern;

use super::{Function, Out, int, text};
use crate::{fault::Fault, value::Value};
use ::regex::{Regex, RegexBuilder};

/// The largest program of a pattern, in bytes.
const LARGEST: usize = 1 << 20;

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "matches" => |args| with("matches", &compiled(text(args, 1)?)?, args),
        "find" => |args| with("find", &compiled(text(args, 1)?)?, args),
        "findAll" => |args| with("findAll", &compiled(text(args, 1)?)?, args),
        _ => return None,
    })
}

/// Calls the function of this name with its pattern ready.
pub(crate) fn with<'a>(name: &str, pattern: &Regex, args: &[Value<'a>]) -> Out<'a> {
    let on = text(args, 0)?;
    Ok(match name {
        "matches" => Value::Bool(pattern.is_match(on)),
        "find" => pattern.find(on).map_or("", |found| found.as_str()).to_owned().into(),
        _ => {
            let most = if args.len() > 2 { int(args, 2)? } else { -1 };
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let parts = pattern.find_iter(on).take(most);
            parts.map(|part| part.as_str().to_owned().into()).collect::<Vec<Value<'a>>>().into()
        }
    })
}

/// A pattern that is ready.
pub(crate) fn compiled(pattern: &str) -> Result<Regex, Fault> {
    let made = RegexBuilder::new(&go_pattern(pattern)).size_limit(LARGEST).build();
    made.map_err(|error| Fault::new(go_words(pattern, &error)))
}

/// Why a pattern is none, as Go says it.
#[must_use]
pub fn go_words(source: &str, error: &::regex::Error) -> String {
    let said = error.to_string();
    let from = |start: &str| source.find(start).map_or(source, |at| &source[at..]);
    let (what, part) = if said.contains("unclosed group") {
        ("missing closing )", source)
    } else if said.contains("unopened group") {
        ("unexpected )", source)
    } else if said.contains("unclosed character class") {
        ("missing closing ]", from("["))
    } else if said.contains("look-around") {
        let at = ["(?=", "(?!", "(?<"].iter().find_map(|start| source.find(start)).unwrap_or(0);
        ("invalid or unsupported Perl syntax", source.get(at..at + 3).unwrap_or(source))
    } else if said.contains("repetition operator missing expression") {
        let at = source.find(['*', '+', '?', '{']).unwrap_or(0);
        ("missing argument to repetition operator", source.get(at..=at).unwrap_or(source))
    } else {
        return said;
    };
    format!("error parsing regexp: {what}: `{part}`")
}
