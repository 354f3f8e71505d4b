//! An extension API server behind an APIService, and what is measured of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use kubeplane_aggregation::{Aggregation, Identity};
use kubeplane_apiserver::{Api, ApiServer, Body, Route, Service, TlsOptions, body};
use kubeplane_core::{
    auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo},
    component::{Component, Supervision, lifecycle},
    status::ApiResult,
};
use kubeplane_pki::{Authority, Request as Certificate, Usage};
use kubeplane_store_memory::MemoryStore;
use kubeplane_telemetry::Metrics;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tower::ServiceExt;

const DEADLINE: Duration = Duration::from_secs(20);
const APIS: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const SERVICES: &str = "/api/v1/namespaces/default/services";

#[derive(Debug)]
struct Anyone;

#[async_trait]
impl Authenticator for Anyone {
    async fn authenticate(&self, _request: &Parts) -> ApiResult<Option<UserInfo>> {
        Ok(Some(UserInfo::new("jane", Vec::<String>::new())))
    }
}

#[async_trait]
impl Authorizer for Anyone {
    async fn authorize(&self, _request: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }
}

/// Says that it has no resources.
#[derive(Debug)]
struct Discovery;

#[async_trait]
impl Route for Discovery {
    async fn serve(&self, _api: &Api, _head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "up.example.com/v1", "resources": []});
        Ok(Response::new(body::full(list.to_string())))
    }
}

/// A server that listens, until it is dropped.
struct Running {
    service: Service,
    api: Api,
    port: u16,
    supervision: Vec<Supervision>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.supervision.iter().for_each(Supervision::stop);
    }
}

async fn running(api: ApiServer) -> Running {
    let mut bound = api.bound();
    let (own, supervision) = lifecycle();
    let (service, inside) = (api.service(), api.api());
    tokio::spawn(Box::new(api).run(own));
    let port = bound.wait_for(Option::is_some).await.unwrap().unwrap().port();
    Running { service, api: inside, port, supervision: vec![supervision] }
}

impl Running {
    async fn call(&self, method: &str, path: &str, sent: &Value) -> Value {
        let sent = Full::new(Bytes::from(sent.to_string()));
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json").body(sent).unwrap();
        let answer = self.service.clone().oneshot(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    /// Waits until the APIService says so of itself.
    async fn available(&self, wanted: &str) {
        let looks = async {
            loop {
                let found =
                    self.call("GET", &format!("{APIS}/v1.up.example.com"), &json!({})).await;
                let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
                if all.iter().any(|one| one["type"] == "Available" && one["status"] == wanted) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, looks).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_unavailable_is_measured() {
    let now = kubeplane_clock::real().now();
    let authority = Authority::generate("all", now).unwrap();
    let names = ["up.default.svc", "localhost"];
    let leaf = authority.issue(&Certificate::new("up", Usage::Server).names(names), now).unwrap();
    let client = authority.issue(&Certificate::new("front", Usage::Client), now).unwrap();
    let tls = || TlsOptions::from_pem(leaf.certificate.clone(), leaf.key.clone());
    let extension = ApiServer::builder(Arc::new(MemoryStore::new()))
        .authenticate(Anyone)
        .authorize(Anyone)
        .route("/apis/up.example.com/v1", Arc::new(Discovery))
        .listen((Ipv4Addr::LOCALHOST, 0).into(), tls())
        .build()
        .unwrap();
    let extension = running(extension).await;
    let front = ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(kubeplane_builtin::all())
        .authenticate(Anyone)
        .authorize(Anyone)
        .listen((Ipv4Addr::LOCALHOST, 0).into(), tls())
        .build()
        .unwrap();
    let mut front = running(front).await;
    let (metrics, (own, supervision)) = (Metrics::new(), lifecycle());
    let identity = Identity::from_pem(&client.certificate, &client.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let aggregation = Aggregation::new(front.api.clone(), identity, provider);
    tokio::spawn(Box::new(aggregation.with_metrics(&metrics)).run(own));
    front.supervision.push(supervision);

    let port = extension.port;
    let service = json!({"metadata": {"name": "up"}, "spec": {"type": "ExternalName",
        "externalName": "localhost", "ports": [{"port": port}]}});
    front.call("POST", SERVICES, &service).await;
    let registration = json!({"metadata": {"name": "v1.up.example.com"}, "spec": {"group": "up.example.com",
        "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 10,
        "caBundle": STANDARD.encode(authority.certificate()),
        "service": {"namespace": "default", "name": "up", "port": port}}});
    front.call("POST", APIS, &registration).await;
    front.available("True").await;
    let shown = metrics.encode_plain();
    assert!(
        shown.contains("aggregator_unavailable_apiservice{name=\"v1.up.example.com\"} 0"),
        "{shown}"
    );

    front.call("DELETE", &format!("{SERVICES}/up"), &json!({})).await;
    front.available("False").await;
    let shown = metrics.encode_plain();
    for line in [
        "aggregator_unavailable_apiservice{name=\"v1.up.example.com\"} 1",
        "aggregator_unavailable_apiservice_total{name=\"v1.up.example.com\",reason=\"ServiceNotFound\"} 1",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}
