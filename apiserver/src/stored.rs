//! The stored form of an object: compact JSON that begins with `kind`, `apiVersion` and `metadata`, and
//! carries no `resourceVersion`, so that the revision can be spliced in without decoding.

use bytes::{BufMut, Bytes, BytesMut};
use kubeplane_core::{Definition, Object, schema::SchemaRef};
use kubeplane_store_trait::Revision;
use serde_json::Value;
use std::{io::Write, sync::Arc};

/// Encodes an object for the store.
pub(crate) fn encode(object: &Object) -> Bytes {
    let mut out = BytesMut::with_capacity(1024).writer();
    let text = |key: &str| object.map().get(key).cloned().unwrap_or(Value::String(String::new()));
    let metadata = object.map().get("metadata").and_then(Value::as_object);
    let mut separator = "";
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{{",
        text("kind"),
        text("apiVersion")
    );
    for (key, value) in metadata.into_iter().flatten().filter(|(key, _)| *key != "resourceVersion")
    {
        let _ = write!(out, "{separator}{}:{value}", Value::from(key.as_str()));
        separator = ",";
    }
    if separator.is_empty() {
        let _ = out.write_all(b"\"name\":\"\"");
    }
    let _ = out.write_all(b"}");
    let body = object.map().iter();
    for (key, value) in
        body.filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion" | "metadata"))
    {
        let _ = write!(out, ",{}:{value}", Value::from(key.as_str()));
    }
    let _ = out.write_all(b"}");
    out.into_inner().freeze()
}

/// Decodes a stored object and puts its revision in.
pub(crate) fn decode(value: &[u8], revision: Revision) -> serde_json::Result<Object> {
    let mut object = Object::parse(value)?;
    object.set(&["metadata", "resourceVersion"], revision.to_string());
    Ok(object)
}

/// How stored objects of one kind begin.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    definition: Arc<Definition>,
    header: Bytes,
}

impl Shape {
    pub(crate) fn of(definition: Arc<Definition>) -> Self {
        let kind = Value::from(definition.kind.kind.as_ref());
        let version = Value::from(definition.group_version().to_string());
        let header = format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{{");
        Self { definition, header: header.into() }
    }

    pub(crate) fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// The value in this version's form; converted when it was stored in another one.
    pub(crate) fn adopt(&self, value: Bytes) -> serde_json::Result<Bytes> {
        if value.starts_with(&self.header) {
            return Ok(value);
        }
        let object = Object::parse(&value)?;
        Ok(encode(&self.convert(object)))
    }

    /// The decoded value in this version's form.
    pub(crate) fn decode(&self, value: &[u8], revision: Revision) -> serde_json::Result<Object> {
        let object = decode(value, revision)?;
        Ok(if value.starts_with(&self.header) { object } else { self.convert(object) })
    }

    fn convert(&self, object: Object) -> Object {
        let version = self.definition.group_version();
        let mut converted = self.definition.strategy.convert(object, &version);
        converted.set(&["apiVersion"], version.to_string());
        converted.set(&["kind"], self.definition.kind.kind.as_ref());
        self.definition.strategy.default(&mut converted);
        converted
    }

    /// Appends the object as clients see it, with its revision.
    pub(crate) fn write(&self, value: &Bytes, revision: Revision, out: &mut BytesMut) {
        let (head, tail) = value.split_at(self.header.len());
        out.reserve(value.len() + 48);
        out.put_slice(head);
        put_revision(out, revision);
        out.put_slice(tail);
    }

    /// Appends the object as an item of a list: built-in kinds leave out kind and version there, as the
    /// original does.
    pub(crate) fn write_item(&self, value: &Bytes, revision: Revision, out: &mut BytesMut) {
        if !matches!(self.definition.schema, SchemaRef::Static(_)) {
            return self.write(value, revision, out);
        }
        out.put_slice(b"{\"metadata\":{");
        put_revision(out, revision);
        out.put_slice(&value[self.header.len()..]);
    }

    /// Appends the object's metadata alone, as a `PartialObjectMetadata`.
    pub(crate) fn write_metadata(&self, value: &Bytes, revision: Revision, out: &mut BytesMut) {
        out.put_slice(
            br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"#,
        );
        put_revision(out, revision);
        out.put_slice(metadata(&value[self.header.len()..]));
        out.put_slice(b"}");
    }
}

fn put_revision(out: &mut BytesMut, revision: Revision) {
    // Writing to memory cannot fail.
    let _ = write!(out.writer(), "\"resourceVersion\":\"{revision}\",");
}

/// From behind the opening brace of a map up to and including its closing one.
fn metadata(text: &[u8]) -> &[u8] {
    let (mut depth, mut quoted, mut escaped) = (1_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return &text[..=at];
                }
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_stored_form_has_no_revision_and_takes_one_without_decoding() {
        let object = Object::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "}\"{"},
            "metadata": {"name": "x", "labels": {"q": "\\\""}, "resourceVersion": "1"},
        }))
        .unwrap();
        let stored = encode(&object);
        assert!(!stored.windows(15).any(|window| window == b"resourceVersion"));
        let header = br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"#;
        assert!(stored.starts_with(header));
        assert_eq!(metadata(&stored[header.len()..]), br#""labels":{"q":"\\\""},"name":"x"}"#);
        let read = decode(&stored, Revision(7)).unwrap();
        assert_eq!(read.resource_version(), "7");
        assert_eq!(read.text(&["data", "a"]), "}\"{");
    }
}
