//! The protobuf form of the built-in kinds, made from JSON and turned into it by the tags of the schema table.
//!
//! ```text
//!   JSON text ─> tape (what lies where) ─> encode, from the last field to the first ─> message
//!   message ─> decode ─> JSON value                       message <─> k8s\0 envelope, watch frames
//! ```
//!
//! What is written equals what the original writes for the same object, byte for byte: fields in the order of
//! their tags, map entries sorted by key, and every field that is no pointer in Go, empty or not. Reading takes
//! any order, packed lists, repeated messages and unknown fields.
//!
//! ```
//! use kubeplane_core::{protobuf::{Message, wrap, unwrap}, schema::builtin};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = builtin("io.k8s.api.core.v1.ConfigMap").ok_or("unknown")?;
//! let message = Message::of(&schema).ok_or("no protobuf form")?;
//! let bytes = message.encode(br#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#, Some("7"))?;
//! let body = wrap("v1", "ConfigMap", &bytes);
//! let object = message.decode(unwrap(&body)?.raw)?;
//! assert_eq!(object["metadata"]["resourceVersion"], "7");
//! assert_eq!(object["data"]["k"], "v");
//! # Ok(())
//! # }
//! ```

mod decode;
mod encode;
mod envelope;
mod plan;
mod tape;
mod wire;

pub use envelope::{
    CONTENT_TYPE, MAGIC, Unknown, WATCH_CONTENT_TYPE, frame, item, list_head, list_tail, unwrap,
    wrap, wrap_head,
};

use crate::schema::{Schema, SchemaRef};
use serde_json::{Map, Value};

/// How deep messages and JSON values may nest.
pub const DEEPEST: usize = 128;

/// Why something cannot be turned into the other form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end within a value.
    #[error("unexpected EOF")]
    Eof,
    /// The bytes do not begin as protobuf bodies do.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Prefix,
    /// A number is longer than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A tag that no field can have.
    #[error("proto: {message}: illegal tag {tag} (wire type {key})")]
    Tag {
        /// The message's name.
        message: String,
        /// The tag.
        tag: u64,
        /// The tag with its wire type.
        key: u64,
    },
    /// A wire type there is none of.
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    /// A field stands there with another type than its own.
    #[error("proto: wrong wireType = {found} for field {field}")]
    WrongWireType {
        /// What stands there.
        found: u8,
        /// The field, nearly as Go names it.
        field: String,
    },
    /// Messages nest more than [`DEEPEST`] deep.
    #[error("proto: nested too deep")]
    Depth,
    /// A text is no UTF-8.
    #[error("proto: a string is no UTF-8")]
    Utf8,
    /// A time that no calendar has.
    #[error("proto: a time is out of range")]
    Time,
    /// Raw JSON inside a message, or the JSON to encode, is none or does not fit the shape.
    #[error("{0}")]
    Json(String),
}

/// What the conversions return.
pub type Result<T> = std::result::Result<T, Error>;

/// The protobuf form of one built-in shape.
#[derive(Debug, Clone, Copy)]
pub struct Message(&'static plan::Message);

impl Message {
    /// Of a shape; `None` for those made at run time, and for what is no struct.
    #[must_use]
    pub fn of(schema: &SchemaRef) -> Option<Self> {
        match schema {
            SchemaRef::Static(schema) => Self::of_static(schema),
            SchemaRef::Shared(_) => None,
        }
    }

    fn of_static(schema: &'static Schema) -> Option<Self> {
        plan::find(&schema.name).map(Self)
    }

    /// The message of the built-in shape of this OpenAPI name.
    #[must_use]
    pub fn builtin(name: &str) -> Option<Self> {
        plan::find(name).map(Self)
    }

    /// The message of a kind, as bodies and stored values name it.
    #[must_use]
    pub fn of_kind(api_version: &str, kind: &str) -> Option<Self> {
        plan::of_kind(api_version, kind).map(Self)
    }

    /// The OpenAPI name of the shape.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// `PartialObjectMetadata`, of any kind's JSON.
    #[must_use]
    pub fn metadata_only() -> Self {
        Self(plan::metadata_only())
    }

    /// Encodes an object's JSON text; unknown fields, `kind` and `apiVersion` are left out.
    ///
    /// `revision` becomes `metadata.resourceVersion`, whatever the text says.
    ///
    /// # Errors
    /// When the text is no JSON, or a value has another type than its field.
    pub fn encode(&self, json: &[u8], revision: Option<&str>) -> Result<Vec<u8>> {
        encode::encode(self.0, json, revision)
    }

    /// Decodes a message into a JSON map without `kind` and `apiVersion`.
    ///
    /// Empty values are left out where the original's JSON form leaves them out; fields that are always written
    /// there but missing here are not made up.
    ///
    /// # Errors
    /// When the bytes are no such message.
    pub fn decode(&self, message: &[u8]) -> Result<Map<String, Value>> {
        decode::decode(self.0, message)
    }
}

#[cfg(test)]
mod tests;
