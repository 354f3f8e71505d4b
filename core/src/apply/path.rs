//! Steps to a field: `f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`.

use crate::schema::Text;
use serde_json::{Map, Number, Value};
use std::{borrow::Cow, cmp::Ordering, fmt};

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// The field or map entry of this name.
    Field(Text),
    /// The list item whose keys have these values, sorted by name.
    Key(Vec<(Text, Scalar)>),
    /// The item of a set.
    Value(Scalar),
    /// The item at this index.
    Index(i64),
}

/// The value of a key or of a set's item.
#[derive(Debug, Clone)]
pub enum Scalar {
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// A truth value.
    Bool(bool),
    /// Anything else, as JSON text; no list that follows the rules has such keys.
    Other(String),
}

impl From<&Value> for Scalar {
    fn from(value: &Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::String(text.clone()),
            Value::Bool(truth) => Self::Bool(*truth),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Scalar {
    fn rank(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::String(_) => 1,
            Self::Bool(_) => 2,
            Self::Other(_) => 3,
        }
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::String(text) => quote(out, text),
            Self::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Self::Other(json) => out.push_str(json),
        }
    }
}

/// Whether a text is its own JSON, but for the quotes.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|c| c >= b' ' && !matches!(c, b'"' | b'\\'))
}

/// Writes a text as JSON.
pub(super) fn quote(out: &mut String, text: &str) {
    if is_plain(text) {
        out.extend(["\"", text, "\""]);
    } else {
        // A text is always JSON.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// Whole numbers and fractions compare by value.
pub(super) fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => {
            let (left, right) = (left.as_f64(), right.as_f64());
            left.unwrap_or_default().total_cmp(&right.unwrap_or_default())
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => compare_numbers(left, right),
            (Self::String(left), Self::String(right)) => left.cmp(right),
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Other(left), Self::Other(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

impl PathElement {
    /// A field by name.
    #[must_use]
    pub fn field(name: impl Into<Text>) -> Self {
        Self::Field(name.into())
    }

    /// As a key of a FieldsV1 map.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let mut out = String::from("k:{");
                for (index, (name, value)) in keys.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    quote(&mut out, name);
                    out.push(':');
                    value.write_json(&mut out);
                }
                out.push('}');
                out
            }
            Self::Value(value) => {
                let mut out = String::from("v:");
                value.write_json(&mut out);
                out
            }
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads a key of a FieldsV1 map; `None` for kinds of steps not known here.
    ///
    /// # Errors
    /// In words, when it is no such key.
    pub fn decode(text: &str) -> Result<Option<Self>, String> {
        let bytes = text.as_bytes();
        if bytes.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if bytes[1] != b':' {
            return Err(format!("missing colon: {text}"));
        }
        let rest = &text[2..];
        let parsed = match bytes[0] {
            b'f' => Self::Field(Cow::Owned(rest.to_owned())),
            b'v' => {
                let value: Value = serde_json::from_str(rest).map_err(|error| error.to_string())?;
                Self::Value(Scalar::from(&value))
            }
            b'k' => {
                let keys: Map<String, Value> =
                    serde_json::from_str(rest).map_err(|error| error.to_string())?;
                let mut keys: Vec<_> = keys
                    .iter()
                    .map(|(name, value)| (Cow::Owned(name.clone()), Scalar::from(value)))
                    .collect();
                keys.sort();
                Self::Key(keys)
            }
            b'i' => Self::Index(
                rest.parse()
                    .map_err(|_| format!("strconv.Atoi: parsing {rest:?}: invalid syntax"))?,
            ),
            _ => return Ok(None),
        };
        Ok(Some(parsed))
    }
}

/// As in messages: `.spec`, `[name="x"]`, `[="x"]`, `[0]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                f.write_str("[")?;
                for (index, (name, value)) in keys.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => write!(f, "{text:?}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Other(json) => f.write_str(json),
        }
    }
}
