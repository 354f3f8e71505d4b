//! What the fields of a kind are: the one table behind strict decoding, defaults, patches, server-side
//! apply and OpenAPI.
//!
//! Built-in types are `static` tables generated from k8s-openapi (`cargo xtask schema`); a
//! CustomResourceDefinition makes the same structure at run time.

use crate::quantity::Quantity;
use serde_json::Value;
use std::{borrow::Cow, cmp::Ordering, ops::Deref, sync::Arc};

/// A text that is static in built-in tables and owned in those made at run time.
pub type Text = Cow<'static, str>;

/// The shape of a value.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The OpenAPI name of a named type, as in `io.k8s.api.core.v1.Pod`; empty for anonymous shapes.
    pub name: Text,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Text.
    String,
    /// Text that holds base64, a Go `[]byte`.
    Bytes,
    /// An RFC 3339 time; `micro` with six digits of a second.
    Time {
        /// A MicroTime.
        micro: bool,
    },
    /// A quantity: text or a number, kept canonical.
    Quantity,
    /// A number or text.
    IntOrString,
    /// A whole number.
    Integer {
        /// 64 bits wide (else 32).
        wide: bool,
    },
    /// A number.
    Number,
    /// A truth value.
    Boolean,
    /// Anything at all, kept as it is (raw extensions, `x-kubernetes-preserve-unknown-fields`).
    Any,
    /// A map with the same shape for every value.
    Map {
        /// The values' shape.
        values: SchemaRef,
        /// Replaced whole by server-side apply (`x-kubernetes-map-type: atomic`).
        atomic: bool,
    },
    /// A list.
    List {
        /// The items' shape.
        items: SchemaRef,
        /// How server-side apply merges it.
        list: ListType,
    },
    /// Known fields, sorted by name.
    Object {
        /// The fields, sorted by name for binary search.
        fields: Cow<'static, [Field]>,
        /// Keep fields that are not listed.
        preserve_unknown: bool,
        /// Replaced whole by server-side apply (`x-kubernetes-map-type: atomic`).
        atomic: bool,
    },
}

/// How server-side apply merges a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// Replaced whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Items identified by these keys.
    Map(Cow<'static, [Text]>),
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Merge lists instead of replacing them.
    pub merge: bool,
    /// Drop the fields that the patch's `$retainKeys` does not name.
    pub retain_keys: bool,
    /// The field that identifies the items of a merged list of maps; empty for lists of scalars.
    pub merge_key: Text,
}

/// Whether a field is written when it is missing or empty: what the original's typed round trip does to an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Written as it is, if it is there (a Go pointer).
    #[default]
    Optional,
    /// Left out when empty: `""`, `0`, `false`, `[]`, `{}`.
    OmitEmpty,
    /// Written with its empty value when missing: `""`, `0`, `false`, a struct's own empty form, else null.
    Always,
    /// Written as null when missing.
    Null,
}

/// One field of an object.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its JSON name.
    pub name: Text,
    /// Its shape.
    pub schema: SchemaRef,
    /// It must be present.
    pub required: bool,
    /// It may be null (CRDs; a built-in field set to null is a field left out).
    pub nullable: bool,
    /// Whether an empty value is written.
    pub presence: Presence,
    /// The value of a missing field, as JSON text; defaults that need logic live in strategies.
    pub default: Option<Text>,
    /// Strategic merge.
    pub patch: PatchStrategy,
    /// The tag of the field in the protobuf form; zero when it has none. Where the protobuf form has a message
    /// that JSON leaves out (a Volume's source), that message's tag times 65536 is added.
    pub tag: u32,
}

impl Field {
    /// A field that may be left out, of a kind made at run time.
    #[must_use]
    pub fn optional(name: impl Into<Text>, schema: SchemaRef) -> Self {
        Self {
            name: name.into(),
            schema,
            required: false,
            nullable: false,
            presence: Presence::Optional,
            default: None,
            patch: PatchStrategy::default(),
            tag: 0,
        }
    }
}

/// A shape by reference: static for built-in types, shared for those made at run time.
#[derive(Debug, Clone)]
pub enum SchemaRef {
    /// A built-in shape.
    Static(&'static Schema),
    /// One made at run time.
    Shared(Arc<Schema>),
}

impl Deref for SchemaRef {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match self {
            Self::Static(schema) => schema,
            Self::Shared(schema) => schema,
        }
    }
}

