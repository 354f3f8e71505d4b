//! Watches and logs as the messages of a WebSocket connection.

use crate::tls::{LIMIT, builder, connect, pki, request, secured};
use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use kubeplane_apiserver::{Body, Handler, HandlerRequest, body};
use kubeplane_core::{
    GroupResource,
    component::{Component, ComponentError, Supervision, lifecycle},
    protobuf::CONTENT_TYPE,
    status::ApiResult,
};
use kubeplane_pki::Authority;
use kubeplane_telemetry::Metrics;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LOG: &str = "/api/v1/namespaces/default/pods/p/log";
const ORIGIN: (&str, &str) = ("origin", "https://localhost");
const PROTOCOL: &str = "sec-websocket-protocol";

/// A log of one line.
#[derive(Debug)]
struct Line;

#[async_trait]
impl Handler for Line {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        Ok(request.stream(Response::new(body::full("alive\n"))))
    }
}

struct Listening {
    authority: Authority,
    address: SocketAddr,
    metrics: Metrics,
    supervision: Supervision,
    running: JoinHandle<Result<(), ComponentError>>,
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

impl Listening {
    async fn start() -> Self {
        let (authority, tls) = pki();
        let metrics = Metrics::new();
        let api = builder("127.0.0.1:0".parse().unwrap(), tls)
            .metrics(metrics.clone())
            .handler(GroupResource::new("", "pods"), "log", Arc::new(Line))
            .build()
            .unwrap();
        let mut bound = api.bound();
        let (side, mut supervision) = lifecycle();
        let running = tokio::spawn(Box::new(api).run(side));
        assert!(supervision.became_ready().await);
        let address = bound.wait_for(Option::is_some).await.unwrap().unwrap();
        Self { authority, address, metrics, supervision, running }
    }

