//! Requests passed on to nodes, pods and Services, which stand behind pipes here.

use crate::harness::Server;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kubeplane_core::{
    GroupResource,
    auth::UserInfo,
    component::{Component, lifecycle},
};
use kubeplane_handlers::{Connection, Dial, KubeletClient, ResourceProxy};
use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
use serde_json::{Value, json};
use std::{convert::Infallible, io, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One web server at 10.0.0.5, port 8080.
#[derive(Debug)]
struct Network;

#[async_trait]
impl Dial for Network {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Connection>> {
        if (host, port) != ("10.0.0.5", 8080) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(4096);
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service_fn(web))
            .with_upgrades();
        tokio::spawn(serving);
        Ok(Box::new(near))
    }
}

async fn web(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let answer = Response::builder();
    let answer = match path.as_str() {
        "/moved" => answer.status(302).header("location", "/new/place").body(Full::default()),
        "/page" => answer
            .header("content-type", "text/html; charset=utf-8")
            .header("access-control-allow-origin", "*")
            .body(Full::from("<a href=\"/a\">a</a><a href=\"b\">b</a>")),
        "/talk" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut said = [0; 4];
                io.read_exact(&mut said).await.unwrap();
                said.reverse();
                io.write_all(&said).await.unwrap();
            });
            answer
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "talk")
                .body(Full::default())
        }
        _ => {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let headers: serde_json::Map<String, Value> = head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
                .collect();
            let seen = json!({"method": head.method.as_str(), "uri": head.uri.to_string(),
                "headers": headers, "body": String::from_utf8_lossy(&body)});
            answer.status(418).header("x-own", "yes").body(Full::from(seen.to_string()))
        }
    };
    Ok(answer.unwrap())
}

async fn server() -> Server {
    let now = jiff::Timestamp::now();
    let authority = Authority::generate("test", now).unwrap();
    let own = authority.issue(&CertificateRequest::new("api", Usage::Client), now).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let kubelets =
        KubeletClient::new(authority.certificate(), &own.certificate, &own.key, provider.clone());
    let proxy = Arc::new(ResourceProxy::new(kubelets.unwrap(), provider).dial(Arc::new(Network)));
    let core = |resource: &'static str| GroupResource::new("", resource);
    let server = Server::with(|builder| {
        builder
            .handler(core("nodes"), "proxy", proxy.clone())
            .handler(core("pods"), "proxy", proxy.clone())
            .handler(core("services"), "proxy", proxy)
    })
    .await;
    let pod = server.pod("web", "one").await;
    let pods = "/api/v1/namespaces/default/pods";
    let status = json!({"status": {"podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}]}});
    server.admin("PATCH", &format!("{pods}/web/status"), &status).await.expect(200);
    let service = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "None",
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    server.admin("POST", "/api/v1/namespaces/default/services", &service).await.expect(201);
    let address = json!({"ip": "10.0.0.5", "targetRef": {"kind": "Pod", "namespace": "default",
        "name": "web", "uid": pod["metadata"]["uid"]}});
    let endpoints = json!({"metadata": {"name": "web"}, "subsets": [
        {"addresses": [address], "ports": [{"name": "http", "port": 8080}]}]});
    server.admin("POST", "/api/v1/namespaces/default/endpoints", &endpoints).await.expect(201);
    server
}

const SERVICE: &str = "/api/v1/namespaces/default/services/http:web:80/proxy";

fn get(path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(path).header("authorization", "Bearer admin").header("host", "api");
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_service_is_reached_by_every_verb_with_path_query_and_body() {
    let server = server().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = Request::builder()
            .method(method)
            .uri(format!("{SERVICE}/a%20b/../c/?q=1&r=%2F"))
            .header("authorization", "Bearer admin")
            .header("impersonate-user", "admin")
            .header("cookie", "a=b")
            .header("host", "api")
            .body(Full::from("hello"))
            .unwrap();
        let answer = server.call(request).await;
        let seen = answer.expect(418);
        assert_eq!(answer.headers["x-own"], "yes");
        assert_eq!((&seen["method"], &seen["uri"]), (&method.into(), &"/c/?q=1&r=%2F".into()));
        assert_eq!((&seen["body"], &seen["headers"]["cookie"]), (&"hello".into(), &"a=b".into()));
        assert_eq!(seen["headers"]["x-forwarded-uri"], format!("{SERVICE}/c/"));
        for secret in ["authorization", "impersonate-user"] {
            assert!(seen["headers"][secret].is_null(), "{seen}");
        }
    }
    for same in ["web:http", "web:80", "http:web:http"] {
        let path = format!("/api/v1/namespaces/default/services/{same}/proxy/x");
        assert_eq!(server.call(get(&path)).await.expect(418)["uri"], "/x", "{same}");
    }
}

#[tokio::test]
async fn a_pod_is_reached_at_a_port() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/pods/web:8080/proxy/x";
    assert_eq!(server.call(get(path)).await.expect(418)["uri"], "/x");
    let path = "/api/v1/namespaces/default/pods/web/proxy/x";
    let status = server.call(get(path)).await.expect(503);
    assert_eq!(status["reason"], "ServiceUnavailable");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("error trying to reach service: dial tcp 10.0.0.5:80: "),
        "{message}"
    );
}

#[tokio::test]
async fn links_and_redirections_lead_back_through_the_api_server() {
    let server = server().await;
    for (path, code, location) in [
        (format!("{SERVICE}?q=1"), 301, format!("{SERVICE}/?q=1")),
        (format!("{SERVICE}/moved"), 302, format!("{SERVICE}/new/place")),
    ] {
        let answer = server.call(get(&path)).await;
        assert_eq!(answer.code.as_u16(), code);
        assert_eq!(answer.headers[header::LOCATION], *location);
    }
    let page = server.call(get(&format!("{SERVICE}/page"))).await;
    assert_eq!(page.text, format!("<a href=\"{SERVICE}/a\">a</a><a href=\"b\">b</a>"));
    assert!(!page.headers.contains_key("access-control-allow-origin"));
}

/// A connection to the web server that it no longer speaks HTTP on.
async fn talk(client: &kube_client::Client) -> TokioIo<hyper::upgrade::Upgraded> {
    let request = Request::get(format!("{SERVICE}/talk"))
        .header("connection", "Upgrade")
        .header("upgrade", "talk")
        .body(kube_client::client::Body::empty())
        .unwrap();
    let mut answer = client.send(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["upgrade"]),
        (101, &"talk".parse().unwrap())
    );
    TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap())
}

