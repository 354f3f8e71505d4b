//! What expressions come to: values that borrow from the JSON they are about.

mod list;

use crate::{
    authorizer::Asked,
    library::{named::Format, net, semver::Version, url::Url},
    shape::{Kind, ListKind, Shape},
    time,
    types::Type,
};
use jiff::Timestamp;
use kubeplane_core::quantity::Quantity;
use serde_json::{Map as JsonMap, Value as Json};
use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, sync::Arc};

/// A value; cloning it copies a pointer.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    List(List<'a>),
    Map(Map<'a>),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    Optional(Option<Arc<Value<'a>>>),
    Type(Arc<Type>),
    Extra(Extra),
    /// What fails where it is used.
    Failed(Arc<str>),
}

/// Values of libraries.
#[derive(Debug, Clone)]
pub(crate) enum Extra {
    Url(Arc<Url>),
    Ip(std::net::IpAddr),
    Cidr(net::Prefix),
    Quantity(Arc<Quantity>),
    Semver(Arc<Version>),
    Format(Format),
    Asked(Arc<Asked>),
}

#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

#[derive(Debug, Clone)]
pub(crate) enum List<'a> {
    /// With what the items are, where it is known.
    Json(&'a [Json], Option<&'a Shape>, &'a ListKind),
    Shared(Arc<Vec<Value<'a>>>),
}

#[derive(Debug, Clone)]
pub(crate) enum Map<'a> {
    Json(&'a JsonMap<String, Json>, Option<&'a Shape>),
    /// With the name that an object was made under.
    Shared(Arc<BTreeMap<Key<'a>, Value<'a>>>, Option<Arc<str>>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key<'a> {
    Bool(bool),
    /// Whole numbers, whatever their type, with whether they are unsigned.
    Number(i128, bool),
    Text(Text<'a>),
}

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Text::Shared(text.into()))
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Shared(Arc::new(items)))
    }
}

static ATOMIC: ListKind = ListKind::Atomic;

impl<'a> Value<'a> {
    /// A value of unknown shape.
    pub(crate) fn plain(json: &'a Json) -> Self {
        Self::shaped(json, None)
    }

