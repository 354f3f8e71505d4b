//! Connections that are no HTTP any more after their first answer, through the server in front.

use crate::Both;
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube_client::client::Body as ClientBody;
use kubeplane_apiserver::{Body, Handler, HandlerRequest, body};
use kubeplane_core::{
    ApiError, Definition, GroupResource, GroupVersionKind, Object, Strategy,
    definition::{Form, Subresource, Verb},
    status::ApiResult,
};
use serde_json::Value;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The hooks of a kind that is not needed, and its subresource: says who asks, then sends back what it is sent.
#[derive(Debug)]
struct Echo;

impl Strategy for Echo {
    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        vec![object.name().into()]
    }
}

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let who = request.head.headers.get("x-remote-user").cloned();
        let who = who.ok_or_else(|| ApiError::bad_request("nobody"))?;
        let upgrade = request.upgrade().ok_or_else(|| ApiError::bad_request("no upgrade"))?;
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            stream.write_all(who.as_bytes()).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            // The client goes away at the end of its test, at whatever moment.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let answer = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "Upgrade")
            .header("upgrade", "echo");
        answer.body(body::empty()).map_err(ApiError::internal)
    }
}

#[tokio::test]
async fn connections_are_taken_over_through_an_apiservice() {
    let kind = || GroupVersionKind::new("up.example.com", "v1", "Thing");
    let definition = Definition {
        subresources: vec![Subresource {
            name: "console".into(),
            kind: kind(),
            verbs: vec![Verb::Get, Verb::Create].into(),
            form: Form::Handler,
        }],
        ..Definition::new(kind(), "things", Arc::new(Echo))
    };
    let things = GroupResource::new("up.example.com", "things");
    let both = Both::start(|builder| {
        builder.resources(vec![Arc::new(definition)]).handler(things, "console", Arc::new(Echo))
    })
    .await;
    let client = &both.front.client;
    for method in ["GET", "POST"] {
        let path = "/apis/up.example.com/v1/namespaces/default/things/one/console?tty=true";
        let request = Request::builder().method(method).uri(path);
        let request = request.header("connection", "Upgrade").header("upgrade", "echo");
        let answer = client.send(request.body(ClientBody::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS, "{method}");
        assert_eq!(answer.headers()["upgrade"], "echo");
        let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        stream.write_all(b" says hello").await.unwrap();
        let mut back = [0; 14];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"ada says hello", "{method}");
    }
    // An answer that is no upgrade is passed back as it is.
    let path = "/apis/up.example.com/v1/namespaces/default/things/one/nothing";
    let request = Request::get(path).header("connection", "Upgrade").header("upgrade", "echo");
    let answer = client.send(request.body(ClientBody::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
