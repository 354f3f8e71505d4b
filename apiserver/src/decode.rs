//! From request bodies to objects of the kind the path names.

use crate::verbs::Call;
use http::{HeaderMap, header};
use kubeplane_core::{
    ApiError, GroupKind, GroupVersionKind, Object,
    decode::{self, DecodeError, FieldValidation, Format},
    field,
    schema::{Kind, Schema, SchemaRef},
    status::ApiResult,
    yaml,
};
use serde_json::Value;
use std::sync::LazyLock;

/// What bodies may be.
const ACCEPTED: [&str; 2] = ["application/json", "application/yaml"];

static ANYTHING: LazyLock<SchemaRef> = LazyLock::new(|| Schema::anonymous(Kind::Any).into());

/// How a body is written, by its content type.
pub(crate) fn format(headers: &HeaderMap) -> ApiResult<Format> {
    match media_type(headers).as_str() {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        _ => Err(ApiError::unsupported_media_type(&ACCEPTED)),
    }
}

/// The content type without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes the body of a create or update.
pub(crate) fn body(call: &Call, format: Format, bytes: &[u8], validation: FieldValidation) -> ApiResult<Object> {
    let decoded = decode::decode(bytes, format, call.definition(), validation)?;
    if validation == FieldValidation::Warn {
        decoded.warnings.into_iter().for_each(|warning| call.warnings.add(warning));
    }
    Ok(decoded.object)
}

/// Decodes a body of any shape as this kind; it may leave kind and version out.
pub(crate) fn loose(headers: &HeaderMap, bytes: &[u8], kind: &GroupVersionKind) -> ApiResult<Object> {
    let version = kind.group_version();
    let known = |name: &String| {
        let group = version.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        name.ends_with(&format!(".{group}.{}.{}", version.version, kind.kind))
    };
    let name = kubeplane_core::schema::builtin_names().map(|name| name.to_string()).find(known);
    let schema = name.and_then(|name| kubeplane_core::schema::builtin(&name));
    let schema = schema.as_ref().unwrap_or(&ANYTHING);
    Ok(decode::decode_as(bytes, format(headers)?, kind, schema, FieldValidation::Ignore)?.object)
}

/// Decodes the options of a delete; `None` without a body.
pub(crate) fn options(headers: &HeaderMap, bytes: &[u8]) -> ApiResult<Option<Object>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value = match format(headers)? {
        Format::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        Format::Yaml => yaml::parse(bytes).map_err(|error| error.to_string()),
    };
    let value: Value = value.map_err(ApiError::bad_request)?;
    let object = Object::from_value(value);
    object.map(Some).ok_or_else(|| ApiError::bad_request("couldn't get version/kind; the body is no object"))
}

/// Makes the outcome of a patch an object of the kind, as if it had been sent.
pub(crate) fn patched(call: &Call, value: Value, validation: FieldValidation) -> ApiResult<Object> {
    let invalid = |why: &dyn std::fmt::Display, value: &Value| {
        let errors = [field::Error::invalid(&field::Path::new("patch"), value.to_string(), why.to_string())];
        ApiError::invalid(&GroupKind::default(), "", &errors)
    };
    let definition = call.definition();
    let Some(mut object) = Object::from_value(value.clone()) else {
        return Err(invalid(&"the patched object is no map", &value));
    };
    if object.kind() != definition.kind.kind || object.group_version() != Some(definition.group_version()) {
        let why = format!(
            "the patched object is of kind {} in version {}, not {}",
            object.kind(),
            object.api_version(),
            definition.kind
        );
        return Err(ApiError::bad_request(why));
    }
    let found = decode::conform(&mut object, &definition.schema).map_err(|error| invalid(&error, &value))?;
    match validation {
        FieldValidation::Strict if !found.is_empty() => Err(invalid(&DecodeError::Strict(found), &value)),
        FieldValidation::Warn => {
            found.into_iter().for_each(|warning| call.warnings.add(warning));
            Ok(object)
        }
        _ => Ok(object),
    }
}
