//! YAML as Kubernetes reads it: YAML 1.1 scalars, the first document, keys as text, bounded expansion.

use serde_json::Value;
use serde_saphyr::{Error, Options, options::DuplicateKeyPolicy};

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: yaml: {0}")]
pub struct YamlError(String);

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
    serde_saphyr::from_slice_with_options(text, options(policy))
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
    with_policy(text, DuplicateKeyPolicy::LastWins).map_err(|error| YamlError(error.to_string()))
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
