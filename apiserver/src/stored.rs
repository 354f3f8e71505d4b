//! The stored form of an object: compact JSON that begins with `kind`, `apiVersion` and `metadata`, and
//! carries no `resourceVersion`, so that the revision can be spliced in without decoding.

mod packed;

use bytes::{BufMut, Bytes, BytesMut};
use kubeplane_core::{
    Definition, Object,
    apply::{pack_managers, packed_set},
    decode::conform,
    protobuf::{self, Message},
    schema::{self, SchemaRef},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::Revision;
use serde::{Serialize, de::Error as _};
use serde_json::Value;
use std::{io::Write, sync::Arc};

/// What most objects fit in while they are encoded, in bytes.
const ROOM: usize = 16 * 1024;

/// Encodes an object for the store.
pub(crate) fn encode(object: &Object) -> Bytes {
    let mut out = Vec::with_capacity(ROOM);
    let text = |key: &str| object.text(&[key]);
    let metadata = object.map().get("metadata").and_then(Value::as_object);
    out.extend_from_slice(b"{\"kind\":");
    put(&mut out, text("kind"));
    out.extend_from_slice(b",\"apiVersion\":");
    put(&mut out, text("apiVersion"));
    out.extend_from_slice(b",\"metadata\":{");
    let mut separator: &[u8] = b"";
    for (key, value) in metadata.into_iter().flatten().filter(|(key, _)| *key != "resourceVersion")
    {
        match value {
            Value::Array(managers) if key == "managedFields" => {
                out.extend_from_slice(separator);
                put_managers(&mut out, managers);
            }
            value => put_member(&mut out, separator, key, value),
        }
        separator = b",";
    }
    if separator.is_empty() {
        out.extend_from_slice(b"\"name\":\"\"");
    }
    out.push(b'}');
    let body = object.map().iter();
    for (key, value) in
        body.filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion" | "metadata"))
    {
        put_member(&mut out, b",", key, value);
    }
    out.push(b'}');
    // What is stored stays, and shall not hold on to more than it is. An allocator that is asked to shrink a buffer may
    // leave up to half of it unused.
    Bytes::copy_from_slice(&out)
}

/// Sets of fields are text already where the writer packed them.
fn put_managers(out: &mut Vec<u8>, managers: &[Value]) {
    out.extend_from_slice(b"\"managedFields\":[");
    for (index, manager) in managers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let Value::Object(entry) = manager else {
            put(out, manager);
            continue;
        };
        let mut separator: &[u8] = b"{";
        for (key, value) in entry {
            match packed_set(value).filter(|_| key == "fieldsV1") {
                Some(text) => {
                    out.extend_from_slice(separator);
                    put(out, key);
                    out.push(b':');
                    out.extend_from_slice(text.as_bytes());
                }
                None => put_member(out, separator, key, value),
            }
            separator = b",";
        }
        out.extend_from_slice(if entry.is_empty() { b"{}" } else { b"}" });
    }
    out.push(b']');
}

fn put_member(out: &mut Vec<u8>, separator: &[u8], key: &str, value: &Value) {
    out.extend_from_slice(separator);
    put(out, key);
    out.push(b':');
    put(out, value);
}

/// Writing to memory cannot fail, nor can the encoding of what was decoded.
fn put(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let _ = serde_json::to_writer(out, value);
}

/// What values begin with that the original encrypted.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Reads a stored value: our JSON, the original's, or its protobuf form.
fn parse(value: &[u8]) -> serde_json::Result<Object> {
    if value.starts_with(protobuf::MAGIC) {
        return foreign(value);
    }
    if value.starts_with(ENCRYPTED) {
        let scheme: Vec<_> = value.splitn(6, |byte| *byte == b':').skip(2).take(3).collect();
        let scheme = String::from_utf8_lossy(&scheme.join(&b':')).into_owned();
        return Err(serde_json::Error::custom(format!(
            "the value is encrypted at rest ({scheme}), which is not supported: decrypt it with the server that wrote it"
        )));
    }
    Object::parse(value)
}

/// Turns a value that the original stored in protobuf into an object, with its defaults.
fn foreign(value: &[u8]) -> serde_json::Result<Object> {
    let wrong = |error: &dyn std::fmt::Display| serde_json::Error::custom(error);
    let stored = protobuf::unwrap(value).map_err(|error| wrong(&error))?;
    let message = Message::of_kind(&stored.api_version, &stored.kind).ok_or_else(|| {
        wrong(&format!("no protobuf form of {}, {} is known", stored.api_version, stored.kind))
    })?;
    let map = message.decode(stored.raw).map_err(|error| wrong(&error))?;
    let mut object = Object::from_value(Value::Object(map)).unwrap_or_default();
    if let Some(schema) = schema::builtin(message.name()) {
        conform(&mut object, &schema).map_err(|error| wrong(&error))?;
    }
    object.set(&["apiVersion"], stored.api_version);
    object.set(&["kind"], stored.kind);
    Ok(object)
}

/// As [`parse`], the sets of managers packed: most of them stay as they are.
fn parse_packed(value: &[u8]) -> serde_json::Result<Object> {
    if value.starts_with(b"{") {
        return packed::parse(value);
    }
    let mut object = parse(value)?;
    pack_managers(&mut object);
    Ok(object)
}

/// Decodes a stored object and puts its revision in.
pub(crate) fn decode(value: &[u8], revision: Revision) -> serde_json::Result<Object> {
    let mut object = parse(value)?;
    object.set(&["metadata", "resourceVersion"], revision.to_string());
    Ok(object)
}

/// How stored objects of one kind begin.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    definition: Arc<Definition>,
    header: Bytes,
    message: Option<Message>,
    outdated: bool,
}

