use crate::escape::{escape, is_reserved};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The bytes of the largest request, which bounds all that no schema bounds.
pub(crate) const REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// In a schema of an object: expressions name its fields as they are, reserved words too.
pub const PLAIN_NAMES: &str = "x-kubeplane-plain-names";

/// What a schema says of a value, as far as expressions care.
#[derive(Debug, Clone)]
pub struct Shape {
    pub(crate) kind: Kind,
    /// The most characters, items or entries.
    pub(crate) max: u64,
    /// The fewest bytes it takes in JSON.
    pub(crate) min_bytes: u64,
    /// What the order and the keys of a list mean.
    pub(crate) list: ListKind,
}

/// What the order and the keys of a list mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// The order counts.
    #[default]
    Atomic,
    /// It does not.
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Not known before it is there (int-or-string).
    Dyn,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Shape>),
    Map(Arc<Shape>),
    Object(Properties),
}

/// The fields of an object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties(BTreeMap<String, Property>);

impl Properties {
    /// A field by its name in JSON.
    pub(crate) fn get(&self, name: &str) -> Option<&Property> {
        self.0.get(name)
    }

    /// A field by its name in expressions.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Property> {
        self.entry(name).map(|(_, property)| property)
    }

    /// A field and its name in JSON by its name in expressions.
    pub(crate) fn entry(&self, name: &str) -> Option<(&str, &Property)> {
        let is_it = |found: &(&String, &Property)| match &found.1.escaped {
            // Words of the language need no escape behind a dot.
            Some(escaped) => **escaped == *name || found.0 == name && is_reserved(name),
            None => found.0 == name,
        };
        let same = self.0.get_key_value(name).filter(is_it);
        let found = match same {
            Some(found) => Some(found),
            // Only escaped names have two underscores.
            None if name.contains("__") => self.0.iter().find(is_it),
            None => None,
        };
        found.map(|(name, property)| (name.as_str(), property))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Property {
    /// The name in expressions, where it is another.
    escaped: Option<Box<str>>,
    pub(crate) shape: Arc<Shape>,
}

impl Shape {
    /// The shape of a JSONSchemaProps. A `resource` has `apiVersion`, `kind` and the name in `metadata` without
    /// saying so. `None` for values of unknown type, which expressions cannot reach.
    #[must_use]
    pub fn of_schema(schema: &Value, resource: bool) -> Option<Self> {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
        if flag("x-kubernetes-int-or-string") {
            let max = bound(schema, "maxLength").map_or(REQUEST_BYTES - 2, bytes);
            return Some(Self::plain(Kind::Dyn, max, 1));
        }
        match schema.get("type").and_then(Value::as_str)? {
            "array" => Self::list(schema),
            "object" => Self::object(schema, resource || flag("x-kubernetes-embedded-resource")),
            "string" => Some(Self::string(schema)),
            "boolean" => Some(Self::plain(Kind::Bool, 1, 4)),
            "number" => Some(Self::plain(Kind::Double, 1, 1)),
            "integer" => Some(Self::plain(Kind::Int, 1, 1)),
            _ => None,
        }
    }

    fn plain(kind: Kind, max: u64, min_bytes: u64) -> Self {
        Self { kind, max, min_bytes, list: ListKind::Atomic }
    }

    fn list(schema: &Value) -> Option<Self> {
        let items = Self::of_schema(schema.get("items")?, false)?;
        let unbounded = (REQUEST_BYTES - 2) / (items.min_bytes + 1);
        let max = bound(schema, "maxItems").unwrap_or(unbounded);
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let keys = keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let list = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => ListKind::Set,
            Some("map") => ListKind::Map(keys.collect()),
            _ => ListKind::Atomic,
        };
        Some(Self { kind: Kind::List(Arc::new(items)), max, min_bytes: 2, list })
    }

    /// Whether a schema says of what type its values are: [`of_schema`](Self::of_schema) makes a shape of it.
    #[must_use]
    pub fn is_known(schema: &Value) -> bool {
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            return true;
        }
        let below = |key: &str| schema.get(key).filter(|below| below.is_object());
        match schema.get("type").and_then(Value::as_str) {
            Some("array") => below("items").is_some_and(Self::is_known),
            Some("object") => below("additionalProperties").is_none_or(Self::is_known),
            Some("string" | "boolean" | "number" | "integer") => true,
            _ => false,
        }
    }

    fn object(schema: &Value, resource: bool) -> Option<Self> {
        let additional =
            schema.get("additionalProperties").filter(|additional| additional.is_object());
        if let Some(values) = additional {
            // Of values of unknown type nothing is known of the map either.
            let values = Self::of_schema(values, false)?;
            // A key takes two bytes and its quotes, an entry a colon and a comma.
            let unbounded = (REQUEST_BYTES - 2) / (values.min_bytes + 6);
            let max = bound(schema, "maxProperties").unwrap_or(unbounded);
            return Some(Self::plain(Kind::Map(Arc::new(values)), max, 2));
        }
        let empty = Map::new();
        let declared = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let mut properties = declared.clone();
        if resource && !says_what_it_is(declared) {
            let text = json!({"type": "string"});
            properties.insert("apiVersion".into(), text.clone());
            properties.insert("kind".into(), text.clone());
            let names = json!({"name": text, "generateName": text});
            properties.insert("metadata".into(), json!({"type": "object", "properties": names}));
        }
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|list| list.iter().any(|item| item == name));
        let schema_is_plain = schema.get(PLAIN_NAMES) == Some(&Value::Bool(true));
        let mut fields = BTreeMap::new();
        let mut min_bytes = 2;
        for (name, schema) in &properties {
            let Some(shape) = Self::of_schema(schema, false) else { continue };
            if is_required(name) && schema.get("default").is_none() {
                min_bytes += name.len() as u64 + shape.min_bytes + 4;
            }
            // What no user declares, as `request`, has its names as they are.
            let plain = schema_is_plain.then(|| name.clone());
            if let Some(escaped) = plain.or_else(|| escape(name)) {
                let escaped = (escaped != *name).then(|| escaped.into());
                fields.insert(name.clone(), Property { escaped, shape: Arc::new(shape) });
            }
        }
        Some(Self::plain(Kind::Object(Properties(fields)), 0, min_bytes))
    }

    fn string(schema: &Value) -> Self {
        let length = bound(schema, "maxLength");
        let (kind, max, min_bytes) =
            match schema.get("format").and_then(Value::as_str).unwrap_or_default() {
                "byte" => (Kind::Bytes, length.map_or(REQUEST_BYTES - 2, |length| length), 2),
                "duration" => (Kind::Duration, 32, 3),
                "date" => (Kind::Timestamp, 12, 12),
                "date-time" => (Kind::Timestamp, 32, 21),
                _ => {
                    let allowed = schema.get("enum").and_then(Value::as_array);
                    let allowed = allowed.filter(|values| !values.is_empty());
                    let longest = allowed.map(|values| {
                        values.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0)
                            as u64
                    });
                    let max = length.map(bytes).or(longest);
                    (Kind::String, max.unwrap_or(REQUEST_BYTES - 2), 2)
                }
            };
        Self::plain(kind, max, min_bytes)
    }

    /// How often a value of this shape can occur in one request.
    #[must_use]
    pub fn max_cardinality(&self) -> u64 {
        REQUEST_BYTES / (self.min_bytes + 1)
    }
}

/// The most bytes of so many characters, of which one may take up to four; counted as the original does, which ends nowhere.
fn bytes(characters: u64) -> u64 {
    characters.wrapping_mul(4)
}

/// Whether a resource declares all by itself that expressions may ask of every resource.
fn says_what_it_is(declared: &Map<String, Value>) -> bool {
    let is = |schema: Option<&Value>, kind: &str| {
        schema.and_then(|schema| schema.get("type")).is_some_and(|own| own == kind)
    };
    let metadata = declared.get("metadata");
    let names = metadata.and_then(|metadata| metadata.get("properties"));
    let named = |name: &str| names.and_then(|names| names.get(name));
    is(declared.get("kind"), "string")
        && is(declared.get("apiVersion"), "string")
        && is(metadata, "object")
        && is(named("name"), "string")
        && is(named("generateName"), "string")
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    let value = schema.get(name)?;
    value.as_i64().map(|value| u64::try_from(value).unwrap_or(0))
}
