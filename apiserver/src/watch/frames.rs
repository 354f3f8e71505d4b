use crate::{
    cache::{Change, Event, Row, close_frame, open_frame, protobuf_frame},
    output::{self, Accepted, Form, ListMeta, Media, Table},
    stored::Shape,
};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use kubeplane_core::{
    ApiError, decode, protobuf,
    schema::{Kind, Presence, Schema, SchemaRef},
    status::ApiResult,
};
use kubeplane_store_trait::Revision;
use serde_json::{Value, json};

/// Turns events into the lines of a JSON watch or the frames of a protobuf watch, in the form asked for.
#[derive(Debug)]
pub(crate) struct Frames {
    form: Form,
    protobuf: bool,
    /// A table's columns are sent once.
    columns_sent: bool,
}

impl Frames {
    pub(crate) fn new(accepted: &Accepted) -> Self {
        let protobuf = accepted.media == Media::Protobuf;
        Self { form: accepted.form.clone(), protobuf, columns_sent: false }
    }

    /// An object that was there when the watch began.
    pub(super) fn initial(&mut self, shape: &Shape, row: &Row, now: Timestamp, out: &mut BytesMut) {
        if self.protobuf {
            let frame = match &self.form {
                Form::Object => row
                    .protobuf(shape)
                    .map(|raw| protobuf_frame(shape, "ADDED", &raw))
                    .map_err(ApiError::internal),
                _ => self.metadata_frame("ADDED", row, row.revision),
            };
            out.extend_from_slice(&frame.unwrap_or_else(|error| self.error(&error)));
            return;
        }
        open_frame(out, "ADDED");
        self.object(shape, row, row.revision, now, out);
        close_frame(out);
    }

    /// A change; the plain form is made once and shared by all watchers.
    pub(super) fn event(
        &mut self,
        shape: &Shape,
        event: &Event,
        change: Change,
        now: Timestamp,
    ) -> Bytes {
        if self.protobuf {
            return self.protobuf_event(shape, event, change);
        }
        if self.form == Form::Object {
            return event.frame(shape, change);
        }
        let mut out = BytesMut::new();
        if let Some(row) = event.shown(change) {
            open_frame(&mut out, change.as_str());
            self.object(shape, row, event.revision, now, &mut out);
            close_frame(&mut out);
        }
        out.freeze()
    }

    fn protobuf_event(&self, shape: &Shape, event: &Event, change: Change) -> Bytes {
        let frame = match (&self.form, event.shown(change)) {
            (Form::Object, _) => event.protobuf_frame(shape, change).map_err(ApiError::internal),
            (_, Some(row)) => self.metadata_frame(change.as_str(), row, event.revision),
            (_, None) => Ok(Bytes::new()),
        };
        frame.unwrap_or_else(|error| self.error(&error))
    }

    /// A frame of a protobuf watch around an object's metadata.
    fn metadata_frame(&self, event: &str, row: &Row, revision: Revision) -> ApiResult<Bytes> {
        let version = match &self.form {
            Form::Metadata { version, .. } => version,
            _ => "v1",
        };
        let body = output::metadata_body(&row.value, Some(revision), version)?;
        Ok(protobuf::frame(event, &body).into())
    }

    fn object(
        &mut self,
        shape: &Shape,
        row: &Row,
        revision: Revision,
        now: Timestamp,
        out: &mut BytesMut,
    ) {
        match &self.form {
            Form::Object => shape.write(&row.value, revision, out),
            Form::Metadata { version: "v1", .. } => shape.write_metadata(&row.value, revision, out),
            Form::Metadata { version, .. } => {
                let object = row.decoded(revision).unwrap_or_default();
                put(out, &crate::output::partial(&object, version));
            }
            Form::Table(form) => {
                let object = row.decoded(revision).unwrap_or_default();
                let mut table = Table::new(form, shape.definition(), now);
                table.push(&object);
                let meta = ListMeta { revision: revision.to_string(), ..ListMeta::default() };
                put(out, &table.finish(&meta, !self.columns_sent));
                self.columns_sent = true;
            }
        }
    }

    /// A line that only says how far the watch has come.
    pub(super) fn bookmark(
        &mut self,
        shape: &Shape,
        revision: Revision,
        ends_initial: bool,
    ) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let definition = shape.definition();
        let object = match &self.form {
            Form::Metadata { version, .. } => json!({
                "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
            }),
            Form::Table(form) => {
                let shown = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{}", form.version), "metadata": metadata,
                });
                let cells = vec![Value::Null; definition.columns.len()];
                let meta = ListMeta { revision: revision.to_string(), ..ListMeta::default() };
                let mut table = Table::new(form, definition, Timestamp::UNIX_EPOCH)
                    .finish(&meta, !self.columns_sent);
                self.columns_sent = true;
                table["rows"] = json!([{"cells": cells, "object": shown}]);
                table
            }
            Form::Object => {
                // What the original writes of an object that has nothing but metadata.
                let mut object = match &definition.schema {
                    SchemaRef::Static(schema) => bare(schema),
                    SchemaRef::Shared(_) => json!({}),
                };
                object["kind"] = definition.kind.kind.as_ref().into();
                object["apiVersion"] = definition.group_version().to_string().into();
                object["metadata"] = metadata;
                object
            }
        };
        self.line("BOOKMARK", &object)
    }

    /// The last line of a watch that failed.
    pub(super) fn error(&self, error: &ApiError) -> Bytes {
        self.line("ERROR", &error.to_status())
    }

    fn line(&self, kind: &str, object: &Value) -> Bytes {
        if self.protobuf {
            let body = output::body_of(object).unwrap_or_default();
            return protobuf::frame(kind, &body).into();
        }
        let mut out = BytesMut::new();
        open_frame(&mut out, kind);
        put(&mut out, object);
        close_frame(&mut out);
        out.freeze()
    }
}

/// An object in which nothing was ever set, defaults neither.
fn bare(schema: &Schema) -> Value {
    let Kind::Object { fields, .. } = &schema.kind else { return decode::zero(schema) };
    let written = fields.iter().filter_map(|field| match field.presence {
        Presence::Always => Some((field.name.to_string(), bare(&field.schema))),
        Presence::Null => Some((field.name.to_string(), Value::Null)),
        Presence::Optional | Presence::OmitEmpty => None,
    });
    Value::Object(written.collect())
}

fn put(out: &mut BytesMut, value: &Value) {
    out.extend_from_slice(output::json_text(value).as_bytes());
}
