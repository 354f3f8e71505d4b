//! Built-in shapes, decoded in one pass as the original's typed round trip does it.

use super::{context::Context, defaults, scalar};
use crate::{
    quantity::{Quantity, QuantityError},
    schema::{Field, Kind, Schema, SchemaRef, builtin},
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// The type as Go prints it.
pub(super) fn go_type(schema: &Schema) -> String {
    if !schema.name.is_empty() {
        if schema.name.starts_with("map[") {
            return schema.name.to_string();
        }
        let mut parts = schema.name.rsplitn(3, '.');
        let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{before}.{last}");
    }
    match &schema.kind {
        Kind::String => "string".into(),
        Kind::Bytes => "[]uint8".into(),
        Kind::Time { micro: false } => "v1.Time".into(),
        Kind::Time { micro: true } => "v1.MicroTime".into(),
        Kind::Quantity => "resource.Quantity".into(),
        Kind::IntOrString => "intstr.IntOrString".into(),
        Kind::Integer { wide: true } => "int64".into(),
        Kind::Integer { wide: false } => "int32".into(),
        Kind::Number => "float64".into(),
        Kind::Boolean => "bool".into(),
        Kind::Any => "runtime.RawExtension".into(),
        Kind::Map { values, .. } => format!("map[string]{}", go_type(values)),
        Kind::List { items, .. } => format!("[]{}", go_type(items)),
        Kind::Object { .. } => "map[string]interface {}".into(),
    }
}

/// What JSON calls a value.
#[must_use]
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Decodes one value; `None` for null and for what does not fit.
pub(super) struct Typed<'c, 's> {
    pub(super) schema: &'s Schema,
    pub(super) context: &'c mut Context<'s>,
}

impl<'de> DeserializeSeed<'de> for Typed<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        match self.schema.kind {
            Kind::Any => {
                let value = <Value as serde::Deserialize>::deserialize(deserializer)?;
                if self.schema.name.is_empty() {
                    return Ok(Some(value).filter(|value| !value.is_null()));
                }
                self.schema_or_other(value).map_err(D::Error::custom)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

/// The definition of OpenAPI schemas, which hold values that may be a schema or something simpler.
const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

impl<'s> Typed<'_, 's> {
    /// The original reads these apart, without looking for unknown fields.
    fn schema_or_other(self, value: Value) -> Result<Option<Value>, serde_json::Error> {
        let Some(SchemaRef::Static(schema)) = builtin(SCHEMA) else {
            return Ok(Some(value));
        };
        let strict = std::mem::replace(&mut self.context.strict, false);
        let shaped = match value {
            Value::Object(_) => Typed { schema, context: &mut *self.context }.deserialize(value)?,
            Value::Array(items) if !self.schema.name.ends_with("OrBool") => {
                let shape = |item: Value| match item {
                    Value::Object(_) => {
                        Typed { schema, context: &mut *self.context }.deserialize(item)
                    }
                    other => Ok(Some(other)),
                };
                let items: Result<Vec<_>, _> = items.into_iter().map(shape).collect();
                Some(Value::Array(items?.into_iter().flatten().collect()))
            }
            Value::Null => None,
            Value::Bool(flag) => Some(Value::Bool(flag)),
            other => {
                if self.schema.name.ends_with("JSONSchemaPropsOrBool") {
                    self.context.fail("boolean or JSON schema expected");
                }
                Some(other)
            }
        };
        self.context.strict = strict;
        Ok(shaped)
    }

    fn mismatch(self, what: &str) -> Option<Value> {
        match &self.schema.kind {
            Kind::Quantity => self.context.fail(QuantityError::Format),
            // These read their text themselves, into a plain type.
            Kind::Time { .. } => self.fail_as(what, "string"),
            Kind::IntOrString => self.fail_as(what, "int32"),
            _ => {
                let text = self.context.mismatch_text(what, &go_type(self.schema));
                self.context.saved.get_or_insert(text);
            }
        }
        None
    }

    fn fail_as(self, what: &str, go_type: &str) {
        let text = self.context.mismatch_text(what, go_type);
        self.context.fail(text);
    }

    fn number(self, number: Number) -> Option<Value> {
        match self.schema.kind {
            Kind::Integer { wide } => {
                match number.as_i64().filter(|value| wide || i32::try_from(*value).is_ok()) {
                    Some(value) => Some(value.into()),
                    None => self.mismatch(&format!("number {number}")),
                }
            }
            Kind::IntOrString => {
                match number.as_i64().filter(|value| i32::try_from(*value).is_ok()) {
                    Some(value) => Some(value.into()),
                    None => self.mismatch(&format!("number {number}")),
                }
            }
            Kind::Number => Some(Value::Number(number)),
            Kind::Quantity => self.quantity(&number.to_string()),
            _ => self.mismatch("number"),
        }
    }

    fn quantity(self, text: &str) -> Option<Value> {
        if Quantity::is_plain(text) {
            return Some(text.into());
        }
        match Quantity::parse(text.trim()) {
            Ok(quantity) => Some(quantity.to_string().into()),
            Err(error) => {
                self.context.fail(error);
                None
            }
        }
    }

    fn text(self, text: &str) -> Option<Value> {
        match self.schema.kind {
            Kind::String | Kind::IntOrString => Some(text.into()),
            Kind::Quantity => self.quantity(text),
            Kind::Time { micro } => match scalar::normal_time(text, micro) {
                Ok(text) => text.map(Value::String),
                Err(error) => {
                    self.context.fail(error);
                    None
                }
            },
            Kind::Bytes => match scalar::normal_base64(text) {
                Ok(text) => Some(Value::String(text.into_owned())),
                Err(error) => {
                    self.context.saved.get_or_insert(error);
                    None
                }
            },
            _ => self.mismatch("string"),
        }
    }

    fn object<'de, A: MapAccess<'de>>(
        self,
        mut access: A,
        fields: &'s [Field],
    ) -> Result<Option<Value>, A::Error> {
        let Self { schema, context } = self;
        let top = context.is_top();
        let mut out = Map::new();
        let mut seen = Seen::default();
        while let Some(key) = access.next_key_seed(KeyOf(schema))? {
            let index = match key {
                Key::Known(index) => index,
                Key::Unknown(key) => {
                    // Whatever has no such fields of its own (a Binding's target) still says what it is.
                    if let Some(slot) = name_slot(top, &key) {
                        context.names[slot] = Some(access.next_value()?);
                        continue;
                    }
                    context.unknown(&key);
                    let _: IgnoredAny = access.next_value()?;
                    continue;
                }
            };
            let field = &fields[index];
            if seen.again(index) {
                context.duplicate(&field.name);
            }
            if let Some(slot) = name_slot(top, &field.name) {
                context.names[slot] = Some(access.next_value()?);
                continue;
            }
            let before = context.push_key(&field.name);
            context.fields.push((&schema.name, &field.name));
            let value =
                access.next_value_seed(Typed { schema: &field.schema, context: &mut *context })?;
            context.fields.pop();
            context.pop(before);
            let kept = |value: &Value| {
                // An empty list of managers asks to forget them all.
                let forgets = field.name == "managedFields" && context.is_metadata();
                !defaults::is_lost(value, field) || forgets && value.is_array()
            };
            match value.filter(kept) {
                Some(value) => drop(out.insert(field.name.to_string(), value)),
                None => drop(out.remove(&*field.name)),
            }
        }
        defaults::fill(&mut out, fields);
        Ok(Some(Value::Object(out)))
    }

    fn entries<'de, A: MapAccess<'de>>(
        self,
        mut access: A,
        values: &'s SchemaRef,
    ) -> Result<Option<Value>, A::Error> {
        let context = self.context;
        let mut out = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if out.contains_key(&key) {
                context.duplicate(&key);
            }
            let before = context.push_key(&key);
            let value = access.next_value_seed(Typed { schema: values, context: &mut *context })?;
            out.insert(key, value.unwrap_or_else(|| defaults::item(values)));
            context.pop(before);
        }
        Ok(Some(Value::Object(out)))
    }
}

fn name_slot(top: bool, key: &str) -> Option<usize> {
    match key {
        "apiVersion" if top => Some(0),
        "kind" if top => Some(1),
        _ => None,
    }
}

/// Which fields were there already.
#[derive(Default)]
struct Seen(u128);

impl Seen {
    /// No struct has more than 128 fields; were there one, its last fields would go unchecked.
    fn again(&mut self, index: usize) -> bool {
        let bit = u32::try_from(index).ok().and_then(|index| 1u128.checked_shl(index)).unwrap_or(0);
        let again = self.0 & bit != 0;
        self.0 |= bit;
        again
    }
}

enum Key {
    Known(usize),
    Unknown(String),
}

struct KeyOf<'s>(&'s Schema);

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyOf<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        Ok(self.0.position(key).map_or_else(|| Key::Unknown(key.to_owned()), Key::Known))
    }
}

