//! Answers that go on for long, as messages of a WebSocket connection for those who ask for one: pages, mostly, which
//! cannot read a body that has no end.

use crate::{
    api::Api,
    body::{self, Body, BoxError},
    held::Held,
};
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kubeplane_streaming::{
    Error,
    websocket::{Messages, is_requested},
};
use std::time::Duration;

/// How many bytes of a log are one message.
const PIECE: usize = 2048;
/// How long a client may take to answer a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// What is in a body, and so where a message of it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes of any kind.
    Bytes,
    /// Whole lines, an event each.
    Lines,
    /// Whole frames, an event behind its length in four bytes.
    Frames,
}

/// The answer as it is; or the one that takes the connection over, in which a task of the server then sends it.
pub(crate) fn send(
    api: &Api,
    head: &mut Parts,
    content: Content,
    response: Response<Body>,
) -> Response<Body> {
    if head.method != Method::GET || !is_requested(&head.headers) {
        return response;
    }
    // HTTP/2 has no connection to take over.
    let Some(upgrade) = head.extensions.remove::<OnUpgrade>() else { return response };
    let agreed = match content {
        Content::Bytes => Messages::bytes(&head.headers),
        Content::Lines | Content::Frames => Messages::events(&head.headers),
    };
    let messages = match agreed {
        Ok(messages) => messages,
        Err(error) => return refused(&error),
    };
    let answer = messages.response().map(|()| body::empty());
    let (held, clock) = (Held::of(&head.extensions), api.clock().clone());
    let payloads = content.payloads(response.into_body());
    api.spawn(async move {
        let _held = held;
        let connection = match upgrade.await {
            Ok(connection) => TokioIo::new(connection),
            Err(error) => return tracing::debug!(%error, "connection was not taken over"),
        };
        let patience = async move { clock.sleep(GOODBYE).await };
        messages.send(connection, content == Content::Lines, payloads, patience).await;
    });
    answer
}

/// As a handshake is refused, which has no Status.
fn refused(error: &Error) -> Response<Body> {
    let mut response = Response::new(body::full(error.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

impl Content {
    fn payloads(self, body: Body) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
        let parts = body.into_data_stream().flat_map(move |chunk| {
            stream::iter(match chunk {
                Ok(bytes) => self.split(bytes),
                Err(error) => vec![Err(error)],
            })
        });
        // Tells the client of a log that it is connected, though nothing may be written for long.
        let greeting = (self == Self::Bytes).then(|| Ok(Bytes::new()));
        stream::iter(greeting).chain(parts)
    }

    fn split(self, mut bytes: Bytes) -> Vec<Result<Bytes, BoxError>> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            messages.push(Ok(self.take(&mut bytes)));
        }
        messages
    }

    /// The first message of bytes of which there are some.
    fn take(self, bytes: &mut Bytes) -> Bytes {
        let length = match self {
            Self::Bytes => PIECE,
            Self::Lines => {
                bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
            }
            Self::Frames => {
                let Some(length) = bytes.first_chunk().map(|length| u32::from_be_bytes(*length))
                else {
                    return std::mem::take(bytes);
                };
                bytes.advance(size_of::<u32>());
                usize::try_from(length).unwrap_or(usize::MAX)
            }
        };
        bytes.split_to(length.min(bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_what_is_sent_does() {
        let split = |content: Content, bytes: &[u8]| -> Vec<Vec<u8>> {
            let messages = content.split(Bytes::copy_from_slice(bytes));
            messages.into_iter().map(|message| message.unwrap().to_vec()).collect()
        };
        assert_eq!(split(Content::Lines, b"one\ntwo\n"), [b"one\n", b"two\n"]);
        let frames = b"\x00\x00\x00\x02ab\x00\x00\x00\x02cd";
        assert_eq!(split(Content::Frames, frames), [b"ab", b"cd"]);
        let long: Vec<_> = split(Content::Bytes, &[7; PIECE + 1]).iter().map(Vec::len).collect();
        assert_eq!(long, [PIECE, 1]);
        assert!(split(Content::Lines, b"").is_empty());
    }
}
