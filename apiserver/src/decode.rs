//! From request bodies to objects of the kind the path names.

use crate::{protobuf, verbs::Call};
use http::{HeaderMap, header};
use kubeplane_core::{
    ApiError, GroupKind, GroupVersionKind, Object,
    decode::{self, DecodeError, Decoded, FieldValidation, Format},
    field,
    schema::{self, Kind, Schema, SchemaRef},
    status::ApiResult,
    yaml,
};
use serde_json::Value;
use std::sync::LazyLock;

/// What bodies of built-in kinds may be; others have no protobuf form.
const ACCEPTED: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

static ANYTHING: LazyLock<SchemaRef> = LazyLock::new(|| Schema::anonymous(Kind::Any).into());

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Text(Format),
    Protobuf,
}

/// How a body is written, by its content type.
pub(crate) fn format(headers: &HeaderMap, schema: &SchemaRef) -> ApiResult<Written> {
    let builtin = matches!(schema, SchemaRef::Static(_));
    match media_type(headers).as_str() {
        "" | "application/json" => Ok(Written::Text(Format::Json)),
        "application/yaml" => Ok(Written::Text(Format::Yaml)),
        "application/vnd.kubernetes.protobuf" if builtin => Ok(Written::Protobuf),
        _ if builtin => Err(ApiError::unsupported_media_type(&ACCEPTED)),
        _ => Err(ApiError::unsupported_media_type(&ACCEPTED[..2])),
    }
}

fn decoded(
    bytes: &[u8],
    written: Written,
    kind: &GroupVersionKind,
    schema: &SchemaRef,
    validation: FieldValidation,
) -> ApiResult<Decoded> {
    match written {
        Written::Text(format) => decode::decode_as(bytes, format, kind, schema, validation),
        Written::Protobuf => {
            let json = protobuf::to_json(bytes, schema)?.to_string();
            decode::decode_as(json.as_bytes(), Format::Json, kind, schema, FieldValidation::Ignore)
        }
    }
}

/// The content type without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes the body of a create or update.
pub(crate) fn body(
    call: &Call,
    written: Written,
    bytes: &[u8],
    validation: FieldValidation,
) -> ApiResult<Object> {
    let definition = call.definition();
    let decoded = decoded(bytes, written, &definition.kind, &definition.schema, validation)?;
    if validation == FieldValidation::Warn {
        decoded.warnings.into_iter().for_each(|warning| call.warnings.add(warning));
    }
    Ok(decoded.object)
}

/// Decodes a body of any shape as this kind; it may leave kind and version out.
pub(crate) fn loose(
    headers: &HeaderMap,
    bytes: &[u8],
    kind: &GroupVersionKind,
    validation: FieldValidation,
) -> ApiResult<Decoded> {
    let version = kind.group_version();
    let known = |name: &&'static str| {
        let group =
            version.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        name.ends_with(&format!(".{group}.{}.{}", version.version, kind.kind))
    };
    let schema = schema::builtin_names().find(known).and_then(schema::builtin);
    let schema = schema.as_ref().unwrap_or(&ANYTHING);
    let written = format(headers, schema)?;
    decoded(bytes, written, kind, schema, validation)
}

/// Decodes the options of a delete; `None` without a body.
pub(crate) fn options(headers: &HeaderMap, bytes: &[u8]) -> ApiResult<Option<Object>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let schema = schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let schema = schema.as_ref().unwrap_or(&ANYTHING);
    let value = match format(headers, schema)? {
        Written::Text(Format::Json) => {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())
        }
        Written::Text(Format::Yaml) => yaml::parse(bytes).map_err(|error| error.to_string()),
        Written::Protobuf => Ok(protobuf::to_json(bytes, schema)?),
    };
    let value: Value = value.map_err(ApiError::bad_request)?;
    let object = Object::from_value(value);
    object
        .map(Some)
        .ok_or_else(|| ApiError::bad_request("couldn't get version/kind; the body is no object"))
}

/// Makes the outcome of a patch an object of the kind, as if it had been sent.
pub(crate) fn patched(call: &Call, value: Value, validation: FieldValidation) -> ApiResult<Object> {
    let invalid = |why: &dyn std::fmt::Display, value: &Value| {
        let errors =
            [field::Error::invalid(&field::Path::new("patch"), value.to_string(), why.to_string())];
        ApiError::invalid(&GroupKind::default(), "", &errors)
    };
    let definition = call.definition();
    let Some(mut object) = Object::from_value(value.clone()) else {
        return Err(invalid(&"the patched object is no map", &value));
    };
    if object.kind() != definition.kind.kind
        || object.group_version() != Some(definition.group_version())
    {
        let why = format!(
            "the patched object is of kind {} in version {}, not {}",
            object.kind(),
            object.api_version(),
            definition.kind
        );
        return Err(ApiError::bad_request(why));
    }
    let found = decode::conform(&mut object, &definition.schema)
        .map_err(|error| invalid(&error, &value))?;
    match validation {
        FieldValidation::Strict if !found.is_empty() => {
            Err(invalid(&DecodeError::Strict(found), &value))
        }
        FieldValidation::Warn => {
            found.into_iter().for_each(|warning| call.warnings.add(warning));
            Ok(object)
        }
        _ => Ok(object),
    }
}
