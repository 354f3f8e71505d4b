//! What a schema says about how a value is merged.

use super::path::{PathElement, Scalar, compare_numbers};
use crate::decode::zero;
use crate::schema::{Field, Kind, ListType, Presence, Schema, SchemaRef, Text};
use serde_json::{Map, Value};
use std::{borrow::Cow, cmp::Ordering, sync::LazyLock};

/// The schema of a value, or none: then the value itself tells (maps are granular, lists atomic).
#[derive(Debug, Clone, Copy)]
pub(super) struct Type<'s> {
    schema: Option<&'s Schema>,
    builtin: bool,
}

/// How a value is merged.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'s> {
    Scalar(Scalars),
    List { items: Type<'s>, keys: Keys<'s> },
    Map(MapShape<'s>),
}

/// Which scalars are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalars {
    Text,
    Numeric,
    Boolean,
    Any,
}

/// What identifies the items of a list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keys<'s> {
    Atomic,
    Set,
    Map(&'s [Text]),
}

/// The shape of a map or object.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapShape<'s> {
    fields: Option<&'s Schema>,
    values: Option<Type<'s>>,
    pub(super) atomic: bool,
    /// It follows from the value alone.
    pub(super) deduced: bool,
}

const DEDUCED: Type<'static> = Type { schema: None, builtin: false };

impl<'s> Type<'s> {
    pub(super) fn root(schema: &'s Schema) -> Self {
        Self { schema: Some(schema), builtin: false }
    }

    fn of(schema: &'s SchemaRef) -> Self {
        Self { schema: Some(schema), builtin: matches!(schema, SchemaRef::Static(_)) }
    }

    /// How this value of the type is merged.
    pub(super) fn shape(self, value: Option<&Value>) -> Shape<'s> {
        let Some(schema) = self.schema else {
            return self.by_value(value, false);
        };
        match &schema.kind {
            Kind::String | Kind::Bytes => Shape::Scalar(Scalars::Text),
            Kind::Time { .. } | Kind::Quantity | Kind::IntOrString => Shape::Scalar(Scalars::Any),
            Kind::Integer { .. } | Kind::Number => Shape::Scalar(Scalars::Numeric),
            Kind::Boolean => Shape::Scalar(Scalars::Boolean),
            // Raw extensions of built-in kinds are replaced whole; in custom resources they are not.
            Kind::Any => self.by_value(value, self.builtin),
            Kind::Map { values, atomic } => Shape::Map(MapShape {
                fields: None,
                values: Some(Type::of(values)),
                atomic: *atomic,
                deduced: false,
            }),
            Kind::List { items, list } => {
                let keys = match list {
                    ListType::Atomic => Keys::Atomic,
                    ListType::Set => Keys::Set,
                    ListType::Map(keys) => Keys::Map(keys),
                };
                Shape::List { items: Type::of(items), keys }
            }
            Kind::Object { preserve_unknown, atomic, .. } => Shape::Map(MapShape {
                fields: Some(schema),
                values: preserve_unknown.then_some(DEDUCED),
                atomic: *atomic,
                deduced: false,
            }),
        }
    }

    /// The shape as that of a whole object.
    pub(super) fn object(self) -> MapShape<'s> {
        match self.shape(None) {
            Shape::Map(shape) => MapShape { atomic: false, ..shape },
            _ => MapShape { fields: None, values: Some(DEDUCED), atomic: false, deduced: true },
        }
    }

    fn by_value(self, value: Option<&Value>, atomic: bool) -> Shape<'s> {
        match value {
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                Shape::Scalar(Scalars::Any)
            }
            Some(Value::Array(_)) => Shape::List { items: DEDUCED, keys: Keys::Atomic },
            None | Some(Value::Null | Value::Object(_)) => {
                Shape::Map(MapShape { fields: None, values: Some(DEDUCED), atomic, deduced: true })
            }
        }
    }

    /// The type one step down.
    pub(super) fn step(self, element: &PathElement) -> Self {
        match (self.shape(None), element) {
            (Shape::Map(map), PathElement::Field(name)) => map.child(name).0,
            (Shape::List { items, .. }, PathElement::Key(_)) => items,
            _ => DEDUCED,
        }
    }

    /// The step to an item of a list of this type.
    pub(super) fn item(self, keys: Keys<'_>, item: &Value) -> Result<PathElement, String> {
        match keys {
            Keys::Atomic => Err("invalid indexing of non-associative list".to_owned()),
            Keys::Set => set_item(item),
            Keys::Map(keys) => self.keyed_item(keys, item),
        }
    }

    fn keyed_item(self, keys: &[Text], item: &Value) -> Result<PathElement, String> {
        let map = match item {
            Value::Object(map) => map,
            Value::Null => {
                return Err("associative list with keys may not have a null element".to_owned());
            }
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let value = map.get(&**key).map(Scalar::from).or_else(|| self.default_of(key));
            found.extend(value.map(|value| (key.clone(), value)));
        }
        if found.is_empty() {
            let names: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        found.sort();
        Ok(PathElement::Key(found))
    }

    /// What a key is that an item leaves out: its default, or the empty value that is always written.
    fn default_of(self, key: &str) -> Option<Scalar> {
        let field = self.schema?.field(key)?;
        let empty = || (field.presence == Presence::Always).then(|| zero(&field.schema));
        field.default_value().or_else(empty).as_ref().map(Scalar::from)
    }
}

