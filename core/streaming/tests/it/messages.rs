use crate::{pipe, soon};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use kubeplane_streaming::{
    Error,
    websocket::{Messages, is_requested},
};
use std::{convert::Infallible, future::pending};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

/// A handshake, with these headers beside those that each has.
fn asked(more: &[(&'static str, &'static str)]) -> HeaderMap {
    let all = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in all.iter().chain(more) {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    assert!(is_requested(&headers));
    headers
}

fn protocol(messages: &Messages) -> Option<String> {
    let response = messages.response();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let name = response.headers().get("sec-websocket-protocol");
    name.map(|name| name.to_str().unwrap().to_owned())
}

/// What a client gets of two payloads, until the end.
async fn received(messages: Messages, text: bool) -> Vec<Message> {
    let (near, far) = pipe();
    let payloads = stream::iter([Bytes::new(), Bytes::from_static(b"hello")]);
    let payloads = payloads.map(Ok::<_, Infallible>);
    let server = tokio::spawn(messages.send(far, text, payloads, pending()));
    let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let all: Vec<_> = soon(client.collect()).await;
    soon(server).await.unwrap();
    all.into_iter().map(Result::unwrap).filter(|message| !message.is_close()).collect()
}

#[tokio::test]
async fn bytes_are_sent_as_the_first_known_protocol_says() {
    const NAME: &str = "sec-websocket-protocol";
    let token = "base64url.bearer.authorization.k8s.io.c2VjcmV0";
    let binary = vec![Message::binary(Bytes::new()), Message::binary(&b"hello"[..])];
    let base64 = vec![Message::text(""), Message::text("aGVsbG8=")];
    for (wanted, name, all) in [
        (asked(&[]), None, &binary),
        (asked(&[(NAME, "binary.k8s.io")]), Some("binary.k8s.io"), &binary),
        (asked(&[(NAME, "x, base64.binary.k8s.io")]), Some("base64.binary.k8s.io"), &base64),
        (asked(&[(NAME, token), (NAME, "binary.k8s.io")]), Some("binary.k8s.io"), &binary),
    ] {
        let messages = Messages::bytes(&wanted).unwrap();
        assert_eq!(protocol(&messages).as_deref(), name);
        assert_eq!(&received(messages, false).await, all, "{name:?}");
    }
    let refused = Messages::bytes(&asked(&[(NAME, "v4.channel.k8s.io"), (NAME, token)]));
    let refused = refused.unwrap_err();
    assert_eq!(refused.http_status(), 403);
    assert!(!refused.to_string().contains("bearer"), "{refused}");
}

#[tokio::test]
async fn events_are_sent_to_a_page_of_some_origin() {
    let origin = ("origin", "http://localhost");
    let messages = Messages::events(&asked(&[origin])).unwrap();
    assert_eq!(protocol(&messages), None);
    assert_eq!(received(messages, true).await, [Message::text(""), Message::text("hello")]);
    let named = asked(&[origin, ("sec-websocket-protocol", "any")]);
    assert_eq!(protocol(&Messages::events(&named).unwrap()).as_deref(), Some("any"));
    let several = asked(&[origin, ("sec-websocket-protocol", "one, two")]);
    assert_eq!(Messages::events(&several).unwrap_err().http_status(), 400);
    for nowhere in [asked(&[]), asked(&[("origin", "null")])] {
        assert!(matches!(Messages::events(&nowhere), Err(Error::NoOrigin)));
    }
}

#[test]
fn a_handshake_lacks_nothing() {
    for name in ["sec-websocket-key", "sec-websocket-version"] {
        let mut headers = asked(&[("origin", "http://localhost")]);
        headers.remove(name);
        assert_eq!(Messages::bytes(&headers).unwrap_err().http_status(), 400, "{name}");
        assert_eq!(Messages::events(&headers).unwrap_err().http_status(), 400, "{name}");
    }
    assert!(!is_requested(&HeaderMap::new()));
}

#[tokio::test]
async fn what_the_client_sends_is_ignored_until_it_closes() {
    let (near, far) = pipe();
    let (payloads, queue) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let messages = Messages::bytes(&asked(&[])).unwrap();
    let server = tokio::spawn(messages.send(far, false, queue, pending()));
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    client.send(Message::text("stop")).await.unwrap();
    payloads.unbounded_send(Ok(Bytes::from_static(b"on"))).unwrap();
    let heard = soon(client.next()).await.unwrap().unwrap();
    assert_eq!(heard, Message::binary(&b"on"[..]));
    client.close(None).await.unwrap();
    soon(server).await.unwrap();
    assert!(payloads.is_closed(), "nobody reads the stream any more");
}
