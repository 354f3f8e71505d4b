//! Who may open a connection into a pod. The pods here run nowhere, so that none is opened.

use crate::harness::{Answer, Server};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use kubeplane_core::GroupResource;
use kubeplane_handlers::{KubeletClient, PodStream};
use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
use std::sync::Arc;

const KINDS: [&str; 3] = ["exec", "attach", "portforward"];
const GATE: &str = "AuthorizePodWebsocketUpgradeCreatePermission";

async fn server(gates: &str) -> Server {
    let now = jiff::Timestamp::now();
    let authority = Authority::generate("test", now).unwrap();
    let own = authority.issue(&CertificateRequest::new("api", Usage::Client), now).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let kubelets =
        KubeletClient::new(authority.certificate(), &own.certificate, &own.key, provider).unwrap();
    let server = Server::with(|builder| {
        let stream = Arc::new(PodStream(kubelets));
        let builder = builder.features(gates.parse().unwrap());
        KINDS.iter().fold(builder, |builder, kind| {
            builder.handler(GroupResource::new("", "pods"), kind, stream.clone())
        })
    })
    .await;
    server.pod("web", "").await;
    server
}

/// Begins a WebSocket.
async fn begin(server: &Server, user: &str, pod: &str, kind: &str) -> Answer {
    let request = Request::get(format!("/api/v1/namespaces/default/pods/{pod}/{kind}?stdout=true"))
        .header("authorization", format!("Bearer {user}"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .body(Full::new(Bytes::new()))
        .unwrap();
    server.call(request).await
}

#[tokio::test]
async fn a_websocket_needs_the_right_to_create_too() {
    let server = server("").await;
    for kind in KINDS {
        let status = begin(&server, "looker", "web", kind).await.expect(403);
        assert_eq!(status["reason"], "Forbidden", "{kind}");
        assert_eq!(status["message"], "pods \"web\" is forbidden: only looks", "{kind}");
        assert_eq!(status["details"]["kind"], "pods", "{kind}");
        // Whoever may not is not told which pods there are.
        begin(&server, "looker", "none", kind).await.expect(403);
        begin(&server, "admin", "none", kind).await.expect(404);
        let status = begin(&server, "admin", "web", kind).await.expect(400);
        assert_eq!(status["message"], "pod web does not have a host assigned", "{kind}");
    }
}

#[tokio::test]
async fn without_the_gate_the_right_to_get_opens_one() {
    let server = server(&format!("{GATE}=false")).await;
    for kind in KINDS {
        let status = begin(&server, "looker", "web", kind).await.expect(400);
        assert_eq!(status["message"], "pod web does not have a host assigned", "{kind}");
    }
}
