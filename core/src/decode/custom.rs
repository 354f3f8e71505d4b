//! Shapes made at run time: pruned, not checked.

use super::{context::Context, typed::Typed};
use crate::schema::{Kind, Schema, SchemaRef};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Whole numbers below this are exact in Go's floating point, and printed without an exponent.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Decodes one value; without a shape all is kept.
pub(super) struct Custom<'c, 's> {
    pub(super) schema: Option<&'s Schema>,
    pub(super) context: &'c mut Context<'s>,
}

impl<'de> DeserializeSeed<'de> for Custom<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What to do with a key.
enum Below<'s> {
    Keep(Option<&'s Schema>),
    Typed(&'s Schema),
    /// The metadata of a resource inside another.
    Metadata(&'s Schema),
    /// Its version or its kind.
    Name,
    Drop,
}

/// Whether this is a resource inside another: it has the metadata of one.
fn is_resource(schema: Option<&Schema>) -> bool {
    let metadata = schema.and_then(|schema| schema.field("metadata"));
    metadata.is_some_and(|field| match &field.schema {
        SchemaRef::Static(schema) => matches!(schema.kind, Kind::Object { .. }),
        SchemaRef::Shared(_) => false,
    })
}

fn below<'s>(schema: Option<&'s Schema>, key: &str, top: bool) -> Below<'s> {
    let named = matches!(key, "apiVersion" | "kind" | "metadata");
    if named && !top && is_resource(schema) {
        return match schema.and_then(|schema| schema.field(key)).map(|field| &field.schema) {
            Some(SchemaRef::Static(schema)) if key == "metadata" => Below::Metadata(schema),
            _ => Below::Name,
        };
    }
    let of = |schema: &'s SchemaRef| match schema {
        SchemaRef::Static(schema) if matches!(schema.kind, Kind::Object { .. }) => {
            Below::Typed(schema)
        }
        schema => Below::Keep(Some(schema)),
    };
    match schema.map(|schema| (schema, &schema.kind)) {
        Some((schema, Kind::Object { preserve_unknown, .. })) => match schema.field(key) {
            Some(field) => of(&field.schema),
            None if *preserve_unknown || top && matches!(key, "apiVersion" | "kind") => {
                Below::Keep(None)
            }
            None => Below::Drop,
        },
        Some((_, Kind::Map { values, .. })) => of(values),
        Some((_, Kind::Any)) | None => Below::Keep(None),
        // What is to be no map has no fields.
        Some(_) => Below::Drop,
    }
}

impl<'de> Visitor<'de> for Custom<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Go prints a number without a fraction as a whole one.
        if value.fract() == 0.0 && value.abs() < WHOLE {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            return Ok((value as i64).into());
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let items = self.schema.and_then(Schema::items);
        let mut out = Vec::new();
        loop {
            let before = self.context.push_index(out.len());
            let next =
                access.next_element_seed(Custom { schema: items, context: &mut *self.context })?;
            self.context.pop(before);
            match next {
                None => return Ok(Value::Array(out)),
                Some(value) => out.push(value),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let Self { schema, context } = self;
        let top = context.is_top();
        let mut out = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if out.contains_key(&key) {
                context.custom_duplicate(&key);
            }
            let below = below(schema, &key, top);
            if let Below::Drop = below {
                context.custom_unknown(&key);
                let _: IgnoredAny = access.next_value()?;
                continue;
            }
            let before = match schema.map(|schema| &schema.kind) {
                Some(Kind::Map { .. }) => context.push_entry(&key),
                _ => context.push_key(&key),
            };
            let value = match below {
                Below::Typed(schema) => {
                    access.next_value_seed(Typed { schema, context: &mut *context })?
                }
                Below::Keep(schema) => {
                    Some(access.next_value_seed(Custom { schema, context: &mut *context })?)
                }
                Below::Metadata(schema) => {
                    let whole = Custom { schema: None, context: &mut *context };
                    let whole = access.next_value_seed(whole)?;
                    Some(context.inner_metadata(whole, schema).map_err(A::Error::custom)?)
                }
                Below::Name => {
                    let name = Custom { schema: None, context: &mut *context };
                    let name = access.next_value_seed(name)?;
                    if !name.is_string() {
                        context.misfit(name.clone(), "must be a string");
                    }
                    Some(name).filter(Value::is_string)
                }
                Below::Drop => None,
            };
            context.pop(before);
            if let Some(value) = value {
                match key.as_str() {
                    "apiVersion" if top => context.names[0] = Some(value.clone()),
                    "kind" if top => context.names[1] = Some(value.clone()),
                    _ => {}
                }
                out.insert(key, value);
            }
        }
        Ok(Value::Object(out))
    }
}