impl From<Schema> for SchemaRef {
    fn from(schema: Schema) -> Self {
        Self::Shared(Arc::new(schema))
    }
}

static STRING: Schema = Schema::anonymous(Kind::String);
static ANY: Schema = Schema::anonymous(Kind::Any);

/// These fields and what every object has, `apiVersion`, `kind` and `metadata`, sorted by name.
///
/// ```
/// use kubeplane_core::schema::{Field, Kind, Schema, of_object};
///
/// let text = Schema::anonymous(Kind::String);
/// let greeting = of_object(vec![Field::optional("text", text.into())], false);
/// assert!(greeting.field("metadata").is_some() && greeting.field("text").is_some());
/// ```
#[must_use]
pub fn of_object(fields: Vec<Field>, preserve_unknown: bool) -> SchemaRef {
    let fields = with_object_fields(fields).into();
    Schema::anonymous(Kind::Object { fields, preserve_unknown, atomic: false }).into()
}

/// The fields of [`of_object`]: what `fields` says of the three is forgotten.
#[must_use]
pub fn with_object_fields(mut fields: Vec<Field>) -> Vec<Field> {
    let metadata = builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let metadata = metadata.unwrap_or(SchemaRef::Static(&ANY));
    let text = SchemaRef::Static(&STRING);
    for (name, schema) in [("apiVersion", text.clone()), ("kind", text), ("metadata", metadata)] {
        fields.retain(|field| field.name != name);
        fields.push(Field::optional(name, schema));
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    fields
}

impl Schema {
    /// A shape without a name.
    #[must_use]
    pub const fn anonymous(kind: Kind) -> Self {
        Self { name: Cow::Borrowed(""), kind }
    }

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|index| &self.fields()[index])
    }

    /// Where the field of this name is among [`fields`](Self::fields).
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields().binary_search_by(|field| order(&field.name, name)).ok()
    }

    /// The fields, or none.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Object { fields, .. } => fields,
            _ => &[],
        }
    }

    /// The shape below a key: a field's, or a map's value.
    #[must_use]
    pub fn child(&self, key: &str) -> Option<&Schema> {
        match &self.kind {
            Kind::Object { .. } => self.field(key).map(|field| &*field.schema),
            Kind::Map { values, .. } => Some(values),
            _ => None,
        }
    }

    /// The shape of a list's items.
    #[must_use]
    pub fn items(&self) -> Option<&Schema> {
        match &self.kind {
            Kind::List { items, .. } => Some(items),
            _ => None,
        }
    }

    /// Whether two values of this shape say the same: amounts can be written in several ways, and a list or map without
    /// items is as good as none. What decides whether a change is one (the original's semantic equality).
    ///
    /// ```
    /// use kubeplane_core::schema::builtin;
    /// use serde_json::json;
    ///
    /// let shape = builtin("io.k8s.api.core.v1.ResourceRequirements").expect("it is built in");
    /// let memory = |amount: &str| json!({"requests": {"memory": amount}});
    /// assert!(shape.means_same(&memory("1Gi"), &memory("1073741824")));
    /// assert!(!shape.means_same(&memory("1Gi"), &memory("1G")));
    /// ```
    #[must_use]
    pub fn means_same(&self, one: &Value, other: &Value) -> bool {
        match (&self.kind, one, other) {
            (Kind::Object { .. }, Value::Object(fields), Value::Object(others)) => {
                fields.keys().chain(others.keys()).all(|name| {
                    let (mine, theirs) = (value_at(one, name), value_at(other, name));
                    match self.field(name) {
                        Some(field) => field.schema.means_same(mine, theirs),
                        None => mine == theirs,
                    }
                })
            }
            (Kind::Map { values, .. }, Value::Object(map), Value::Object(others)) => {
                map.len() == others.len()
                    && map.iter().all(|(key, value)| {
                        others.get(key).is_some_and(|known| values.means_same(value, known))
                    })
            }
            (Kind::List { items, .. }, Value::Array(list), Value::Array(others)) => {
                list.len() == others.len()
                    && list.iter().zip(others).all(|(item, known)| items.means_same(item, known))
            }
            (Kind::Map { .. } | Kind::List { .. }, ..) => {
                one == other || is_empty(one) && is_empty(other)
            }
            (Kind::Quantity, ..) if !one.is_null() && !other.is_null() => {
                match (Quantity::from_json(one), Quantity::from_json(other)) {
                    (Ok(mine), Ok(theirs)) => mine == theirs,
                    _ => one == other,
                }
            }
            _ => one == other,
        }
    }
}

