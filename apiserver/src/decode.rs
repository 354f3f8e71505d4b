//! From request bodies to objects of the kind the path names.

use crate::verbs::Call;
use http::{HeaderMap, header};
use kubeplane_core::{
    ApiError, GroupKind, GroupVersionKind, Object,
    apply::refuse_packed_managers,
    decode::{self, DecodeError, Decoded, FieldValidation, Format},
    field,
    patch::{strategic, unreadable},
    protobuf,
    schema::{self, Kind, Schema, SchemaRef},
    status::ApiResult,
    yaml,
};
use serde_json::Value;
use std::{collections::HashMap, sync::LazyLock};

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
    let found = decoded(bytes, written, kind, &schema, validation);
    match older(kind) {
        Some(older) if found.is_err() => {
            let Ok(mut sent) = decoded(bytes, written, &older, &schema, validation) else {
                return found;
            };
            sent.object.set(&["apiVersion"], kind.group_version().to_string());
            Ok(sent)
        }
        _ => found,
    }
}

/// An older version of the same shape that is taken too.
fn older(kind: &GroupVersionKind) -> Option<GroupVersionKind> {
    let evicts = kind.group == "policy" && kind.kind == "Eviction";
    evicts.then(|| GroupVersionKind::new("policy", "v1beta1", "Eviction"))
}

/// The shapes of built-in kinds by the first word of their group, version and kind, as in `core.v1.Binding`.
static SHAPES: LazyLock<HashMap<&str, SchemaRef>> = LazyLock::new(|| {
    let mut shapes = HashMap::new();
    for name in schema::builtin_names() {
        let end = name.rmatch_indices('.').nth(2).map(|(at, _)| &name[at + 1..]);
        if let (Some(end), Some(schema)) = (end, schema::builtin(name)) {
            shapes.entry(end).or_insert(schema);
        }
    }
    shapes
});

/// The shape of a built-in kind; anything at all of others.
pub(crate) fn shape(kind: &GroupVersionKind) -> SchemaRef {
    let group = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    let name = format!("{group}.{}.{}", kind.version, kind.kind);
    SHAPES.get(name.as_str()).unwrap_or(&ANYTHING).clone()
}

/// Decodes the options of a delete; `None` without a body.
pub(crate) fn options(headers: &HeaderMap, bytes: &[u8]) -> ApiResult<Option<Object>> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let schema = schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let schema = schema.as_ref().unwrap_or(&ANYTHING);
    let value = match format(headers, schema)? {
        Written::Text(Format::Json) => serde_json::from_slice(bytes).map_err(|error| {
            let why = unreadable(bytes, &error, "");
            format!("couldn't get version/kind; json parse error: {why}")
        }),
        Written::Text(Format::Yaml) => yaml::parse(bytes).map_err(|error| error.to_string()),
        Written::Protobuf => protobuf_options(bytes).map_err(|error| error.to_string()),
    };
    let value: Value = value.map_err(ApiError::bad_request)?;
    let mut object = match value {
        Value::Null => Object::default(),
        value => {
            let found = decode::json_kind(&value);
            Object::from_value(value)
                .ok_or_else(|| ApiError::bad_request(decode::no_names(found)))?
        }
    };
    if !matches!(object.kind(), "" | "DeleteOptions") {
        let (kind, version) = (object.kind(), object.api_version());
        return Err(ApiError::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \
             \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        )));
    }
    decode::conform(&mut object, schema)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Some(object))
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

/// What was sent to make an object of, as far as failures and warnings tell of it.
#[derive(Debug, Default)]
pub(crate) struct Sent<'a> {
    /// What came twice in it, and what it may not hold.
    pub(crate) faults: Vec<String>,
    /// A strategic merge patch.
    pub(crate) strategic: Option<&'a [u8]>,
    /// It is the configuration of an apply.
    pub(crate) applied: bool,
}

impl Sent<'_> {
    /// How the outcome, or what was sent, is shown.
    fn shown(&self, outcome: Object) -> String {
        let strategic = self.strategic.and_then(|body| serde_json::from_slice(body).ok());
        match strategic {
            Some(patch) => strategic::as_go(&patch),
            None => outcome.into_value().to_string(),
        }
    }

    /// Why the outcome is no object of the kind: what was a map all the way is looked at in another way.
    fn misfit(&self, outcome: &Object, schema: &Schema, error: &DecodeError) -> String {
        let mapped = self.strategic.is_some() || self.applied;
        let found = mapped.then(|| decode::misfit(&Value::Object(outcome.map().clone()), schema));
        found.flatten().unwrap_or_else(|| error.to_string())
    }
}

/// Makes the outcome of a patch an object of the kind, as if it had been sent.
pub(crate) fn patched(
    call: &Call,
    value: Value,
    validation: FieldValidation,
    sent: Sent<'_>,
) -> ApiResult<Object> {
    let definition = call.definition();
    patched_as(call, &definition.kind, &definition.schema, value, validation, sent)
}

/// The same for a view of the object, as a Scale is.
pub(crate) fn patched_as(
    call: &Call,
    kind: &GroupVersionKind,
    schema: &SchemaRef,
    value: Value,
    validation: FieldValidation,
    mut sent: Sent<'_>,
) -> ApiResult<Object> {
    let invalid = |why: &dyn std::fmt::Display, value: String| {
        let errors = [field::Error::invalid(&field::Path::new("patch"), value, why.to_string())];
        ApiError::invalid(&GroupKind::default(), "", &errors)
    };
    let _span = tracing::debug_span!("decode").entered();
    let mut outcome = match value {
        Value::Object(_) => Object::from_value(value).unwrap_or_default(),
        other => return Err(invalid(&"the patched object is no map", other.to_string())),
    };
    if sent.strategic.is_some() {
        // The type is chosen before the patch is looked at, whatever that says.
        outcome.set(&["kind"], kind.kind.to_string());
        outcome.set(&["apiVersion"], kind.group_version().to_string());
    }
    if outcome.kind() != kind.kind || outcome.group_version() != Some(kind.group_version()) {
        let why = format!(
            "no kind \"{}\" is registered for version \"{}\" in scheme \"{}\"",
            outcome.kind(),
            outcome.api_version(),
            decode::scheme_of(kind),
        );
        return Err(invalid(&why, sent.shown(outcome)));
    }
    let (object, mut found) = match decode::conformed(&outcome, schema) {
        Ok(conformed) => conformed,
        Err(error) => {
            let why = sent.misfit(&outcome, schema, &error);
            return Err(invalid(&why, sent.shown(outcome)));
        }
    };
    if sent.strategic.is_some() {
        found.sort();
    }
    found.splice(0..0, std::mem::take(&mut sent.faults));
    match validation {
        FieldValidation::Strict if !found.is_empty() => {
            Err(invalid(&DecodeError::Strict(found), sent.shown(outcome)))
        }
        FieldValidation::Warn => {
            found.into_iter().for_each(|warning| call.warnings.add(warning));
            Ok(object)
        }
        _ => Ok(object),
    }
}
