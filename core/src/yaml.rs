//! YAML as Kubernetes reads it: YAML 1.1 scalars, the first document, keys as text, bounded expansion.

mod words;

use serde_json::Value;
use serde_saphyr::{Error, Options, options::DuplicateKeyPolicy};

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("yaml: {0}")]
pub struct YamlError(String);

impl YamlError {
    /// Of a text that the parser refused.
    fn of(text: &[u8], error: &Error) -> Self {
        Self(words::told(text, error))
    }
}

/// How deep aliases may nest and how much they may expand to, over the whole document.
const MAX_REPLAYED: usize = 100_000;

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
    }
}

fn with_policy(text: &[u8], policy: DuplicateKeyPolicy) -> Result<Value, Error> {
    match serde_saphyr::from_slice_with_options(text, options(policy)) {
        Err(error) if matches!(error.without_snippet(), Error::MultipleDocuments { .. }) => {
            serde_saphyr::from_slice_with_options(first_document(text), options(policy))
        }
        parsed => parsed,
    }
}

/// The text up to the mark that begins a second document.
fn first_document(text: &[u8]) -> &[u8] {
    let (mut at, mut begun) = (0, false);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"---") && begun {
            return &text[..at];
        }
        begun |=
            !line.trim_ascii().is_empty() && !line.starts_with(b"#") && line.trim_ascii() != b"---";
        at += line.len();
    }
    text
}

/// Parses YAML; of a key given twice the last value counts.
///
/// # Errors
/// When it is no YAML, or expands beyond bounds.
pub fn parse(text: &[u8]) -> Result<Value, YamlError> {
    // Most of what comes as YAML is JSON.
    if text.first() == Some(&b'{')
        && let Ok(value) = serde_json::from_slice(text)
    {
        return Ok(value);
    }
    with_policy(text, DuplicateKeyPolicy::LastWins).map_err(|error| YamlError::of(text, &error))
}

/// Parses YAML as [`parse`] does, and names a key given twice.
///
/// # Errors
/// As [`parse`].
pub fn parse_reporting_duplicates(text: &[u8]) -> Result<(Value, Vec<String>), YamlError> {
    match with_policy(text, DuplicateKeyPolicy::Error) {
        Ok(value) => Ok((value, Vec::new())),
        Err(strict) => {
            let value = parse(text)?;
            Ok((value, duplicate(&strict).into_iter().collect()))
        }
    }
}

fn duplicate(error: &Error) -> Option<String> {
    let Error::DuplicateMappingKey { key, location } = error.without_snippet() else {
        return None;
    };
    let (line, key) = (location.line(), key.as_deref().unwrap_or_default());
    Some(format!(
        "error converting YAML to JSON: yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map"
    ))
}

/// Prints YAML.
///
/// # Errors
/// When the value cannot be written, which no JSON value is known to cause.
pub fn print(value: &Value) -> Result<String, YamlError> {
    serde_saphyr::to_string(value).map_err(|error| YamlError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_yaml_1_1() {
        let value =
            parse(b"a: yes\nb: 0644\nc: '1'\nd: 1.5\n1: x\ne: ~\nf: [on, \"on\"]\ng: 0o17\n")
                .unwrap();
        assert_eq!(
            value,
            json!({"a": true, "b": 420, "c": "1", "d": 1.5, "1": "x", "e": null, "f": [true, "on"], "g": 15})
        );
    }

    #[test]
    fn says_what_is_no_yaml() {
        for (text, want) in [
            ("a: [", "yaml: line 1: did not find expected node content"),
            ("a: b: c", "yaml: mapping values are not allowed in this context"),
            ("a: 1\nb: c: d\n", "yaml: line 2: mapping values are not allowed in this context"),
            ("a:\n\tb: 1\n", "yaml: line 2: found character that cannot start any token"),
            ("a: [b", "yaml: line 1: did not find expected ',' or ']'"),
            ("x: 1\na: {b: 1\n", "yaml: line 2: did not find expected ',' or '}'"),
            ("x: 1\na: {b: 1,\n", "yaml: line 2: did not find expected node content"),
            ("x: 1\na: [b\nc: 3\n", "yaml: line 2: did not find expected ',' or ']'"),
            ("x: 1\na: [{b: 1]\n", "yaml: line 1: did not find expected ',' or '}'"),
            ("{a: [}", "yaml: did not find expected node content"),
            ("x: 1\na: ]\n", "yaml: line 1: did not find expected node content"),
            ("y: 1\nx: [a]]\n", "yaml: line 1: did not find expected key"),
            ("x: 1\na: 'x", "yaml: line 2: found unexpected end of stream"),
            ("a: \"x\nb: 2\n", "yaml: line 3: found unexpected end of stream"),
            ("x: 1\na: @b\n", "yaml: line 2: found character that cannot start any token"),
            ("x: 1\na: *y\n", "yaml: unknown anchor 'y' referenced"),
            ("x: 1\nab\ny: 2\n", "yaml: line 3: could not find expected ':'"),
            ("x: 1\ny: \"a\" b\n", "yaml: line 1: did not find expected key"),
            (
                "y: 1\nx: & a\n",
                "yaml: line 2: did not find expected alphabetic or numeric character",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), want, "{text}");
        }
    }

    #[test]
    fn reads_the_first_document() {
        for text in ["a: 1\n---\na: 2\n", "---\na: 1\n---\na: 2\n---\na: 3\n"] {
            assert_eq!(parse(text.as_bytes()).unwrap(), json!({"a": 1}), "{text}");
        }
    }

    #[test]
    fn names_duplicates() {
        let (value, found) = parse_reporting_duplicates(b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(value, json!({"a": 3, "b": 2}));
        assert_eq!(
            found,
            [
                "error converting YAML to JSON: yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"
            ]
        );
    }

    #[test]
    fn refuses_bombs() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let below = format!("*a{},", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(',')));
        }
        assert!(parse(text.as_bytes()).is_err());
    }

    #[test]
    fn prints_what_it_reads() {
        let value = json!({"a": "yes", "b": [1, {"c": "0644"}], "d": "x\ny\n", "e": {}});
        assert_eq!(parse(print(&value).unwrap().as_bytes()).unwrap(), value);
    }
}