    /// A value of a shape.
    pub(crate) fn shaped(json: &'a Json, shape: Option<&'a Shape>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (shape.map(|shape| &shape.kind), number.as_i64()) {
                (Some(Kind::Double), _) => Self::Double(number.as_f64().unwrap_or_default()),
                (_, Some(value)) => Self::Int(value),
                _ => match number.as_u64() {
                    Some(value) => Self::Uint(value),
                    None => Self::Double(number.as_f64().unwrap_or_default()),
                },
            },
            Json::String(text) => match shape.map(|shape| &shape.kind) {
                Some(Kind::Timestamp) => {
                    time::moment(text).map_or_else(|| text.as_str().into(), Self::Timestamp)
                }
                Some(Kind::Duration) => {
                    time::span(text).map_or_else(|| text.as_str().into(), Self::Duration)
                }
                Some(Kind::Bytes) => {
                    crate::library::base64(text).map_or_else(|| text.as_str().into(), Self::Bytes)
                }
                _ => text.as_str().into(),
            },
            Json::Array(items) => {
                let (of, kind) = match shape.map(|shape| &shape.kind) {
                    Some(Kind::List(of)) => {
                        (Some(&**of), shape.map_or(&ATOMIC, |shape| &shape.list))
                    }
                    _ => (None, &ATOMIC),
                };
                Self::List(List::Json(items, of, kind))
            }
            Json::Object(map) => Self::Map(Map::Json(map, shape)),
        }
    }

    pub(crate) fn some(self) -> Self {
        Self::Optional(Some(Arc::new(self)))
    }

    /// The name of its type.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(map) => match map.made_as() {
                Some(name) => Type::opaque(name),
                None => Type::map(Type::Dyn, Type::Dyn),
            },
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::Type(Arc::new(Type::Dyn)),
            Self::Extra(extra) => Type::opaque(extra.type_name()),
            Self::Failed(_) => Type::Error,
        }
    }

    /// The number of characters, bytes, items or entries; of what has none it is one.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(text) => text.as_str().chars().count() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) if map.made_as().is_none() => map.len() as u64,
            Self::Extra(Extra::Ip(address)) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Extra(Extra::Cidr(prefix)) => u64::from(prefix.bits).div_ceil(8),
            _ => 1,
        }
    }

    /// The same of what stands in an optional value, as the language itself counts; its libraries do not look inside.
    pub(crate) fn inner_size(&self) -> u64 {
        match self {
            Self::Optional(Some(inner)) => inner.inner_size(),
            other => other.size(),
        }
    }

    /// Whether two values are the same; numbers of all types are compared as numbers.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a.name() == b.name(),
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::List(a), Self::List(b)) => a.equals(b),
            (Self::Map(a), Self::Map(b)) => a.equals(b),
            (Self::Extra(a), Self::Extra(b)) => a.equals(b),
            (a, b) => a.compare_numbers(b) == Some(Ordering::Equal),
        }
    }

    /// Which of two comes first; `None` where that has no meaning.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (a, b) => a.compare_numbers(b),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "so does the original")]
    pub(crate) fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        let whole = |value: &Self| match value {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            _ => None,
        };
        let double = |value: &Self| match value {
            Self::Double(value) => Some(*value),
            other => whole(other).map(|value| value as f64),
        };
        match (whole(self), whole(other)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => double(self)?.partial_cmp(&double(other)?),
        }
    }

    /// The value as a key of a map.
    pub(crate) fn key(&self) -> Option<Key<'a>> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Number(i128::from(*value), false),
            Self::Uint(value) => Key::Number(i128::from(*value), true),
            #[expect(clippy::cast_possible_truncation, reason = "only whole numbers are keys")]
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => {
                Key::Number(*value as i128, false)
            }
            Self::String(text) => Key::Text(text.clone()),
            _ => return None,
        })
    }

    /// The JSON of it; `None` for what has none.
    pub(crate) fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::Number(serde_json::Number::from_f64(*value)?),
            Self::String(text) => Json::String(text.as_str().to_owned()),
            Self::Bytes(bytes) => Json::String(crate::library::to_base64(bytes)),
            Self::List(List::Json(items, ..)) => Json::Array(items.to_vec()),
            Self::List(List::Shared(items)) => {
                Json::Array(items.iter().map(Self::to_json).collect::<Option<_>>()?)
            }
            Self::Map(Map::Json(map, _)) => Json::Object((*map).clone()),
            Self::Map(Map::Shared(map, _)) => {
                let entries = map
                    .iter()
                    .map(|(key, value)| Some((key.to_text().into_owned(), value.to_json()?)));
                Json::Object(entries.collect::<Option<_>>()?)
            }
            Self::Timestamp(moment) => Json::String(time::written(*moment)),
            Self::Duration(span) => Json::String(time::seconds(*span)),
            Self::Optional(Some(inner)) => inner.to_json()?,
            Self::Extra(Extra::Quantity(quantity)) => Json::String(quantity.to_string()),
            Self::Optional(None) | Self::Type(_) | Self::Extra(_) | Self::Failed(_) => return None,
        })
    }

    /// The same without what it borrows.
    pub(crate) fn owned(&self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::String(text) => Value::String(text.owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Self::List(list) => {
                list.iter().map(|item| item.owned()).collect::<Vec<Value<'static>>>().into()
            }
            Self::Map(map) => {
                let entries = map.entries().map(|(key, value)| (key.owned(), value.owned()));
                Value::Map(Map::Shared(Arc::new(entries.collect()), map.made_as().cloned()))
            }
            Self::Timestamp(moment) => Value::Timestamp(*moment),
            Self::Duration(span) => Value::Duration(*span),
            Self::Optional(inner) => {
                Value::Optional(inner.as_ref().map(|inner| Arc::new(inner.owned())))
            }
            Self::Type(of) => Value::Type(of.clone()),
            Self::Extra(extra) => Value::Extra(extra.clone()),
            Self::Failed(why) => Value::Failed(why.clone()),
        }
    }
}

