//! Who may open a connection into a pod, and how nodes are reached. None is here, so that none is opened.

use crate::harness::{Answer, Server};
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use kubeplane_core::GroupResource;
use kubeplane_handlers::{Connection, Dial, KubeletClient, PodLog, PodStream, ResourceProxy};
use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
use serde_json::json;
use std::{io, sync::Arc};

const KINDS: [&str; 3] = ["exec", "attach", "portforward"];
const GATE: &str = "AuthorizePodWebsocketUpgradeCreatePermission";

/// Leads nowhere, and says where it was to lead.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Dial for Nowhere {
    async fn connect(&self, host: &str, _port: u16) -> io::Result<Box<dyn Connection>> {
        Err(io::Error::other(format!("no way to the host {host}")))
    }

    async fn connect_node(
        &self,
        node: &str,
        _host: &str,
        _port: u16,
    ) -> io::Result<Box<dyn Connection>> {
        Err(io::Error::other(format!("no way to the node {node}")))
    }
}

async fn server(gates: &str) -> Server {
    let now = jiff::Timestamp::now();
    let authority = Authority::generate("test", now).unwrap();
    let own = authority.issue(&CertificateRequest::new("api", Usage::Client), now).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let kubelets =
        KubeletClient::new(authority.certificate(), &own.certificate, &own.key, provider.clone())
            .unwrap()
            .dialing(Arc::new(Nowhere));
    let server = Server::with(|builder| {
        let stream = Arc::new(PodStream(kubelets.clone()));
        let proxy = ResourceProxy::new(kubelets.clone(), provider).dial(Arc::new(Nowhere));
        let builder = builder
            .features(gates.parse().unwrap())
            .handler(GroupResource::new("", "pods"), "log", Arc::new(PodLog(kubelets)))
            .handler(GroupResource::new("", "nodes"), "proxy", Arc::new(proxy));
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

#[tokio::test]
async fn all_that_goes_to_a_node_is_dialled_by_its_name() {
    let server = server("").await;
    let node = json!({"metadata": {"name": "one"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
    server.admin("POST", "/api/v1/nodes", &node).await.expect(201);
    let status = json!({"status": node["status"]});
    server.admin("PATCH", "/api/v1/nodes/one/status", &status).await.expect(200);
    server.pod("placed", "one").await;
    for (path, code, port) in [
        ("/api/v1/namespaces/default/pods/placed/log", 500, 10250),
        ("/api/v1/nodes/one/proxy/healthz", 503, 10250),
        ("/api/v1/nodes/one:8080/proxy/healthz", 503, 8080),
    ] {
        let request = Request::get(path).header("authorization", "Bearer admin");
        let request = request.header("host", "api").body(Full::new(Bytes::new())).unwrap();
        let status = server.call(request).await.expect(code);
        let message = status["message"].as_str().unwrap();
        let wanted = format!("dial tcp 10.0.0.1:{port}: connect: no way to the node one");
        assert!(message.ends_with(&wanted), "{path}: {message}");
    }
}
