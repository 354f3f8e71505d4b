//! From a request's body to an object of its kind, with the original's errors and warnings.
//!
//! Built-in shapes are decoded as the original's typed round trip does: unknown fields are dropped and
//! reported, types checked, null means absent, times and quantities become canonical, empty values are written or
//! left out as each field's [`Presence`](crate::schema::Presence) says, and static defaults filled in. Required
//! fields are not looked at: that is validation's work. Shapes made at run time (CustomResourceDefinitions) are
//! only pruned and defaulted: their types are checked by validation. A built-in shape inside such a one
//! (`metadata`) is decoded as the built-in it is.

mod context;
mod custom;
mod defaults;
mod distinct;
mod named;
mod operations;
mod scalar;
mod settle;
pub(crate) mod syntax;
mod typed;
mod unstructured;

pub use defaults::{apply_schema_defaults, zero};
pub use named::scheme_of;
pub use operations::operation_faults;
pub use scalar::{micro_time, time};
pub use settle::settle;
pub use typed::json_kind;
pub use unstructured::misfit;

use crate::{
    Definition, GroupVersionKind, Object, protobuf,
    schema::{Schema, SchemaRef},
    status::ApiResult,
    yaml,
};
use named::{Named, cannot, unrecognized};
use serde::de::DeserializeSeed;
use serde_json::Value;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// What to do about unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them with a warning.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the `fieldValidation` parameter; empty means [`Warn`](Self::Warn), `None` that it is no such thing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A decoded object and what to warn its sender of.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object.
    pub object: Object,
    /// One line each.
    pub warnings: Vec<String>,
}

/// What went wrong, without the words about which object it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not JSON, or not YAML.
    #[error("{0}")]
    Syntax(String),
    /// A value does not fit its field.
    #[error("{0}")]
    Type(String),
    /// Unknown or duplicate fields, and they were to be refused.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// Decodes a body into an object of `definition`'s kind.
///
/// # Errors
/// 400 in the original's words: for bad syntax, wrong types, another kind or version, and unknown or duplicate
/// fields when `validation` is strict.
pub fn decode(
    body: &[u8],
    format: Format,
    definition: &Definition,
    validation: FieldValidation,
) -> ApiResult<Decoded> {
    decode_as(body, format, &definition.kind, &definition.schema, validation)
}

/// Decodes a body into an object of this kind and shape; for the kinds of subresources and of reviews.
///
/// # Errors
/// As [`decode`].
pub fn decode_as(
    body: &[u8],
    format: Format,
    kind: &GroupVersionKind,
    schema: &SchemaRef,
    validation: FieldValidation,
) -> ApiResult<Decoded> {
    let strict = validation != FieldValidation::Ignore;
    let parsed = match format {
        Format::Json => shape_json(body, schema, strict),
        Format::Yaml => shape_yaml(body, schema, strict),
    };
    let unrecognized = |why: &str| unrecognized(kind, body, why);
    let shaped = parsed.map_err(|error| {
        unrecognized(&match format {
            Format::Json => format!("couldn't get version/kind; json parse error: {error}"),
            Format::Yaml => error.to_string(),
        })
    })?;
    if let Some(what) = shaped.other {
        return Err(unrecognized(&no_names(what)));
    }
    let named = Named::of(shaped.names, kind, matches!(schema, SchemaRef::Static(_)))
        .map_err(|why| unrecognized(&why))?;
    let name = match &shaped.result {
        Ok(Some(value)) => value["metadata"]["name"].as_str().unwrap_or_default(),
        _ => "",
    };
    named.check(kind, name)?;
    let cannot = |error: &dyn std::fmt::Display| cannot(kind, kind, error);
    let mut object = match shaped.result {
        Ok(Some(Value::Object(map))) => Object::from_value(Value::Object(map)).unwrap_or_default(),
        Ok(_) => Object::default(),
        Err(error) => return Err(cannot(&error)),
    };
    object.set(&["apiVersion"], kind.group_version().to_string());
    object.set(&["kind"], kind.kind.to_string());
    match validation {
        FieldValidation::Strict if !shaped.found.is_empty() => {
            Err(cannot(&DecodeError::Strict(shaped.found)))
        }
        _ => Ok(Decoded { object, warnings: shaped.found }),
    }
}

