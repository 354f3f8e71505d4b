//! A finished document: compressed, with its hash.

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::Value;
use sha2::{Digest, Sha512};
use std::{
    fmt::Write as _,
    io::{Read, Write},
};

/// A document as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    gzipped: Bytes,
    hash: String,
}

impl Document {
    /// Of a JSON value.
    pub(crate) fn json(value: &Value) -> std::io::Result<Self> {
        Self::new(&serde_json::to_vec(value)?)
    }

    /// Of bytes.
    pub(crate) fn new(plain: &[u8]) -> std::io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(plain)?;
        let gzipped = encoder.finish()?.into();
        let mut hash = String::with_capacity(128);
        for byte in Sha512::digest(plain) {
            let _ = write!(hash, "{byte:02X}");
        }
        Ok(Self { gzipped, hash })
    }

    /// The hash of the content, in hexadecimal.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// The gzipped content.
    pub(crate) fn gzipped(&self) -> Bytes {
        self.gzipped.clone()
    }

    /// The content.
    pub(crate) fn plain(&self) -> std::io::Result<Bytes> {
        let mut plain = Vec::new();
        GzDecoder::new(&self.gzipped[..]).read_to_end(&mut plain)?;
        Ok(plain.into())
    }

    /// The content, parsed.
    pub(crate) fn parsed(&self) -> std::io::Result<Value> {
        Ok(serde_json::from_slice(&self.plain()?)?)
    }
}
