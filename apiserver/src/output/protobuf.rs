//! Answers in the protobuf form: encoded from JSON text, and kept beside it in the cache while lists ask for it.

use super::{Accepted, ListMeta, packed};
use crate::{
    body::{Body, BoxError},
    cache::Row,
    stored::Shape,
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode};
use kubeplane_core::{
    protobuf::{self, CONTENT_TYPE, Message},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::Revision;
use serde_json::Value;
use std::sync::Arc;

/// How many bytes are put together for one write.
const CHUNK: usize = 64 * 1024;
/// How many objects are encoded before other requests get a turn.
const TURN: usize = 128;
const PROTOBUF: HeaderValue = HeaderValue::from_static(CONTENT_TYPE);

/// An answer of a body.
pub(super) fn answer(accepted: &Accepted, code: StatusCode, body: Vec<u8>) -> Response<Body> {
    packed::whole(accepted, code, PROTOBUF, body)
}

/// The body of a JSON value: an object, or a list of them.
pub(crate) fn body_of(value: &Value) -> ApiResult<Vec<u8>> {
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if let Some(message) = message(version, kind) {
        let raw = message.encode(value.to_string().as_bytes(), None).map_err(ApiError::internal)?;
        return Ok(protobuf::wrap(version, kind, &raw));
    }
    let item = kind.strip_suffix("List").and_then(|kind| message(version, kind));
    let (Some(item), Some(items)) = (item, value["items"].as_array()) else {
        let why = format!(
            "object *{} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message",
            go_name(version, kind)
        );
        return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", why));
    };
    let meta = |key: &str| value["metadata"][key].as_str().unwrap_or_default();
    let remaining = value["metadata"]["remainingItemCount"].as_u64();
    let mut raw = protobuf::list_head(meta("resourceVersion"), meta("continue"), remaining);
    for value in items {
        let encoded =
            item.encode(value.to_string().as_bytes(), None).map_err(ApiError::internal)?;
        raw.extend(protobuf::item(encoded.len()));
        raw.extend(encoded);
    }
    Ok(protobuf::wrap(version, kind, &raw))
}

fn message(version: &str, kind: &str) -> Option<Message> {
    match kind {
        "PartialObjectMetadata" => Some(Message::metadata_only()),
        kind => Message::of_kind(version, kind),
    }
}

/// As Go names a type: `v1.Table`.
fn go_name(version: &str, kind: &str) -> String {
    format!("{}.{kind}", version.rsplit('/').next().unwrap_or_default())
}

/// The body of a stored object.
pub(crate) fn object(
    shape: &Shape,
    stored: &[u8],
    revision: Option<Revision>,
) -> ApiResult<Vec<u8>> {
    let raw = shape.protobuf(stored, revision).map_err(ApiError::internal)?;
    let definition = shape.definition();
    Ok(protobuf::wrap(&definition.group_version().to_string(), &definition.kind.kind, &raw))
}

/// The body of a stored object's metadata.
pub(crate) fn metadata(
    stored: &[u8],
    revision: Option<Revision>,
    version: &str,
) -> ApiResult<Vec<u8>> {
    let revision = revision.map(|revision| revision.to_string());
    let raw = Message::metadata_only().encode(stored, revision.as_deref());
    let raw = raw.map_err(ApiError::internal)?;
    Ok(protobuf::wrap(&format!("meta.k8s.io/{version}"), "PartialObjectMetadata", &raw))
}

/// An answer of many rows: whole, or their metadata in this version of `meta.k8s.io`.
pub(super) async fn list(
    accepted: &Accepted,
    shape: &Shape,
    rows: Vec<Arc<Row>>,
    meta: &ListMeta,
    metadata: Option<&'static str>,
) -> ApiResult<Response<Body>> {
    let definition = shape.definition();
    let (kind, version) = match metadata {
        Some(version) => ("PartialObjectMetadataList", format!("meta.k8s.io/{version}")),
        None => (&*definition.list_kind, definition.group_version().to_string()),
    };
    let continues = meta.continues.as_deref().unwrap_or_default();
    let head = protobuf::list_head(&meta.revision, continues, meta.remaining);
    let mut length = head.len();
    for turn in rows.chunks(TURN) {
        for row in turn {
            let item = encoded(shape, row, metadata.is_some())?;
            length += protobuf::item(item.len()).len() + item.len();
        }
        tokio::task::yield_now().await;
    }
    let mut first = protobuf::wrap_head(&version, kind, length as u64);
    first.extend(head);
    let mut writing = Writing {
        shape: shape.clone(),
        rows: rows.into_iter(),
        metadata: metadata.is_some(),
        out: BytesMut::from(&first[..]),
        done: false,
    };
    Ok(packed::pieces(accepted, PROTOBUF, std::iter::from_fn(move || writing.next())))
}

fn encoded(shape: &Shape, row: &Row, metadata: bool) -> ApiResult<Bytes> {
    if !metadata {
        return row.protobuf(shape).map_err(ApiError::internal);
    }
    let revision = row.revision.to_string();
    let raw = Message::metadata_only().encode(&row.value, Some(&revision));
    raw.map(Bytes::from).map_err(ApiError::internal)
}

struct Writing {
    shape: Shape,
    rows: std::vec::IntoIter<Arc<Row>>,
    metadata: bool,
    out: BytesMut,
    done: bool,
}

impl Writing {
    /// The next bytes to send; fills up to a chunk from the rows.
    fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        while !self.done && self.out.len() < CHUNK {
            let Some(row) = self.rows.next() else {
                self.out.put_slice(protobuf::list_tail());
                self.done = true;
                break;
            };
            match encoded(&self.shape, &row, self.metadata) {
                Ok(item) => {
                    self.out.put_slice(&protobuf::item(item.len()));
                    self.out.put_slice(&item);
                }
                Err(error) => {
                    (self.done, self.out) = (true, BytesMut::new());
                    return Some(Err(error.into()));
                }
            }
        }
        (!self.out.is_empty()).then(|| Ok(self.out.split().freeze()))
    }
}