impl<'de> Visitor<'de> for Typed<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Value>, E> {
        match self.schema.kind {
            Kind::Boolean => Ok(Some(value.into())),
            _ => Ok(self.mismatch("bool")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<Value>, E> {
        Ok(self.number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<Value>, E> {
        Ok(self.number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<Value>, E> {
        Ok(Number::from_f64(value).and_then(|number| self.number(number)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Option<Value>, E> {
        Ok(self.text(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Option<Value>, E> {
        match self.schema.kind {
            Kind::String | Kind::IntOrString => Ok(Some(Value::String(value))),
            _ => Ok(self.text(&value)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Option<Value>, A::Error> {
        let Kind::List { items, .. } = &self.schema.kind else {
            while access.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(self.mismatch("array"));
        };
        let mut out = Vec::new();
        loop {
            let before = self.context.push_index(out.len());
            let next =
                access.next_element_seed(Typed { schema: items, context: &mut *self.context })?;
            self.context.pop(before);
            match next {
                None => return Ok(Some(Value::Array(out))),
                Some(value) => out.push(value.unwrap_or_else(|| defaults::item(items))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Option<Value>, A::Error> {
        match &self.schema.kind {
            Kind::Object { fields, .. } => self.object(access, fields),
            Kind::Map { values, .. } => self.entries(access, values),
            _ => {
                while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.mismatch("object"))
            }
        }
    }
}
