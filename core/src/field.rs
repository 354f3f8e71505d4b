//! Errors about one field of an object, and the paths that name it.

mod diff;
mod internal;
mod order;

pub use diff::internal_diff;
pub use internal::show_as_internal;

use serde_json::Value;
use std::fmt;

/// The path to a field, printed as the original does: `spec.containers[0].image`, `data[key]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(String);

impl Path {
    /// The object itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A path of one name, or of several joined by dots.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// A field below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A value of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// As printed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    /// The original prints the empty path as `<nil>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field; [`ErrorKind::reason`] is its name in a Status cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A reference to something that is not there.
    NotFound,
    /// No value where one is needed.
    Required,
    /// A value that must be unique is not.
    Duplicate,
    /// Malformed, or not allowed here.
    Invalid,
    /// Not one of a fixed set of values.
    NotSupported,
    /// The field may not be set, or not be changed.
    Forbidden,
    /// Too long a value.
    TooLong,
    /// Too many items.
    TooMany,
    /// Something failed that is no fault of the value.
    InternalError,
    /// The value has the wrong type.
    TypeInvalid,
}

impl ErrorKind {
    /// The machine-readable reason of a Status cause.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::InternalError => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::InternalError => "Internal error",
        }
    }
}

/// Stands in [`Error::value`] for a value that is not to be printed, as those of whole objects.
pub const OMITTED: &str = "\u{0}";

/// A value for [`Error::value`] that is printed exactly like this.
#[must_use]
pub fn verbatim(text: &str) -> Value {
    Value::String(format!("{OMITTED}{text}"))
}

/// One error about one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where.
    pub path: Path,
    /// The value found; printed for most kinds.
    pub value: Value,
    /// In words.
    pub detail: String,
}

/// Errors in the order they were found.
pub type Errors = Vec<Error>;

/// All in one line, as the original prints its aggregates: one plain, several in brackets and each once; `None` for none.
#[must_use]
pub fn aggregate(errors: &[Error]) -> Option<String> {
    let mut said: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !said.contains(&text) {
            said.push(text);
        }
    }
    match &said[..] {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

impl Error {
    fn new(
        kind: ErrorKind,
        path: &Path,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, path: path.clone(), value: value.into(), detail: detail.into() }
    }

    /// A value is needed here.
    #[must_use]
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, "", detail)
    }

    /// The value is malformed or not allowed.
    #[must_use]
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, value, detail)
    }

    /// The value has the wrong type.
    #[must_use]
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::TypeInvalid, path, value, detail)
    }

    /// The value must be unique.
    #[must_use]
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::Duplicate, path, value, "")
    }

    /// The value names something that is not there.
    #[must_use]
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::NotFound, path, value, "")
    }

    /// The value is none of `supported`, which are printed sorted.
    #[must_use]
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let mut names: Vec<_> = supported.iter().map(|name| format!("{name:?}")).collect();
        names.sort();
        let detail = if names.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", names.join(", "))
        };
        Self::new(ErrorKind::NotSupported, path, value, detail)
    }

    /// The field may not be set or changed.
    #[must_use]
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, path, "", detail)
    }

    /// The value is longer than `limit` bytes.
    #[must_use]
    pub fn too_long(path: &Path, limit: usize) -> Self {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        Self::new(ErrorKind::TooLong, path, "", format!("may not be more than {limit} {unit}"))
    }

    /// The list or map has `actual` items, more than `limit`.
    #[must_use]
    pub fn too_many(path: &Path, actual: usize, limit: usize) -> Self {
        let unit = if limit == 1 { "item" } else { "items" };
        Self::new(ErrorKind::TooMany, path, actual, format!("must have at most {limit} {unit}"))
    }

    /// Something failed that is no fault of the value.
    #[must_use]
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::InternalError, path, "", detail)
    }

    /// The error without its path, as in the message of a Status cause.
    #[must_use]
    pub fn body(&self) -> String {
        let text = self.kind.text();
        let mut body = match self.kind {
            ErrorKind::Required
            | ErrorKind::Forbidden
            | ErrorKind::TooLong
            | ErrorKind::InternalError => text.to_owned(),
            _ if self.value == OMITTED => text.to_owned(),
            _ => format!("{text}: {}", printed(&self.value)),
        };
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Strings are quoted, `null` prints as the original's `null`, everything else as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => match text.strip_prefix(OMITTED) {
            Some(text) => text.to_owned(),
            None => go_quote(text),
        },
        other => go_json(other),
    }
}

/// JSON as Go writes it: fit for HTML.
fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&']) {
        return text;
    }
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Quotes a string as Go's `%q` does for the characters JSON and Go agree on, and the few they do not.
#[must_use]
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
