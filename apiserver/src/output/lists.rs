//! Lists: a chain of shared bytes, put together as the client reads.

use super::{Accepted, Form, Media, Table, packed, partial, protobuf, value};
use crate::{body::Body, cache::Row, stored::Shape};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use jiff::Timestamp;
use kubeplane_core::{
    Definition,
    schema::SchemaRef,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// How many bytes are put together for one write.
const CHUNK: usize = 64 * 1024;

/// A list's metadata.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: String,
    pub(crate) continues: Option<String>,
    pub(crate) remaining: Option<u64>,
}

impl ListMeta {
    pub(crate) fn to_value(&self) -> Value {
        let mut meta = json!({});
        if !self.revision.is_empty() {
            meta["resourceVersion"] = self.revision.as_str().into();
        }
        if let Some(token) = &self.continues {
            meta["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}

/// An answer of many rows in the form accepted.
pub(crate) async fn list(
    accepted: &Accepted,
    shape: &Shape,
    rows: Vec<Arc<Row>>,
    meta: &ListMeta,
    now: Timestamp,
) -> ApiResult<Response<Body>> {
    let definition = shape.definition();
    super::refuse_lists_of(accepted, definition, true)?;
    let untyped;
    let meta = match (&definition.schema, &accepted.form) {
        // As the original's lists of what has no type, which always say it.
        (SchemaRef::Shared(_), Form::Object) => {
            let continues = Some(meta.continues.clone().unwrap_or_default());
            untyped = ListMeta { continues, ..meta.clone() };
            &untyped
        }
        _ => meta,
    };
    match &accepted.form {
        Form::Object if accepted.media == Media::Protobuf => {
            protobuf::list(accepted, shape, rows, meta, None).await
        }
        Form::Metadata { version, .. } if accepted.media == Media::Protobuf => {
            protobuf::list(accepted, shape, rows, meta, Some(*version)).await
        }
        Form::Object if accepted.is_plain_json() => {
            let kind = json!(definition.list_kind);
            let version = json!(definition.group_version().to_string());
            Ok(streamed(accepted, shape, rows, Item::Whole, [&kind, &version], meta))
        }
        Form::Metadata { version, .. } if accepted.is_plain_json() && *version == "v1" => {
            let kind = json!("PartialObjectMetadataList");
            let version = json!("meta.k8s.io/v1");
            Ok(streamed(accepted, shape, rows, Item::Metadata, [&kind, &version], meta))
        }
        Form::Table(form) => {
            let mut table = Table::new(form, definition, now);
            for row in rows {
                table.push(&row.decoded(row.revision).map_err(ApiError::internal)?);
            }
            value(accepted, StatusCode::OK, &table.finish(meta, true))
        }
        form => {
            let decode = |row: &Arc<Row>| row.decoded(row.revision).map_err(ApiError::internal);
            let (kind, version, items): (&str, String, ApiResult<Vec<Value>>) = match form {
                Form::Metadata { version, .. } => (
                    "PartialObjectMetadataList",
                    format!("meta.k8s.io/{version}"),
                    rows.iter().map(|row| Ok(partial(&decode(row)?, version))).collect(),
                ),
                _ => (
                    &definition.list_kind,
                    definition.group_version().to_string(),
                    rows.iter()
                        .map(|row| Ok(item(definition, decode(row)?.into_value())))
                        .collect(),
                ),
            };
            let list = json!({
                "kind": kind, "apiVersion": version, "metadata": meta.to_value(), "items": items?,
            });
            value(accepted, StatusCode::OK, &list)
        }
    }
}

/// An object as it stands in a list: where the list has a type, it does not say its own.
fn item(definition: &Definition, mut object: Value) -> Value {
    let typed = !matches!(definition.schema, SchemaRef::Shared(_));
    if let Some(map) = object.as_object_mut().filter(|_| typed) {
        map.remove("kind");
        map.remove("apiVersion");
    }
    object
}

#[derive(Clone, Copy)]
enum Item {
    Whole,
    Metadata,
}

struct Writing {
    shape: Shape,
    rows: std::vec::IntoIter<Arc<Row>>,
    item: Item,
    out: BytesMut,
    first: bool,
    done: bool,
}

impl Writing {
    /// The next bytes to send; fills up to a chunk from the rows.
    fn next(&mut self) -> Option<Bytes> {
        while !self.done && self.out.len() < CHUNK {
            let Some(row) = self.rows.next() else {
                self.out.put_slice(b"]}\n");
                self.done = true;
                break;
            };
            if !self.first {
                self.out.put_u8(b',');
            }
            self.first = false;
            match self.item {
                Item::Whole => self.shape.write_item(&row.value, row.revision, &mut self.out),
                Item::Metadata => {
                    self.shape.write_metadata(&row.value, row.revision, &mut self.out)
                }
            }
        }
        (!self.out.is_empty()).then(|| self.out.split().freeze())
    }
}

fn streamed(
    accepted: &Accepted,
    shape: &Shape,
    rows: Vec<Arc<Row>>,
    item: Item,
    [kind, version]: [&Value; 2],
    meta: &ListMeta,
) -> Response<Body> {
    let mut out = BytesMut::with_capacity(CHUNK.min(rows.len() * 1024 + 256));
    let metadata = meta.to_value();
    let head =
        format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{metadata},\"items\":[");
    out.put_slice(head.as_bytes());
    let mut writing = Writing {
        shape: shape.clone(),
        rows: rows.into_iter(),
        item,
        out,
        first: true,
        done: false,
    };
    let first = writing.next().unwrap_or_default();
    if writing.done && writing.out.is_empty() {
        return packed::whole(accepted, StatusCode::OK, super::JSON, first);
    }
    let rest = std::iter::from_fn(move || writing.next());
    packed::pieces(accepted, super::JSON, std::iter::once(first).chain(rest).map(Ok))
}