impl Text<'_> {
    fn owned(&self) -> Text<'static> {
        match self {
            Self::Borrowed(text) => Text::Shared((*text).into()),
            Self::Shared(text) => Text::Shared(text.clone()),
        }
    }
}

impl<'a> Key<'a> {
    fn owned(&self) -> Key<'static> {
        match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Number(value, unsigned) => Key::Number(*value, *unsigned),
            Self::Text(text) => Key::Text(text.owned()),
        }
    }

    pub(crate) fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Bool(value) => value.to_string().into(),
            Self::Number(value, _) => value.to_string().into(),
            Self::Text(text) => text.as_str().into(),
        }
    }

    pub(crate) fn value(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value, true) => Value::Uint(u64::try_from(*value).unwrap_or_default()),
            Self::Number(value, false) => Value::Int(i64::try_from(*value).unwrap_or_default()),
            Self::Text(text) => Value::String(text.clone()),
        }
    }
}

impl Extra {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Asked(asked) => asked.type_name(),
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.precedence(b) == Ordering::Equal,
            (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Asked(a), Self::Asked(b)) => a == b,
            _ => false,
        }
    }
}

impl<'a> Map<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Shared(map, _) => map.len(),
        }
    }

    /// The name of the type it was made as, as `Object.spec`.
    pub(crate) fn made_as(&self) -> Option<&Arc<str>> {
        match self {
            Self::Json(..) => None,
            Self::Shared(_, name) => name.as_ref(),
        }
    }

    /// The value of a field or of a key that is a text.
    pub(crate) fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(map, shape) => match shape.map(|shape| &shape.kind) {
                Some(Kind::Object(fields)) => {
                    let (name, property) = fields.entry(name)?;
                    map.get(name).map(|json| Value::shaped(json, Some(&property.shape)))
                }
                Some(Kind::Map(values)) => {
                    map.get(name).map(|json| Value::shaped(json, Some(values)))
                }
                _ => map.get(name).map(Value::plain),
            },
            Self::Shared(map, _) => {
                // A key that borrows for as short as this is enough to look for.
                let found = map
                    .iter()
                    .find(|(key, _)| matches!(key, Key::Text(text) if text.as_str() == name));
                found.map(|(_, value)| value.clone())
            }
        }
    }

    /// Whether a field is there; one of an object that is null is not.
    pub(crate) fn has(&self, name: &str) -> bool {
        let is_object =
            matches!(self, Self::Json(_, Some(shape)) if matches!(shape.kind, Kind::Object(_)));
        self.field(name).is_some_and(|value| !(is_object && matches!(value, Value::Null)))
    }

    pub(crate) fn get(&self, key: &Key<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Json(..), Key::Text(name)) => self.field(name.as_str()),
            (Self::Json(..), _) => None,
            (Self::Shared(map, _), Key::Number(number, unsigned)) => {
                map.get(key).or_else(|| map.get(&Key::Number(*number, !unsigned))).cloned()
            }
            (Self::Shared(map, _), key) => map.get(key).cloned(),
        }
    }

    /// Keys and values; of an object only the fields that its shape knows.
    pub(crate) fn entries(&self) -> Box<dyn Iterator<Item = (Key<'a>, Value<'a>)> + '_> {
        match self {
            Self::Json(map, shape) => {
                let shape = *shape;
                Box::new(map.iter().filter_map(move |(name, json)| {
                    let below = match shape.map(|shape| &shape.kind) {
                        Some(Kind::Object(fields)) => Some(&*fields.get(name)?.shape),
                        Some(Kind::Map(values)) => Some(&**values),
                        _ => None,
                    };
                    Some((Key::Text(Text::Borrowed(name)), Value::shaped(json, below)))
                }))
            }
            Self::Shared(map, _) => {
                Box::new(map.iter().map(|(key, value)| (key.clone(), value.clone())))
            }
        }
    }

    fn equals(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.made_as() == other.made_as()
            && self
                .entries()
                .all(|(key, value)| other.get(&key).is_some_and(|found| value.equals(&found)))
    }
}