#[tokio::test]
async fn a_connection_can_be_taken_over() {
    let server = server().await;
    let client = server.0.client_as(UserInfo::new("admin", ["people"]));
    let mut io = talk(&client).await;
    io.write_all(b"ping").await.unwrap();
    let mut said = [0; 4];
    io.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"gnip");
}

/// The other side would go on for ever.
#[tokio::test]
async fn connections_end_with_the_server() {
    let server = server().await;
    let client = server.0.client_as(UserInfo::new("admin", ["people"]));
    let (side, mut supervision) = lifecycle();
    let running = tokio::spawn(Box::new(server.0).run(side));
    assert!(supervision.became_ready().await);
    let mut io = talk(&client).await;
    supervision.stop();
    running.await.unwrap().unwrap();
    assert_eq!(io.read(&mut [0; 1]).await.unwrap_or_default(), 0);
}

#[tokio::test]
async fn nothing_but_pods_and_nodes_is_reached() {
    let server = server().await;
    let refused = async |path: &str, code: u16, why: &str| {
        let status = server.call(get(path)).await.expect(code);
        let message = status["message"].as_str().unwrap().to_owned();
        assert!(message.contains(why), "{path}: {message}");
    };
    let inside = "/api/v1/namespaces/default";
    refused(&format!("{inside}/services/ftp:web:80/proxy/"), 400, "invalid service request").await;
    refused(&format!("{inside}/services/web:81/proxy/"), 503, "no service port 81 found").await;
    refused(&format!("{inside}/services/none/proxy/"), 404, "services \"none\" not found").await;
    refused(&format!("{inside}/services/web:x/proxy/"), 503, "no endpoints available").await;
    refused(&format!("{inside}/pods/none/proxy/"), 404, "pods \"none\" not found").await;
    refused("/api/v1/nodes/none/proxy/", 404, "nodes \"none\" not found").await;

    // Endpoints that somebody wrote by hand lead nowhere else.
    let elsewhere = json!({"metadata": {"name": "evil"}, "subsets": [{
        "addresses": [{"ip": "10.0.0.5"}], "ports": [{"port": 8080}]}]});
    server.admin("POST", &format!("{inside}/endpoints"), &elsewhere).await.expect(201);
    refused(&format!("{inside}/services/evil/proxy/"), 503, "no endpoints available").await;
    let local = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    server.pod("local", "one").await;
    server.admin("PATCH", &format!("{inside}/pods/local/status"), &local).await.expect(200);
    refused(&format!("{inside}/pods/local:8080/proxy/"), 400, "address not allowed").await;
    let node = json!({"metadata": {"name": "one"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}});
    server.admin("POST", "/api/v1/nodes", &node).await.expect(201);
    server
        .admin("PATCH", "/api/v1/nodes/one/status", &json!({"status": node["status"]}))
        .await
        .expect(200);
    refused("/api/v1/nodes/one:6443/proxy/", 400, "address not allowed").await;
    let bare = json!({"metadata": {"name": "bare"}});
    server.admin("POST", "/api/v1/nodes", &bare).await.expect(201);
    let answer = server.call(get("/api/v1/nodes/bare/proxy/")).await.expect(500);
    assert_eq!(answer["message"], "no preferred addresses found; known addresses: []");
    assert_eq!(answer["reason"], Value::Null);
}