static NULL: Value = Value::Null;

fn value_at<'a>(map: &'a Value, name: &str) -> &'a Value {
    map.get(name).unwrap_or(&NULL)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// As texts are ordered. Most names differ in their first letter, and that is seen without a call.
fn order(one: &str, other: &str) -> Ordering {
    match (one.as_bytes(), other.as_bytes()) {
        ([first, ..], [second, ..]) if first != second => first.cmp(second),
        _ => one.cmp(other),
    }
}

/// The built-in shape of this OpenAPI name, as in `io.k8s.api.core.v1.Pod`.
#[must_use]
pub fn builtin(name: &str) -> Option<SchemaRef> {
    let table = &crate::generated::schema::BUILTIN;
    let index = table.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(SchemaRef::Static(table[index].1))
}

/// The OpenAPI names of all built-in shapes, sorted.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    crate::generated::schema::BUILTIN.iter().map(|(name, _)| *name)
}

impl Field {
    /// The parsed default.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        self.default.as_ref().and_then(|text| serde_json::from_str(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(definition: &str, name: &str) -> Field {
        builtin(definition).and_then(|schema| schema.field(name).cloned()).unwrap()
    }

    #[test]
    fn built_in_shapes_can_be_searched() {
        let names: Vec<_> = builtin_names().collect();
        assert!(names.is_sorted() && names.len() > 400);
        for name in names {
            let schema = builtin(name).unwrap();
            assert_eq!(schema.name, name);
            assert!(schema.fields().is_sorted_by(|a, b| a.name < b.name), "{name}");
            for (index, field) in schema.fields().iter().enumerate() {
                assert_eq!(schema.position(&field.name), Some(index), "{name}");
                assert_eq!(schema.position(&format!("{}x", field.name)), None, "{name}");
            }
            assert!(schema.position("").is_none() && schema.position("~").is_none());
        }
        assert!(builtin("io.k8s.api.core.v1.Nonsense").is_none());
    }

    #[test]
    fn amounts_and_what_is_empty_are_compared_by_what_they_mean() {
        let pod = builtin("io.k8s.api.core.v1.PodSpec").unwrap();
        let spec = |memory: &str, variables: Value| {
            json!({"containers": [{"name": "c", "env": variables,
                "resources": {"limits": {"memory": memory}}}]})
        };
        let one = spec("1Gi", json!([]));
        assert!(pod.means_same(&one, &spec("1073741824", Value::Null)));
        assert!(!pod.means_same(&one, &spec("1025Mi", json!([]))));
        assert!(!pod.means_same(&one, &spec("1Gi", json!([{"name": "a"}]))));
        assert!(!pod.means_same(&one, &json!({"containers": []})));
        // A text is no amount because it looks like one, and a map that is a struct is something even when empty.
        assert!(!pod.means_same(&json!({"nodeName": "1"}), &json!({"nodeName": "1000m"})));
        assert!(!pod.means_same(&json!({"affinity": {}}), &json!({})));
        assert!(pod.means_same(&json!({"nodeSelector": {}}), &json!({})));
    }

    #[test]
    fn facts_are_joined() {
        let containers = field("io.k8s.api.core.v1.PodSpec", "containers");
        assert!(containers.required && containers.patch.merge);
        assert_eq!((&*containers.patch.merge_key, containers.tag), ("name", 2));
        let ports = field("io.k8s.api.core.v1.Container", "ports");
        let Kind::List { list: ListType::Map(keys), .. } = &ports.schema.kind else {
            panic!("{ports:?}")
        };
        assert_eq!(keys[..], ["containerPort", "protocol"]);
        let protocol = field("io.k8s.api.core.v1.ContainerPort", "protocol");
        assert_eq!(protocol.default_value(), Some("TCP".into()));
        let volumes = field("io.k8s.api.core.v1.PodSpec", "volumes");
        assert!(volumes.patch.merge && volumes.patch.retain_keys);
        assert_eq!(field("io.k8s.api.core.v1.Volume", "emptyDir").tag, (2 << 16) + 2);
        let claim = field("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef");
        let Kind::Object { atomic, .. } = claim.schema.kind else { panic!("{claim:?}") };
        assert!(!atomic);
    }
}