/// Decodes a body in the protobuf form into an object of this kind and shape; nothing in it can be unknown or
/// come twice.
///
/// # Errors
/// 400 in the original's words: for malformed bodies, another kind or version, and kinds without such a form.
pub fn decode_protobuf(
    body: &[u8],
    kind: &GroupVersionKind,
    schema: &SchemaRef,
) -> ApiResult<Decoded> {
    let unrecognized = |why: &str| unrecognized(kind, body, why);
    if body.is_empty() {
        return Err(unrecognized("empty data"));
    }
    if body == protobuf::MAGIC {
        return Err(unrecognized("empty body"));
    }
    let sent = protobuf::unwrap(body).map_err(|error| unrecognized(&error.to_string()))?;
    let named = Named::of([Some(sent.api_version.into()), Some(sent.kind.into())], kind, true);
    named.map_err(|why| unrecognized(&why))?.check(kind, "")?;
    let cannot = |error: &dyn std::fmt::Display| cannot(kind, kind, error);
    let message = protobuf::Message::of(schema).ok_or_else(|| {
        cannot(&format!(
            "object {GO_UNSTRUCTURED} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
        ))
    })?;
    let map = message.decode(sent.raw).map_err(|error| cannot(&error))?;
    let mut object = Object::from_value(Value::Object(map)).unwrap_or_default();
    conform(&mut object, schema).map_err(|error| cannot(&error))?;
    object.set(&["apiVersion"], kind.group_version().to_string());
    object.set(&["kind"], kind.kind.to_string());
    Ok(Decoded { object, warnings: Vec::new() })
}

/// The fields that come twice in a body of this shape, in the original's words; none in one that cannot be read.
#[must_use]
pub fn duplicates(body: &[u8], schema: &SchemaRef) -> Vec<String> {
    if distinct::is_distinct(body) {
        return Vec::new();
    }
    let mut found = shape_json(body, schema, true).map(|shaped| shaped.found).unwrap_or_default();
    found.retain(|text| text.starts_with("duplicate field"));
    found
}

/// What the original calls an object of a kind made at run time.
const GO_UNSTRUCTURED: &str = "*unstructured.Unstructured";

/// Makes an object that something built (a patch, a webhook) fit its shape, as if it had been decoded; what is
/// unknown is dropped and named.
///
/// # Errors
/// [`DecodeError::Type`].
pub fn conform(object: &mut Object, schema: &SchemaRef) -> Result<Vec<String>, DecodeError> {
    let (api_version, kind) = (object.remove(&["apiVersion"]), object.remove(&["kind"]));
    let value = Value::Object(std::mem::take(object.map_mut()));
    let shaped =
        shape(value, schema, true).map_err(|error| DecodeError::Syntax(error.to_string()))?;
    if let Some(Value::Object(map)) = shaped.result.map_err(DecodeError::Type)? {
        *object.map_mut() = map;
    }
    for (name, value) in [("apiVersion", api_version), ("kind", kind)] {
        if let Some(value) = value {
            object.set(&[name], value);
        }
    }
    Ok(shaped.found)
}

/// As [`conform`], of a value that stays as it is.
///
/// # Errors
/// [`DecodeError::Type`].
pub fn conformed(value: &Object, schema: &SchemaRef) -> Result<(Object, Vec<String>), DecodeError> {
    let shaped =
        shape(value.map(), schema, true).map_err(|error| DecodeError::Syntax(error.to_string()))?;
    let mut object = match shaped.result.map_err(DecodeError::Type)? {
        Some(Value::Object(map)) => Object::from_value(Value::Object(map)).unwrap_or_default(),
        _ => Object::default(),
    };
    for name in ["apiVersion", "kind"] {
        if let Some(value) = value.map().get(name) {
            object.set(&[name], value.clone());
        }
    }
    Ok((object, shaped.found))
}

