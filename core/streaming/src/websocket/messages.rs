use super::config;
use crate::{
    Error, Result,
    negotiate::{self, list, values},
    pipe::Duplex,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::{
    HeaderMap, Response, StatusCode, Uri,
    header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use std::{fmt::Display, pin::pin};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";
/// Browsers send their token so. It is no protocol, and is told to nobody.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// Whether a request asks that its connection become a WebSocket.
#[must_use]
pub fn is_requested(headers: &HeaderMap) -> bool {
    let asked = values(headers, &UPGRADE).next().unwrap_or_default();
    asked.eq_ignore_ascii_case("websocket") && negotiate::is_upgrade(headers)
}

/// The server's end of a WebSocket connection that carries one stream, to the client alone.
#[derive(Debug, Clone)]
pub struct Messages {
    base64: bool,
    headers: HeaderMap,
}

impl Messages {
    /// Of bytes, as logs are: by the client's first protocol of `binary.k8s.io` (also when it names none) and
    /// `base64.binary.k8s.io`.
    ///
    /// # Errors
    /// `NotAnUpgrade` (answer 400) when the handshake lacks something, `NoCommonProtocol` (answer 403).
    pub fn bytes(headers: &HeaderMap) -> Result<Self> {
        let key = key(headers)?;
        let requested = protocols(headers);
        let known = |name: &&String| [BINARY, BASE64].contains(&name.as_str());
        let chosen = match requested.iter().find(known) {
            Some(chosen) => chosen.as_str(),
            None if requested.is_empty() => "",
            None => {
                let accepted = vec!["", BINARY, BASE64];
                return Err(Error::NoCommonProtocol { requested, accepted });
            }
        };
        Ok(Self { base64: chosen == BASE64, headers: negotiate::web_socket_answer(key, chosen)? })
    }

    /// Of events, as watches are, for pages: a client says of which `Origin` it is. It may name one protocol, which
    /// then is the answer's too and means nothing.
    ///
    /// # Errors
    /// `NotAnUpgrade` (answer 400) when the handshake lacks something or names several protocols, `NoOrigin` (403).
    pub fn events(headers: &HeaderMap) -> Result<Self> {
        let key = key(headers)?;
        let origin = values(headers, &ORIGIN).next().unwrap_or_default();
        let known = |uri: Uri| uri.scheme().is_some() || origin.starts_with('/');
        if !origin.parse::<Uri>().is_ok_and(known) {
            return Err(Error::NoOrigin);
        }
        let headers = match protocols(headers).as_slice() {
            [] => negotiate::web_socket_answer(key, "")?,
            [only] => negotiate::web_socket_answer(key, only)?,
            _ => return Err(Error::not_an_upgrade("missing or bad WebSocket-Protocol")),
        };
        Ok(Self { base64: false, headers })
    }

    /// The answer: status 101 with its headers, and no body.
    #[must_use]
    pub fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// Sends a message for each of `payloads` over bytes on which the request was already answered: text, where `text`
    /// says that they are (or they are sent in base64), else binary. Then it says goodbye, and waits until the peer has
    /// answered or `patience` has ended, which is not polled before. A payload that is an error ends the stream in the
    /// same way. What the client sends is ignored; when it closes the connection, the rest is not sent.
    ///
    /// # Cancellation
    /// Dropping the future drops the connection, without a goodbye.
    pub async fn send<T, S, E>(
        self,
        io: T,
        text: bool,
        payloads: S,
        patience: impl Future<Output = ()>,
    ) where
        T: Duplex,
        S: Stream<Item = Result<Bytes, E>>,
        E: Display,
    {
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
        let mut payloads = pin!(payloads);
        loop {
            tokio::select! {
                payload = payloads.next() => match payload {
                    Some(Ok(payload)) => {
                        if socket.send(self.message(payload, text)).await.is_err() {
                            return;
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a stream of messages broke");
                        break;
                    }
                    None => break,
                },
                heard = socket.next() => match heard {
                    Some(Ok(Message::Close(_))) => break,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let farewell = async {
            // A client that has said goodbye itself gets its answer when it is next read from.
            let _ = socket.send(Message::Close(Some(goodbye))).await;
            while let Some(Ok(_)) = socket.next().await {}
            // A client that is gone need not be told.
            let _ = socket.get_mut().shutdown().await;
        };
        tokio::select! {
            () = farewell => {}
            () = patience => {}
        }
    }

    fn message(&self, payload: Bytes, text: bool) -> Message {
        if self.base64 {
            return Message::text(BASE64_STANDARD.encode(&payload));
        }
        if !text {
            return Message::Binary(payload);
        }
        Utf8Bytes::try_from(payload.clone()).map_or(Message::Binary(payload), Message::Text)
    }
}

/// The key of a handshake of the one version there is.
fn key(headers: &HeaderMap) -> Result<&http::HeaderValue> {
    let key = negotiate::web_socket_key(headers)?;
    match values(headers, &SEC_WEBSOCKET_VERSION).next() {
        Some("13") => Ok(key),
        _ => Err(Error::not_an_upgrade("missing or bad WebSocket Version")),
    }
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let mut names = list(headers, &SEC_WEBSOCKET_PROTOCOL);
    names.retain(|name| !name.starts_with(TOKEN));
    names
}
