/// Words that cannot be identifiers.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether no variable can have this name, for the language keeps it for itself.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The name of a field in an expression: `__dot__` and the like for what an identifier cannot hold. `None` when
/// there is no such form, so that the field cannot be reached.
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    let first = name.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out.push_str("__underscores__");
            rest = after;
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(out)
}

/// The field behind a name that [`escape`] gave.
#[must_use]
pub fn unescape(name: &str) -> String {
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = inner.filter(|word| is_reserved(word)) {
        return word.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let long =
            [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
        let found = long.into_iter().find(|(long, _)| rest.starts_with(long));
        let (taken, put) = found
            .map_or((c.len_utf8(), &rest[..c.len_utf8()]), |(long, short)| (long.len(), short));
        out.push_str(put);
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn identifiers_become_names() {
        for name in ["a_b", "a__b", "x-prop.y/z", "namespace", "plain"] {
            assert_eq!(unescape(&escape(name).unwrap()), name);
        }
    }

    #[test]
    fn names_become_identifiers() {
        let escaped = |name| escape(name).unwrap();
        assert_eq!(escaped("a_b"), "a_b");
        assert_eq!(escaped("a__b"), "a__underscores__b");
        assert_eq!(escaped("x-prop.y/z"), "x__dash__prop__dot__y__slash__z");
        assert_eq!(escaped("namespace"), "__namespace__");
        assert_eq!(escaped("struct"), "struct");
        assert_eq!(escaped("-x"), "__dash__x");
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("a b"), None);
    }
}