    /// A WebSocket and its protocol, or the code of the refusal.
    async fn open(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Socket, Option<String>), u16> {
        let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
        request.headers_mut().insert("authorization", "Bearer admin".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        match client_async(request, secured(&self.authority, self.address).await).await {
            Ok((socket, answer)) => {
                let protocol = answer.headers().get(PROTOCOL);
                Ok((socket, protocol.map(|name| name.to_str().unwrap().to_owned())))
            }
            Err(WsError::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends a request over a connection of its own.
    async fn call(&self, method: &str, path: &str, body: &'static str, code: u16) {
        let (mut sender, _connection) = connect(&self.authority, self.address).await;
        let answer = sender.send_request(request(method, path, body)).await.unwrap();
        assert_eq!(answer.status(), code, "{method} {path}");
        answer.into_body().collect().await.unwrap();
    }

    /// How many answers go on.
    fn open_answers(&self) -> Vec<String> {
        let text = self.metrics.encode_plain();
        let lines = text.lines().filter(|line| line.starts_with("apiserver_longrunning_requests{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    }

    async fn wait_until_all_ended(&self) {
        let ended = async {
            while self.open_answers().iter().any(|open| open != "0") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, ended).await.expect("they end");
    }

    async fn stop(self) {
        self.supervision.stop();
        tokio::time::timeout(LIMIT, self.running).await.unwrap().unwrap().unwrap();
    }
}

/// The next message, within reason; `None` at the end of the connection.
async fn heard(socket: &mut Socket) -> Option<Message> {
    let message = tokio::time::timeout(LIMIT, socket.next()).await.expect("a message in time");
    message.and_then(Result::ok)
}

/// Type and name of an event that is text.
async fn event(socket: &mut Socket) -> (String, String) {
    let Some(Message::Text(text)) = heard(socket).await else { panic!("no text") };
    let event: Value = serde_json::from_str(text.as_str()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
}

fn of(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_log_is_sent_in_the_protocol_that_is_asked_for() {
    let server = Listening::start().await;
    let token = "base64url.bearer.authorization.k8s.io.c2VjcmV0, binary.k8s.io";
    let line = Message::binary(&b"alive\n"[..]);
    for (asked, protocol, first, second) in [
        (None, None, Message::binary(&b""[..]), line.clone()),
        (Some("binary.k8s.io"), Some("binary.k8s.io"), Message::binary(&b""[..]), line.clone()),
        (Some(token), Some("binary.k8s.io"), Message::binary(&b""[..]), line),
        (
            Some("base64.binary.k8s.io"),
            Some("base64.binary.k8s.io"),
            Message::text(""),
            Message::text("YWxpdmUK"),
        ),
    ] {
        let headers: Vec<_> = asked.into_iter().map(|name| (PROTOCOL, name)).collect();
        let (mut socket, chosen) = server.open(LOG, &headers).await.unwrap();
        assert_eq!(chosen.as_deref(), protocol);
        assert_eq!(heard(&mut socket).await, Some(first), "{asked:?}");
        assert_eq!(heard(&mut socket).await, Some(second), "{asked:?}");
        assert!(heard(&mut socket).await.is_some_and(|message| message.is_close()), "{asked:?}");
        assert_eq!(heard(&mut socket).await, None, "{asked:?}");
    }
    let refused = server.open(LOG, &[(PROTOCOL, "v4.channel.k8s.io")]).await;
    assert_eq!(refused.err(), Some(403));
    server.wait_until_all_ended().await;
    server.stop().await;
}

#[tokio::test]
async fn each_event_of_a_watch_is_a_message() {
    let server = Listening::start().await;
    let path = format!("{MAPS}?watch=1");
    assert_eq!(server.open(&path, &[]).await.err(), Some(403), "of no origin");
    let (mut json, protocol) = server.open(&path, &[ORIGIN]).await.unwrap();
    assert_eq!(protocol, None);
    let (mut binary, _) = server.open(&path, &[ORIGIN, ("accept", CONTENT_TYPE)]).await.unwrap();
    json.send(Message::text("what clients say is ignored")).await.unwrap();
    for body in [r#"{"metadata": {"name": "a"}}"#, r#"{"metadata": {"name": "b"}}"#] {
        server.call("POST", MAPS, body, 201).await;
    }
    server.call("DELETE", &format!("{MAPS}/a"), "", 200).await;
    for (kind, name) in [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")] {
        assert_eq!(event(&mut json).await, of(kind, name));
        let Some(Message::Binary(frame)) = heard(&mut binary).await else { panic!("no frame") };
        let begins = [&[0x0a, u8::try_from(kind.len()).unwrap()][..], kind.as_bytes()].concat();
        assert!(frame.starts_with(&begins), "{kind}: {frame:?}");
    }

    // What is there comes at once, a message each, and the watch ends when its time is over.
    let short = format!("{MAPS}?watch=1&timeoutSeconds=3");
    server.call("POST", MAPS, r#"{"metadata": {"name": "a"}}"#, 201).await;
    let (mut socket, _) = server.open(&short, &[ORIGIN]).await.unwrap();
    assert_eq!(event(&mut socket).await, of("ADDED", "a"));
    assert_eq!(event(&mut socket).await, of("ADDED", "b"));
    assert!(heard(&mut socket).await.is_some_and(|message| message.is_close()));

    json.close(None).await.unwrap();
    binary.close(None).await.unwrap();
    while heard(&mut json).await.is_some() {}
    while heard(&mut binary).await.is_some() {}
    while heard(&mut socket).await.is_some() {}
    server.wait_until_all_ended().await;
    server.stop().await;
}

#[tokio::test]
async fn a_watch_ends_with_the_server() {
    let server = Listening::start().await;
    let (mut socket, _) = server.open(&format!("{MAPS}?watch=1"), &[ORIGIN]).await.unwrap();
    assert_eq!(server.open_answers(), ["1"]);
    server.call("POST", MAPS, r#"{"metadata": {"name": "a"}}"#, 201).await;
    assert_eq!(event(&mut socket).await, of("ADDED", "a"));
    server.stop().await;
    while heard(&mut socket).await.is_some() {}
}
