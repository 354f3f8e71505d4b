//! Request and response bodies of the API server.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
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

/// How much of a body that is too large is still read, and thrown away, before it is refused; those who would send
/// more are answered at once. Over HTTP/1.1 that would do for all, but over HTTP/2 the answer to a body that is not
/// read to its end is followed by a reset of the stream, and clients that find both in one read (curl 7.88) tell of
/// the reset alone.
const DRAINED: usize = 256 * 1024 * 1024;

/// Reads a whole body of at most [`MAX_BODY`] bytes.
///
/// # Errors
/// 413 when it is larger, 400 when the client stops sending.
pub async fn read(mut body: Body) -> ApiResult<Bytes> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_BODY {
        drain(body, announced).await;
        return Err(too_large());
    }
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(format!("unable to read the request body: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > MAX_BODY {
            drop(all);
            drain(body, 0).await;
            return Err(too_large());
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn too_large() -> ApiError {
    ApiError::too_large(format!("Request entity too large: limit is {MAX_BODY}"))
}

/// Lets the client send the rest, unless it is far too much.
async fn drain(mut body: Body, announced: usize) {
    if announced > DRAINED {
        return;
    }
    let mut left = DRAINED;
    // A client that stops sending needs no answer.
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}
