use crate::escape::escape;
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
    /// Fields by their JSON name, with the escaped one.
    Object(BTreeMap<String, Property>),
}

#[derive(Debug, Clone)]
pub(crate) struct Property {
    pub(crate) escaped: String,
    pub(crate) shape: Arc<Shape>,
}

impl Shape {
    /// The shape of a JSONSchemaProps. A `resource` has `apiVersion`, `kind` and the name in `metadata` without
    /// saying so. `None` for values of unknown type, which expressions cannot reach.
    #[must_use]
    pub fn of_schema(schema: &Value, resource: bool) -> Option<Self> {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
        if flag("x-kubernetes-int-or-string") {
            let max = bound(schema, "maxLength").unwrap_or(REQUEST_BYTES - 2);
            return Some(Self { kind: Kind::Dyn, max, min_bytes: 1 });
        }
        match schema.get("type").and_then(Value::as_str)? {
            "array" => Self::list(schema),
            "object" => {
                Some(Self::object(schema, resource || flag("x-kubernetes-embedded-resource")))
            }
            "string" => Some(Self::string(schema)),
            "boolean" => Some(Self { kind: Kind::Bool, max: 1, min_bytes: 4 }),
            "number" => Some(Self { kind: Kind::Double, max: 1, min_bytes: 1 }),
            "integer" => Some(Self { kind: Kind::Int, max: 1, min_bytes: 1 }),
            _ => None,
        }
    }

    fn list(schema: &Value) -> Option<Self> {
        let items = Self::of_schema(schema.get("items")?, false)?;
        let unbounded = (REQUEST_BYTES - 2) / (items.min_bytes + 1);
        let max = bound(schema, "maxItems").unwrap_or(unbounded);
        Some(Self { kind: Kind::List(Arc::new(items)), max, min_bytes: 2 })
    }

    fn object(schema: &Value, resource: bool) -> Self {
        let additional =
            schema.get("additionalProperties").filter(|additional| additional.is_object());
        if let Some(values) = additional.and_then(|values| Self::of_schema(values, false)) {
            // A key takes two quotes and a colon, an entry a comma.
            let unbounded = (REQUEST_BYTES - 2) / (values.min_bytes + 4);
            let max = bound(schema, "maxProperties").unwrap_or(unbounded);
            return Self { kind: Kind::Map(Arc::new(values)), max, min_bytes: 2 };
        }
        let empty = Map::new();
        let declared = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let mut properties = declared.clone();
        if resource {
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
                fields.insert(name.clone(), Property { escaped, shape: Arc::new(shape) });
            }
        }
        let max = fields.len() as u64;
        Self { kind: Kind::Object(fields), max, min_bytes }
    }

    fn string(schema: &Value) -> Self {
        let length = bound(schema, "maxLength");
        let (kind, max, min_bytes) =
            match schema.get("format").and_then(Value::as_str).unwrap_or_default() {
                "byte" => (Kind::Bytes, length.map_or(REQUEST_BYTES - 2, |length| length), 2),
                "duration" => (Kind::Duration, 32, 3),
                "date" => (Kind::Timestamp, 10, 12),
                "date-time" => (Kind::Timestamp, 30, 21),
                _ => {
                    let longest = schema.get("enum").and_then(Value::as_array).map(|values| {
                        values.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0)
                            as u64
                    });
                    // A character may take up to four bytes.
                    let max = length.map(|length| length.saturating_mul(4)).or(longest);
                    (Kind::String, max.unwrap_or(REQUEST_BYTES - 2), 2)
                }
            };
        Self { kind, max, min_bytes }
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    /// How often a value of this shape can occur in one request.
    #[must_use]
    pub fn max_cardinality(&self) -> u64 {
        REQUEST_BYTES / (self.min_bytes + 1)
    }
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    let value = schema.get(name)?;
    value.as_i64().map(|value| u64::try_from(value).unwrap_or(0))
}