impl Shape {
    pub(crate) fn of(definition: Arc<Definition>) -> Self {
        let kind = Value::from(definition.kind.kind.as_ref());
        let version = Value::from(definition.group_version().to_string());
        let header = format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{{");
        let message = Message::of(&definition.schema);
        let outdated = definition.strategy.outdated();
        Self { definition, header: header.into(), message, outdated }
    }

    pub(crate) fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// Whether a value is in this version's form.
    pub(crate) fn is_own(&self, value: &[u8]) -> bool {
        value.starts_with(&self.header)
    }

    /// Whether a value is in this version's form, and surely stored by today's schema.
    pub(crate) fn is_current(&self, value: &[u8]) -> bool {
        !self.outdated && self.is_own(value)
    }

    /// The value in this version's form; converted when it was stored in another one.
    pub(crate) async fn adopt(&self, value: Bytes) -> ApiResult<Bytes> {
        if self.is_current(&value) {
            return Ok(value);
        }
        let object = parse(&value).map_err(ApiError::internal)?;
        let mut converted = self.converted(vec![object]).await?;
        Ok(encode(&converted.pop().unwrap_or_default()))
    }

    /// All values in this version's form, those of other forms converted at once. One that cannot be read is an error by
    /// itself.
    ///
    /// # Errors
    /// When the conversion fails.
    pub(crate) async fn adopt_all(
        &self,
        values: Vec<Bytes>,
    ) -> ApiResult<Vec<serde_json::Result<Bytes>>> {
        let (mut adopted, mut places, mut others) =
            (Vec::with_capacity(values.len()), Vec::new(), Vec::new());
        for value in values {
            if !self.is_current(&value) {
                match parse(&value) {
                    Ok(object) => {
                        places.push(adopted.len());
                        others.push(object);
                    }
                    Err(error) => {
                        adopted.push(Err(error));
                        continue;
                    }
                }
            }
            adopted.push(Ok(value));
        }
        if others.is_empty() {
            return Ok(adopted);
        }
        for (place, object) in places.into_iter().zip(self.converted(others).await?) {
            adopted[place] = Ok(encode(&object));
        }
        Ok(adopted)
    }

    /// The decoded value in this version's form.
    pub(crate) async fn decode(&self, value: &[u8], revision: Revision) -> ApiResult<Object> {
        self.finish(parse(value), value, revision).await
    }

    /// As [`decode`](Self::decode), the sets of managers packed.
    pub(crate) async fn decode_packed(
        &self,
        value: &[u8],
        revision: Revision,
    ) -> ApiResult<Object> {
        self.finish(parse_packed(value), value, revision).await
    }

    async fn finish(
        &self,
        parsed: serde_json::Result<Object>,
        value: &[u8],
        revision: Revision,
    ) -> ApiResult<Object> {
        let object = parsed.map_err(ApiError::internal)?;
        let mut object = match self.is_current(value) {
            true => object,
            false => self.converted(vec![object]).await?.pop().unwrap_or_default(),
        };
        object.set(&["metadata", "resourceVersion"], revision.to_string());
        Ok(object)
    }

    async fn converted(&self, mut objects: Vec<Object>) -> ApiResult<Vec<Object>> {
        let (version, strategy) = (self.definition.group_version(), &self.definition.strategy);
        let restored = objects.iter_mut().fold(false, |_, object| strategy.restore(object));
        let own = version.to_string();
        let foreign = objects.iter().any(|object| object.api_version() != own);
        let mut converted = self.definition.converted(objects, &version).await?;
        for object in &mut converted {
            object.set(&["kind"], self.definition.kind.kind.as_ref());
            if foreign {
                strategy.prune(object);
            }
            if !restored {
                strategy.default(object);
            }
        }
        Ok(converted)
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

    /// The object as a protobuf message, with its revision where one is given.
    pub(crate) fn protobuf(
        &self,
        value: &[u8],
        revision: Option<Revision>,
    ) -> protobuf::Result<Vec<u8>> {
        let Some(message) = self.message else {
            let why = format!("{} has no protobuf form", self.definition.kind.kind);
            return Err(protobuf::Error::Json(why));
        };
        let revision = revision.map(|revision| revision.to_string());
        message.encode(value, revision.as_deref())
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

    fn config_maps() -> Shape {
        let mut all = kubeplane_builtin::all().into_iter();
        Shape::of(all.find(|kind| kind.plural == "configmaps").unwrap())
    }

    #[tokio::test]
    async fn what_the_original_stored_becomes_json() {
        let message = Message::of_kind("v1", "ConfigMap").unwrap();
        let json = br#"{"metadata":{"name":"a","namespace":"b"},"data":{"k":"v"}}"#;
        let value = protobuf::wrap("v1", "ConfigMap", &message.encode(json, None).unwrap());
        let adopted = config_maps().adopt(value.into()).await.unwrap();
        let want = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"b"},"data":{"k":"v"}}"#;
        assert_eq!(String::from_utf8_lossy(&adopted), want);
    }

    #[tokio::test]
    async fn encrypted_and_unknown_values_are_refused_in_words() {
        let value = Bytes::from_static(b"k8s:enc:aescbc:v1:key1:\x00\x01");
        let error = config_maps().adopt(value).await.unwrap_err();
        let error = error.message();
        assert!(error.contains("the value is encrypted at rest (aescbc:v1:key1)"), "{error}");
        let value = protobuf::wrap("v9", "Nonsense", b"");
        let error = decode(&value, Revision(1)).unwrap_err().to_string();
        assert_eq!(error, "no protobuf form of v9, Nonsense is known");
    }

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
