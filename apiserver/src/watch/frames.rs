use crate::{
    cache::{Change, Event, Row, close_frame, open_frame},
    output::{Form, ListMeta, Table},
    stored::Shape,
};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use kubeplane_core::ApiError;
use kubeplane_store_trait::Revision;
use serde_json::{Value, json};

/// Turns events into the lines of a watch, in the form asked for.
#[derive(Debug)]
pub(crate) struct Frames {
    form: Form,
    /// A table's columns are sent once.
    columns_sent: bool,
}

impl Frames {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, columns_sent: false }
    }

    /// An object that was there when the watch began.
    pub(super) fn initial(&mut self, shape: &Shape, row: &Row, now: Timestamp, out: &mut BytesMut) {
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
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
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
            Form::Object => json!({
                "kind": definition.kind.kind, "apiVersion": definition.group_version().to_string(), "metadata": metadata,
            }),
        };
        line("BOOKMARK", &object)
    }

    /// The last line of a watch that failed.
    pub(super) fn error(&self, error: &ApiError) -> Bytes {
        line("ERROR", &error.to_status())
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut out = BytesMut::new();
    open_frame(&mut out, kind);
    put(&mut out, object);
    close_frame(&mut out);
    out.freeze()
}

fn put(out: &mut BytesMut, value: &Value) {
    out.extend_from_slice(value.to_string().as_bytes());
}
