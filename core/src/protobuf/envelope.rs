//! The envelope of bodies, and the frames of watches.

use super::{
    Error, Result,
    wire::{Fields, Reverse, Wire},
};

/// What a body begins with.
pub const MAGIC: &[u8] = b"k8s\0";
/// The media type of bodies.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The media type of watches.
pub const WATCH_CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// `runtime.Unknown`: an encoded object and what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// Its version; may be empty.
    pub api_version: String,
    /// Its kind; may be empty.
    pub kind: String,
    /// The message, or what the content type says.
    pub raw: &'a [u8],
    /// How `raw` is encoded beside its form; empty for not at all.
    pub content_encoding: String,
    /// What `raw` is; empty for protobuf.
    pub content_type: String,
}

/// Opens a body.
///
/// # Errors
/// When it does not begin with [`MAGIC`] or is malformed behind it.
pub fn unwrap(body: &[u8]) -> Result<Unknown<'_>> {
    let message = body.strip_prefix(MAGIC).ok_or(Error::Prefix)?;
    let text =
        |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::Utf8);
    let mut unknown = Unknown::default();
    for field in Fields::new(message, "Unknown") {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields::new(meta, "TypeMeta") {
                    match field? {
                        (1, Wire::Bytes(version)) => unknown.api_version = text(version)?,
                        (2, Wire::Bytes(kind)) => unknown.kind = text(kind)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => unknown.raw = raw,
            (3, Wire::Bytes(encoding)) => unknown.content_encoding = text(encoding)?,
            (4, Wire::Bytes(kind)) => unknown.content_type = text(kind)?,
            _ => {}
        }
    }
    Ok(unknown)
}

/// The body of a message.
#[must_use]
pub fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut body = wrap_head(api_version, kind, raw.len() as u64);
    body.extend_from_slice(raw);
    body.extend_from_slice(list_tail());
    body
}

/// A body up to the message of `length` bytes, behind which comes [`list_tail`].
#[must_use]
pub fn wrap_head(api_version: &str, kind: &str, length: u64) -> Vec<u8> {
    let mut out = Reverse::with_capacity(64 + api_version.len() + kind.len());
    out.varint(length);
    out.key(2, 2);
    let mark = out.len();
    out.bytes(2, kind.as_bytes());
    out.bytes(1, api_version.as_bytes());
    out.close(1, mark);
    out.put(MAGIC);
    out.into_vec()
}

/// What ends a body: no encoding, no content type.
#[must_use]
pub const fn list_tail() -> &'static [u8] {
    &[0x1a, 0, 0x22, 0]
}

/// The metadata of a list, as the first field of its message.
#[must_use]
pub fn list_head(revision: &str, continues: &str, remaining: Option<u64>) -> Vec<u8> {
    let mut out = Reverse::with_capacity(64 + continues.len());
    if let Some(remaining) = remaining {
        out.number(4, remaining);
    }
    out.bytes(3, continues.as_bytes());
    out.bytes(2, revision.as_bytes());
    out.bytes(1, b"");
    out.close(1, 0);
    out.into_vec()
}

/// What stands before a list's item of `length` bytes.
#[must_use]
pub fn item(length: usize) -> Vec<u8> {
    let mut out = Reverse::with_capacity(16);
    out.varint(length as u64);
    out.key(2, 2);
    out.into_vec()
}

/// One frame of a watch: its length in four bytes, and a `WatchEvent` around a body.
#[must_use]
pub fn frame(event: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Reverse::with_capacity(body.len() + event.len() + 32);
    let mark = out.len();
    out.bytes(1, body);
    out.close(2, mark);
    out.bytes(1, event.as_bytes());
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out.put(&length.to_be_bytes());
    out.into_vec()
}
