//! From request bodies to objects of the kind the path names.

use crate::verbs::Call;
use http::{HeaderMap, header};
use kubeplane_core::{
    ApiError, GroupKind, GroupVersionKind, Object,
    apply::refuse_packed_managers,
    decode::{self, DecodeError, Decoded, FieldValidation, Format},
    field, protobuf,
    schema::{self, Kind, Schema, SchemaRef},
    status::ApiResult,
    yaml,
};
use serde_json::Value;
use std::sync::LazyLock;

/// What bodies may be. The list is the same for kinds made at run time, though those have no protobuf form.
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
        protobuf::CONTENT_TYPE if builtin => Ok(Written::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&ACCEPTED)),
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
        Written::Protobuf => decode::decode_protobuf(bytes, kind, schema),
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
    let _span = tracing::debug_span!("decode").entered();
    let definition = call.definition();
    let decoded = decoded(bytes, written, &definition.kind, &definition.schema, validation)?;
    if validation == FieldValidation::Warn {
        decoded.warnings.into_iter().for_each(|warning| call.warnings.add(warning));
    }
    let mut object = decoded.object;
    refuse_packed_managers(&mut object);
    Ok(object)
}

/// Decodes a body of any shape as this kind; it may leave kind and version out.
pub(crate) fn loose(
    headers: &HeaderMap,
    bytes: &[u8],
    kind: &GroupVersionKind,
    validation: FieldValidation,
) -> ApiResult<Decoded> {
    let schema = shape(kind);
    let written = format(headers, &schema)?;
    decoded(bytes, written, kind, &schema, validation)
}

/// The shape of a built-in kind; anything at all of others.
pub(crate) fn shape(kind: &GroupVersionKind) -> SchemaRef {
    let version = kind.group_version();
    let known = |name: &&'static str| {
        let group =
            version.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        name.ends_with(&format!(".{group}.{}.{}", version.version, kind.kind))
    };
    let schema = schema::builtin_names().find(known).and_then(schema::builtin);
    schema.unwrap_or_else(|| ANYTHING.clone())
}

/// Decodes the options of a delete; `None` without a body.
pub(crate) fn options(headers: &HeaderMap, bytes: &[u8]) -> ApiResult<Option<Object>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let schema = schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let value = match format(headers, schema.as_ref().unwrap_or(&ANYTHING))? {
        Written::Text(Format::Json) => {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())
        }
        Written::Text(Format::Yaml) => yaml::parse(bytes).map_err(|error| error.to_string()),
        Written::Protobuf => protobuf_options(bytes).map_err(|error| error.to_string()),
    };
    let value: Value = value.map_err(ApiError::bad_request)?;
    let object = Object::from_value(value);
    object
        .map(Some)
        .ok_or_else(|| ApiError::bad_request("couldn't get version/kind; the body is no object"))
}

fn protobuf_options(bytes: &[u8]) -> protobuf::Result<Value> {
    let sent = protobuf::unwrap(bytes)?;
    let message = protobuf::Message::of_kind("meta.k8s.io/v1", "DeleteOptions");
    let mut map = message.map(|message| message.decode(sent.raw)).transpose()?.unwrap_or_default();
    map.insert("kind".into(), sent.kind.into());
    map.insert("apiVersion".into(), sent.api_version.into());
    Ok(Value::Object(map))
}

/// The outcome of a patch as an object of the kind, if nothing about it has to be told; [`patched`] says the rest.
pub(crate) fn settled(call: &Call, value: Value) -> Option<Object> {
    let _span = tracing::debug_span!("decode").entered();
    let definition = call.definition();
    let mut object = Object::from_value(value)?;
    let is_kind = object.kind() == definition.kind.kind
        && object.group_version() == Some(definition.group_version());
    (is_kind && decode::settle(&mut object, &definition.schema)).then_some(object)
}

/// Makes the outcome of a patch an object of the kind, as if it had been sent. `twice` is what came twice in the patch.
pub(crate) fn patched(
    call: &Call,
    value: Value,
    validation: FieldValidation,
    twice: Vec<String>,
) -> ApiResult<Object> {
    let definition = call.definition();
    patched_as(call, &definition.kind, &definition.schema, value, validation, twice)
}

/// The same for a view of the object, as a Scale is.
pub(crate) fn patched_as(
    call: &Call,
    kind: &GroupVersionKind,
    schema: &SchemaRef,
    value: Value,
    validation: FieldValidation,
    twice: Vec<String>,
) -> ApiResult<Object> {
    let invalid = |why: &dyn std::fmt::Display, value: Value| {
        let errors =
            [field::Error::invalid(&field::Path::new("patch"), value.to_string(), why.to_string())];
        ApiError::invalid(&GroupKind::default(), "", &errors)
    };
    let _span = tracing::debug_span!("decode").entered();
    let sent = match value {
        Value::Object(_) => Object::from_value(value).unwrap_or_default(),
        other => return Err(invalid(&"the patched object is no map", other)),
    };
    if sent.kind() != kind.kind || sent.group_version() != Some(kind.group_version()) {
        let why = format!(
            "no kind \"{}\" is registered for version \"{}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            sent.kind(),
            sent.api_version(),
        );
        return Err(invalid(&why, sent.into_value()));
    }
    let (object, found) = match decode::conformed(&sent, schema) {
        Ok(conformed) => conformed,
        Err(error) => return Err(invalid(&error, sent.into_value())),
    };
    let found: Vec<_> = twice.into_iter().chain(found).collect();
    match validation {
        FieldValidation::Strict if !found.is_empty() => {
            Err(invalid(&DecodeError::Strict(found), sent.into_value()))
        }
        FieldValidation::Warn => {
            found.into_iter().for_each(|warning| call.warnings.add(warning));
            Ok(object)
        }
        _ => Ok(object),
    }
}