/// Drops what the shape does not know, keeping what it says to keep; returns the dropped paths, sorted.
pub fn prune(object: &mut Object, schema: &Schema) -> Vec<String> {
    let value = Value::Object(std::mem::take(object.map_mut()));
    let mut context = context::Context::new(true);
    if let Ok(Value::Object(map)) =
        (custom::Custom { schema: Some(schema), context: &mut context }).deserialize(value)
    {
        *object.map_mut() = map;
    }
    let prefix = "unknown field \"";
    let paths = context
        .unknown
        .iter()
        .filter_map(|text| Some(text.strip_prefix(prefix)?.trim_end_matches('"').to_owned()));
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    paths
}

/// A value held against a shape.
struct Shaped {
    /// The top-level `apiVersion` and `kind`, as they stood there.
    names: [Option<Value>; 2],
    /// The value, or the first error of type.
    result: Result<Option<Value>, String>,
    /// Duplicate and unknown fields.
    found: Vec<String>,
    /// What the whole is, if it is neither a map nor null.
    other: Option<&'static str>,
}

fn shape_json(body: &[u8], schema: &SchemaRef, strict: bool) -> Result<Shaped, String> {
    // Looked at once as a whole, and not text by text.
    let shaped = match std::str::from_utf8(body) {
        Ok(text) => shape_whole(serde_json::Deserializer::from_str(text), schema, strict),
        Err(_) => shape_whole(serde_json::Deserializer::from_slice(body), schema, strict),
    };
    let mut shaped = shaped.map_err(|error| syntax::explain(body, &error))?;
    shaped.other = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Some("array"),
        Some(b'"') => Some("string"),
        Some(b't' | b'f') => Some("bool"),
        Some(b'-' | b'0'..=b'9') => Some("number"),
        _ => None,
    };
    Ok(shaped)
}

/// Why something that is no map, but a `what` as [`json_kind`] calls it, names neither version nor kind.
#[must_use]
pub fn no_names(what: &str) -> String {
    const INTO: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go value of type {INTO}"
    )
}

fn shape_whole<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
    schema: &SchemaRef,
    strict: bool,
) -> serde_json::Result<Shaped> {
    let shaped = shape(&mut deserializer, schema, strict)?;
    deserializer.end()?;
    Ok(shaped)
}

fn shape_yaml(body: &[u8], schema: &SchemaRef, strict: bool) -> Result<Shaped, String> {
    let (value, duplicates) =
        yaml::parse_reporting_duplicates(body).map_err(|error| error.to_string())?;
    let other = Some(typed::json_kind(&value)).filter(|what| !["object", "null"].contains(what));
    let mut shaped = shape(value, schema, strict).map_err(|error| error.to_string())?;
    shaped.other = other;
    if strict {
        shaped.found.splice(0..0, duplicates);
    }
    Ok(shaped)
}

fn shape<'de, D: serde::Deserializer<'de>>(
    from: D,
    schema: &SchemaRef,
    strict: bool,
) -> Result<Shaped, D::Error> {
    let mut context = match schema {
        SchemaRef::Static(_) => context::Context::new(strict),
        SchemaRef::Shared(_) => context::Context::tracking(strict),
    };
    let result = match schema {
        SchemaRef::Static(schema) => {
            typed::Typed { schema, context: &mut context }.deserialize(from)?
        }
        SchemaRef::Shared(schema) => {
            let mut value =
                custom::Custom { schema: Some(schema), context: &mut context }.deserialize(from)?;
            apply_schema_defaults(&mut value, schema);
            context.unknown.sort();
            context.inner.sort();
            Some(value)
        }
    };
    let mut found = context.duplicates;
    found.append(&mut context.unknown);
    found.append(&mut context.inner);
    let result = match context.fatal.or(context.saved) {
        Some(error) => Err(error),
        None => Ok(result),
    };
    Ok(Shaped { names: context.names, result, found, other: None })
}

#[cfg(test)]
mod tests;
