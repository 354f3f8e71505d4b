//! Bodies in pieces, compressed where the client takes that and they are large.

use super::{Accepted, with_type};
use crate::body::{self, Body, BoxError};
use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use std::io::Write;

/// Bodies up to this many bytes are sent as they are.
const THRESHOLD: usize = 128 * 1024;

type Piece = Result<Bytes, BoxError>;

/// An answer of a body that is there already.
pub(super) fn whole(
    accepted: &Accepted,
    code: StatusCode,
    kind: HeaderValue,
    bytes: impl Into<Bytes>,
) -> Response<Body> {
    let bytes = bytes.into();
    if accepted.gzip && bytes.len() > THRESHOLD {
        return compressed(code, kind, std::iter::once(Ok(bytes)));
    }
    with_type(code, kind, body::full(bytes))
}

/// An answer of pieces, made as the client reads.
pub(super) fn pieces(
    accepted: &Accepted,
    kind: HeaderValue,
    mut pieces: impl Iterator<Item = Piece> + Send + 'static,
) -> Response<Body> {
    let code = StatusCode::OK;
    if !accepted.gzip {
        let frames = pieces.map(|piece| piece.map(Frame::data));
        return with_type(code, kind, body::boxed(StreamBody::new(futures::stream::iter(frames))));
    }
    let mut first = BytesMut::new();
    while first.len() <= THRESHOLD {
        match pieces.next() {
            Some(Ok(piece)) => first.extend_from_slice(&piece),
            Some(Err(error)) => return compressed(code, kind, std::iter::once(Err(error))),
            None => return with_type(code, kind, body::full(first.freeze())),
        }
    }
    compressed(code, kind, std::iter::once(Ok(first.freeze())).chain(pieces))
}

fn compressed(
    code: StatusCode,
    kind: HeaderValue,
    mut pieces: impl Iterator<Item = Piece> + Send + 'static,
) -> Response<Body> {
    let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    let frames = std::iter::from_fn(move || {
        loop {
            let piece = match (pieces.next(), &mut encoder) {
                (Some(Ok(piece)), Some(encoder)) => {
                    encoder.write_all(&piece).map(|()| std::mem::take(encoder.get_mut()))
                }
                (Some(Err(error)), _) => return Some(Err(error)),
                (None, ending) => ending.take()?.finish(),
                (Some(Ok(_)), None) => return None,
            };
            match piece {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Some(Ok(Frame::data(Bytes::from(piece)))),
                Err(error) => return Some(Err(BoxError::from(error))),
            }
        }
    });
    let stream = body::boxed(StreamBody::new(futures::stream::iter(frames)));
    let mut response = with_type(code, kind, stream);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