fn set_item(item: &Value) -> Result<PathElement, String> {
    let why = match item {
        Value::Object(_) => "associative list without keys has an element that's a map type",
        Value::Array(_) => "not supported: associative list with lists as elements",
        Value::Null => "associative list without keys has an element that's an explicit null",
        scalar => return Ok(PathElement::Value(Scalar::from(scalar))),
    };
    Err(why.to_owned())
}

static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static BLANK: Value = Value::String(String::new());
static ZERO: LazyLock<Value> = LazyLock::new(|| Value::from(0));
static FALSE: Value = Value::Bool(false);
static NULL: Value = Value::Null;

impl<'s> MapShape<'s> {
    /// The type of an entry and the step to it.
    pub(super) fn child(self, key: &str) -> (Type<'s>, PathElement) {
        match self.field(key) {
            Some(field) => (Type::of(&field.schema), PathElement::Field(field.name.clone())),
            None => {
                let step = PathElement::Field(Cow::Owned(key.to_owned()));
                (self.values.unwrap_or(DEDUCED), step)
            }
        }
    }

    /// The type of an entry.
    pub(super) fn entry(self, key: &str) -> Type<'s> {
        match self.field(key) {
            Some(field) => Type::of(&field.schema),
            None => self.values.unwrap_or(DEDUCED),
        }
    }

    /// The named field, which unlike a map's entry is not itself owned when something below it is.
    pub(super) fn field(self, key: &str) -> Option<&'s Field> {
        self.fields?.field(key)
    }

    /// Whether an entry of this name may be there.
    pub(super) fn allows(self, key: &str) -> bool {
        self.values.is_some() || self.field(key).is_some()
    }

    /// What stands in a built-in object for a field that is not in its JSON, as the original's Go structs
    /// have their nested structs, required texts and lists always.
    pub(super) fn implied(self, key: &str) -> Option<&'static Value> {
        let field = self.field(key)?;
        match field.presence {
            Presence::Optional | Presence::OmitEmpty => None,
            Presence::Null => Some(&NULL),
            Presence::Always => Some(match field.schema.kind {
                Kind::Object { .. } => &*EMPTY,
                Kind::String => &BLANK,
                Kind::Integer { .. } | Kind::Number => &*ZERO,
                Kind::Boolean => &FALSE,
                _ => &NULL,
            }),
        }
    }
}

/// Equal, with numbers compared by value.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            compare_numbers(left, right) == Ordering::Equal
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}
