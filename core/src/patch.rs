//! The three forms of a patch: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7396) and strategic merge.
//!
//! They work on the JSON of whole objects and know nothing of defaults or validation: what comes out
//! may hold nulls and unknown fields and must be decoded like a request's body.

mod json;
mod merge;
pub mod strategic;

pub use json::{MAX_COPY_BYTES, MAX_OPERATIONS, json_patch};
pub use merge::merge_patch;

use crate::status::{ApiError, Details};
use http::StatusCode;

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The patch makes no sense by itself: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch has more operations than [`MAX_OPERATIONS`]: 413.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// The patch does not fit the object: 422.
    #[error("{0}")]
    Unprocessable(String),
    /// A strategic merge patch contradicts the kind's schema; the original answers 500.
    #[error("{0}")]
    Mismatch(String),
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        let message = error.to_string();
        match error {
            PatchError::Malformed(_) => Self::bad_request(message),
            PatchError::TooManyOperations(_) => {
                Self::too_large(format!("Request entity too large: {message}"))
            }
            // The original keeps the reason to itself.
            PatchError::Unprocessable(_) => Self::unprocessable(
                "the server rejected our request due to an error in our request",
            )
            .with_details(Details::default()),
            PatchError::Mismatch(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message),
        }
    }
}

/// Why bytes are not the JSON wanted, in the words of Go where it is not their syntax.
#[must_use]
pub fn unreadable(bytes: &[u8], error: &serde_json::Error, go_type: &str) -> String {
    use serde_json::error::Category;
    let found = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => "array",
        Some(b'{') => "object",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        _ => "number",
    };
    match error.classify() {
        Category::Eof => "unexpected end of JSON input".to_owned(),
        Category::Data => {
            format!("json: cannot unmarshal {found} into Go value of type {go_type}")
        }
        Category::Syntax | Category::Io => crate::decode::syntax::explain(bytes, error),
    }
}

#[cfg(test)]
mod tests;
