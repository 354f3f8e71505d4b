//! Reading a stored object whose sets of managed fields stay the text that they are.

use kubeplane_core::Object;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};
use std::fmt;

/// The object, with each `fieldsV1` packed.
pub(super) fn parse(value: &[u8]) -> serde_json::Result<Object> {
    // Looked at once as a whole, and not text by text.
    let text = std::str::from_utf8(value).map_err(serde_json::Error::custom)?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = Place::Top.deserialize(&mut parser)?;
    parser.end()?;
    Object::from_value(parsed).ok_or_else(|| serde_json::Error::custom("the value is no object"))
}

/// Where a value stands on the way to the sets.
#[derive(Debug, Clone, Copy)]
enum Place {
    Top,
    Metadata,
    Managers,
    Manager,
    Set,
    Elsewhere,
}

impl Place {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Top, "metadata") => Self::Metadata,
            (Self::Metadata, "managedFields") => Self::Managers,
            (Self::Manager, "fieldsV1") => Self::Set,
            _ => Self::Elsewhere,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self {
            Self::Elsewhere => serde::Deserialize::deserialize(from),
            Self::Set => {
                let set: &RawValue = serde::Deserialize::deserialize(from)?;
                match set.get() {
                    text if text.starts_with('{') => Ok(Value::String(text.to_owned())),
                    other => serde_json::from_str(other).map_err(D::Error::custom),
                }
            }
            _ => from.deserialize_any(self),
        }
    }
}

macro_rules! scalars {
    ($($visit:ident($kind:ty)),* $(,)?) => {
        $(fn $visit<E: Error>(self, value: $kind) -> Result<Value, E> {
            Ok(value.into())
        })*
    };
}

impl<'de> Visitor<'de> for Place {
    type Value = Value;

    scalars!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let place = if let Self::Managers = self { Self::Manager } else { Self::Elsewhere };
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(place)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.below(&key))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
