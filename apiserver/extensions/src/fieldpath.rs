//! Paths written by users that must lead to a field of a schema, as in `.spec.mode` or `.labels['a.b']`.

use crate::props::{Additional, Props};
use kubeplane_core::field::Path;

/// Follows a path through a schema; with `brackets` also `['name']`.
///
/// # Errors
/// In words, when it leads nowhere.
pub(crate) fn resolve<'a>(
    text: &str,
    schema: &'a Props,
    brackets: bool,
) -> Result<(Path, &'a Props), String> {
    let (mut path, mut schema) = (Path::root(), schema);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name;
        match first {
            '.' => {
                let after = &rest[1..];
                let end = after.find(['.', '[', ']']).unwrap_or(after.len());
                if end == 0 {
                    return Err(match after {
                        "" => "unexpected end of JSON path".to_owned(),
                        _ => "does not refer to a valid field".to_owned(),
                    });
                }
                name = after[..end].to_owned();
                rest = &after[end..];
            }
            '[' if !brackets => return Err("array notation is not allowed".to_owned()),
            '[' => (name, rest) = quoted(&rest[1..])?,
            _ => {
                let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
                return Err(format!("expected [ or . but got: {}", &rest[..end]));
            }
        }
        (path, schema) = step(&path, schema, &name)?;
    }
    Ok((path, schema))
}

fn step<'a>(path: &Path, schema: &'a Props, name: &str) -> Result<(Path, &'a Props), String> {
    let nowhere = || "does not refer to a valid field".to_owned();
    if !schema.properties.is_empty() {
        return Ok((path.child(name), schema.properties.get(name).ok_or_else(nowhere)?));
    }
    let values = schema.additional.as_ref().and_then(Additional::schema).ok_or_else(nowhere)?;
    Ok((path.key(name), values))
}

/// What is behind an opening bracket: a name in single quotes and the closing bracket.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let Some(inner) = text.strip_prefix('\'') else {
        let end = text.find(['.', '[', ']']).unwrap_or(text.len());
        return Err(format!("expected single quoted string but got {}", &text[..end]));
    };
    let mut name = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => {
                let rest = &inner[at + 1..];
                return match rest.strip_prefix(']') {
                    Some(rest) => Ok((name, rest)),
                    None if rest.is_empty() => Err("unexpected end of JSON path".to_owned()),
                    None => Err(format!("expected ] but got {rest}")),
                };
            }
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('a') => name.push('\u{7}'),
                Some('b') => name.push('\u{8}'),
                Some('f') => name.push('\u{c}'),
                Some('n') => name.push('\n'),
                Some('r') => name.push('\r'),
                Some('t') => name.push('\t'),
                Some('v') => name.push('\u{b}'),
                Some(c @ ('\'' | '\\')) => name.push(c),
                other => {
                    let escape: String = other.into_iter().collect();
                    return Err(format!("invalid string literal: invalid escape char \\{escape}"));
                }
            },
            c => name.push(c),
        }
    }
    Err("unexpected end of JSON path".to_owned())
}
