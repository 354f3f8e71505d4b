use crate::{
    shape::Shape,
    value::{Key, Text, Value},
};
use serde_json::{Map, Value as Json};

/// A value that expressions see or come to; it borrows from the JSON it is about.
#[derive(Debug, Clone)]
pub struct Bound<'a>(pub(crate) Value<'a>);

impl<'a> Bound<'a> {
    /// A value without a shape.
    #[must_use]
    pub fn plain(value: &'a Json) -> Self {
        Self(Value::plain(value))
    }

    /// An object without a shape.
    #[must_use]
    pub fn object(map: &'a Map<String, Json>) -> Self {
        Self(Value::Map(crate::value::Map::Json(map, None)))
    }

    /// What fails where it is used, with these words.
    #[must_use]
    pub fn failed(why: String) -> Self {
        Self(Value::Failed(why.into()))
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Value::Null)
    }

    /// `optional.of` of this value.
    #[must_use]
    pub fn optional(self) -> Self {
        Self(self.0.some())
    }

    /// `optional.none()`.
    #[must_use]
    pub fn none() -> Self {
        Self(Value::Optional(None))
    }

    /// A map of values by name.
    #[must_use]
    pub fn map<'n>(entries: impl IntoIterator<Item = (&'n str, Self)>) -> Self {
        let entries = entries.into_iter();
        let entries = entries.map(|(name, value)| (Key::Text(Text::Shared(name.into())), value.0));
        Self(crate::library::map_of(entries.collect()))
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match &self.0 {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.0, Value::Null)
    }

    /// The name of its type, as in `list`.
    #[must_use]
    pub fn type_name(&self) -> String {
        self.0.type_of().name().to_owned()
    }

    /// The value as JSON; `None` for what has no such form, as a type.
    #[must_use]
    pub fn to_json(&self) -> Option<Json> {
        self.0.to_json()
    }

    /// The objects in it whose names are not those of the fields they stand in, in the original's words and one on a line:
    /// in an `Object.spec` the field `template` holds an `Object.spec.template`. Lists and maps between them have no names. Of
    /// a list of JSON patches, those of the first that has any.
    #[must_use]
    pub fn misnamed(&self) -> Option<String> {
        match &self.0 {
            Value::List(patches) => patches.iter().find_map(|patch| match patch {
                Value::Map(patch) => misnamed(&patch.field("value")?),
                _ => None,
            }),
            value => misnamed(value),
        }
    }

    /// The same without what it borrows.
    #[must_use]
    pub fn owned(&self) -> Bound<'static> {
        Bound(self.0.owned())
    }
}

/// What is misnamed in an object, by its own name.
fn misnamed(value: &Value<'_>) -> Option<String> {
    let Value::Map(map) = value else { return None };
    let mut found = Vec::new();
    compare(value, map.made_as()?, &mut found);
    (!found.is_empty()).then(|| found.join("\n"))
}

fn compare(value: &Value<'_>, wanted: &str, found: &mut Vec<String>) {
    match value {
        Value::Map(map) => {
            let name = map.made_as();
            if let Some(name) = name.filter(|name| ***name != *wanted) {
                found.push(format!(
                    "unexpected type name {name:?}, expected {wanted:?}, which matches field name path from root Object \
                     type"
                ));
            }
            for (key, below) in map.entries() {
                match name {
                    Some(_) => compare(&below, &format!("{wanted}.{}", key.to_text()), found),
                    None => compare(&below, wanted, found),
                }
            }
        }
        Value::List(list) => list.iter().for_each(|item| compare(&item, wanted, found)),
        _ => {}
    }
}

impl Shape {
    /// The value as expressions see it: fields under their escaped names, times and durations as such.
    #[must_use]
    pub fn bind<'a>(&'a self, value: &'a Json) -> Bound<'a> {
        Bound(Value::shaped(value, Some(self)))
    }

    /// An object as expressions see it.
    #[must_use]
    pub fn bind_object<'a>(&'a self, map: &'a Map<String, Json>) -> Bound<'a> {
        Bound(Value::Map(crate::value::Map::Json(map, Some(self))))
    }
}
