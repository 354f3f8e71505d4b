//! JSON as the original writes and reads it in annotations: fields in the order of its types, names of any case.

use serde_json::{Map, Value};

/// A value about to be written; the fields of maps keep their order.
pub(super) enum Text {
    Null,
    Plain(Value),
    List(Vec<Text>),
    /// `None` leaves the field out.
    Fields(Vec<(&'static str, Option<Text>)>),
}

impl Text {
    /// The value, if there is one.
    pub(super) fn some(value: &Value) -> Option<Self> {
        (!value.is_null()).then(|| Self::Plain(value.clone()))
    }

    /// The value, or null.
    pub(super) fn or_null(value: &Value) -> Option<Self> {
        Some(Self::some(value).unwrap_or(Self::Null))
    }

    /// The text, empty if there is none.
    pub(super) fn string(value: &Value) -> Option<Self> {
        Some(Self::Plain(value.as_str().unwrap_or_default().into()))
    }

    /// The amount, zero if there is none.
    pub(super) fn amount(value: &Value) -> Option<Self> {
        Some(Self::some(value).unwrap_or_else(|| Self::Plain("0".into())))
    }

    /// The number, zero if there is none.
    pub(super) fn number(value: &Value) -> Option<Self> {
        Some(Self::Plain(value.as_i64().unwrap_or_default().into()))
    }

    pub(super) fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        // Go keeps these out of pages by default.
        out.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Plain(value) => out.push_str(&value.to_string()),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Fields(fields) => {
                out.push('{');
                let mut first = true;
                for (name, value) in fields {
                    let Some(value) = value else { continue };
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    out.push_str(&format!("\"{name}\":"));
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Reads JSON, with the names of fields as this program writes them.
pub(super) fn read(text: &str, names: &[&str]) -> Option<Value> {
    serde_json::from_str(text).ok().map(|value| named(value, names))
}

fn named(value: Value, names: &[&str]) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(|item| named(item, names)).collect(),
        Value::Object(map) => {
            let renamed = map.into_iter().map(|(key, value)| {
                let known = names.iter().find(|name| name.eq_ignore_ascii_case(&key));
                (known.map_or(key, |name| (*name).to_owned()), named(value, names))
            });
            // Pointers that are null are not there.
            Value::Object(renamed.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
        }
        other => other,
    }
}
