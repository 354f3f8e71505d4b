//! Request and response bodies of the API server.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use kubeplane_core::status::{ApiError, ApiResult};
use parking_lot::Mutex;

/// Any error a body may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every request and response that passes the pipeline.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body nobody has read yet; unlike [`Body`] it can be shared between threads.
#[derive(Debug)]
pub struct Unread(Mutex<Body>);

impl Unread {
    /// Of a body.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self(Mutex::new(body))
    }

    /// The body; an empty one from the second time on.
    #[must_use]
    pub fn take(&self) -> Body {
        std::mem::replace(&mut *self.0.lock(), empty())
    }
}

/// The largest body of a write, in bytes.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// A body of these bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body without bytes.
#[must_use]
pub fn empty() -> Body {
    full(Bytes::new())
}

/// Any other body in this crate's form.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Reads a whole body of at most [`MAX_BODY`] bytes.
///
/// # Errors
/// 413 when it is larger, 400 when the client stops sending.
pub async fn read(mut body: Body) -> ApiResult<Bytes> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(format!("unable to read the request body: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > MAX_BODY {
            return Err(ApiError::too_large(format!("limit is {MAX_BODY}")));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}
