//! The form of an answer: what the client accepts, and objects in it.

mod lists;
mod negotiate;
mod ordered;
mod packed;
mod protobuf;
mod table;

pub(crate) use lists::{ListMeta, list};
pub use negotiate::accepts_only;
pub(crate) use negotiate::{Accepted, Form, Media, Offer, PageForm, Wish, is_unknown, page_form};
pub(crate) use ordered::{document, text as json_text};
pub(crate) use protobuf::{body_of, metadata as metadata_body, object as object_body};
pub(crate) use table::Table;

use crate::{
    body::{self, Body},
    stored::Shape,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object,
    schema::SchemaRef,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::Revision;
use serde_json::{Value, json};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// An answer of JSON bytes as they are.
pub(crate) fn json_bytes(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    with_type(code, JSON, body::full(bytes))
}

/// An answer in plain text, for what the original's multiplexer and first filters answer by themselves.
pub(crate) fn page(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = with_type(code, TEXT, body::full(text));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

/// The page for a path of nobody: what the original's multiplexer says where none of its routes leads.
#[must_use]
pub fn nowhere() -> Response<Body> {
    page(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// An answer of a document for people: JSON on many lines, whoever asks.
pub(crate) fn indented(document: &Value) -> ApiResult<Response<Body>> {
    let bytes = ordered::document(document, true).map_err(ApiError::internal)?;
    Ok(json_bytes(StatusCode::OK, bytes))
}

/// An answer of this content type.
pub(crate) fn with_type(code: StatusCode, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// An answer of a JSON value in the media type accepted.
pub(crate) fn value(
    accepted: &Accepted,
    code: StatusCode,
    value: &Value,
) -> ApiResult<Response<Body>> {
    if accepted.media == Media::Protobuf {
        return Ok(protobuf::answer(accepted, code, body_of(value)?));
    }
    if accepted.media == Media::Yaml {
        let text = serde_saphyr::to_string(value).map_err(ApiError::internal)?;
        return Ok(packed::whole(accepted, code, YAML, text));
    }
    let mut bytes = ordered::bytes(value, accepted.pretty).map_err(ApiError::internal)?;
    if !accepted.pretty {
        bytes.push(b'\n');
    }
    Ok(packed::whole(accepted, code, JSON, bytes))
}

/// An answer of an object that is not stored.
pub(crate) fn object(head: &Parts, code: StatusCode, object: &Object) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(head, Offer::ANSWER)?;
    match &accepted.form {
        Form::Metadata { version, list: false } => {
            value(&accepted, code, &partial(object, version))
        }
        _ => value(&accepted, code, &Value::Object(object.map().clone())),
    }
}

/// An answer of objects that are not stored: one by itself, or a list.
pub(crate) fn objects(
    head: &Parts,
    definition: &Definition,
    objects: Vec<Object>,
    list: bool,
    now: Timestamp,
) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(head, Offer::forms(definition))?;
    let of_list = |kind: &str, version: String, items: Vec<Value>| match list {
        false => items.into_iter().next().unwrap_or_default(),
        true => json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": items}),
    };
    let answer = match &accepted.form {
        Form::Table(form) => {
            let mut table = Table::new(form, definition, now);
            objects.iter().for_each(|object| table.push(object));
            table.finish(&ListMeta::default(), true)
        }
        Form::Metadata { version, .. } => {
            let items = objects.iter().map(|object| partial(object, version)).collect();
            of_list("PartialObjectMetadataList", format!("meta.k8s.io/{version}"), items)
        }
        Form::Object => {
            let items = objects.into_iter().map(Object::into_value).collect();
            of_list(&definition.list_kind, definition.group_version().to_string(), items)
        }
    };
    value(&accepted, StatusCode::OK, &answer)
}

/// An answer of a Status that is no failure.
pub(crate) fn status(head: &Parts, code: StatusCode, status: &Value) -> Response<Body> {
    always(&Accepted::of_status(head), code, status)
}

fn always(accepted: &Accepted, code: StatusCode, status: &Value) -> Response<Body> {
    value(accepted, code, status).unwrap_or_else(|_| json_bytes(code, status.to_string()))
}

/// An answer to a failed request.
pub(crate) fn failure(wish: &Wish, error: &ApiError) -> Response<Body> {
    let accepted = Accepted::of_error(wish);
    let mut response = always(&accepted, error.code(), &error.to_status());
    let seconds = error.details().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if error.code() == StatusCode::FORBIDDEN {
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    }
    response
}

/// An answer of one stored object in the form accepted.
pub(crate) fn entity(
    accepted: &Accepted,
    shape: &Shape,
    code: StatusCode,
    stored: &Bytes,
    revision: Option<Revision>,
    now: Timestamp,
) -> ApiResult<Response<Body>> {
    refuse_lists_of(accepted, shape.definition(), false)?;
    match &accepted.form {
        Form::Object if accepted.media == Media::Protobuf => {
            Ok(protobuf::answer(accepted, code, object_body(shape, stored, revision)?))
        }
        Form::Metadata { version, .. } if accepted.media == Media::Protobuf => {
            Ok(protobuf::answer(accepted, code, metadata_body(stored, revision, version)?))
        }
        Form::Object if accepted.is_plain_json() => {
            let Some(revision) = revision else {
                return Ok(packed::whole(accepted, code, JSON, stored.clone()));
            };
            let mut out = BytesMut::new();
            shape.write(stored, revision, &mut out);
            Ok(packed::whole(accepted, code, JSON, out.freeze()))
        }
        Form::Object => {
            let object = decoded(stored, revision)?;
            value(accepted, code, &object.into_value())
        }
        Form::Metadata { version, .. } => {
            let object = decoded(stored, revision)?;
            value(accepted, code, &partial(&object, version))
        }
        Form::Table(form) => {
            let object = decoded(stored, revision)?;
            let mut table = Table::new(form, shape.definition(), now);
            table.push(&object);
            let meta =
                ListMeta { revision: object.resource_version().to_owned(), ..ListMeta::default() };
            value(accepted, code, &table.finish(&meta, true))
        }
    }
}

/// 406 when a list is asked for of one object, or one object of a list.
fn refuse_lists_of(accepted: &Accepted, definition: &Definition, is_list: bool) -> ApiResult<()> {
    let Form::Metadata { list: wanted, .. } = accepted.form else { return Ok(()) };
    let builtin = matches!(definition.schema, SchemaRef::Static(_));
    // As Go names the types inside the original.
    let group = match definition.kind.group.split('.').next().unwrap_or_default() {
        "" | "events" => "core",
        group => group,
    };
    let why = match (wanted, is_list) {
        (false, true) => {
            let found = if builtin { &*definition.list_kind } else { "UnstructuredList" };
            let group = if builtin { group } else { "unstructured" };
            format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{group}.{found})"
            )
        }
        (true, false) => {
            let found = if builtin { &*definition.kind.kind } else { "Unstructured" };
            let group = if builtin { group } else { "unstructured" };
            format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{group}.{found})"
            )
        }
        _ => return Ok(()),
    };
    // The original takes what has no type for its own fault.
    let (code, reason) = match wanted && !builtin {
        true => (StatusCode::INTERNAL_SERVER_ERROR, ""),
        false => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
    };
    Err(ApiError::new(code, reason, why))
}

fn decoded(stored: &Bytes, revision: Option<Revision>) -> ApiResult<Object> {
    match revision {
        Some(revision) => crate::stored::decode(stored, revision),
        None => Object::parse(stored),
    }
    .map_err(ApiError::internal)
}

/// An object's metadata alone.
pub(crate) fn partial(object: &Object, version: &str) -> Value {
    serde_json::json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.at(&["metadata"]).cloned().unwrap_or_default(),
    })
}
