//! An extension API server behind an APIService, and what is measured of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod upgrades;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use kubeplane_aggregation::{Aggregation, Identity};
use kubeplane_apiserver::{
    Api, ApiServer, Body, Builder, Described, Route, Service, TlsOptions, body,
};
use kubeplane_core::{
    GroupVersion,
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

const DEADLINE: Duration = Duration::from_secs(60);
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

/// Has OpenAPI v2 only.
#[derive(Debug)]
struct Swagger;

#[async_trait]
impl Route for Swagger {
    async fn serve(&self, _api: &Api, _head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let document = json!({"swagger": "2.0", "info": {"title": "Up", "version": "v0"},
            "paths": {"/apis/up.example.com/v1/": {}, "/apis/other.example.com/v1/": {}},
            "definitions": {}});
        Ok(Response::new(body::full(document.to_string())))
    }
}

/// A server that listens, until it is dropped.
struct Running {
    service: Service,
    api: Api,
    client: kube_client::Client,
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
    let client = api.client_as(UserInfo::new("ada", ["crew"]));
    tokio::spawn(Box::new(api).run(own));
    let port = bound.wait_for(Option::is_some).await.unwrap().unwrap().port();
    Running { service, api: inside, client, port, supervision: vec![supervision] }
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

    /// What an APIService says of its availability; empty for nothing.
    async fn condition(&self, name: &str) -> String {
        let found = self.call("GET", &format!("{APIS}/{name}"), &json!({})).await;
        let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let own = all.iter().find(|one| one["type"] == "Available");
        own.and_then(|own| own["status"].as_str()).unwrap_or_default().to_owned()
    }

    /// Waits until the APIService says so of itself.
    async fn available(&self, wanted: &str) {
        let looks = async {
            while self.condition("v1.up.example.com").await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, looks).await.unwrap();
    }

    /// A Service that leads to a port of this machine, and an APIService that leads there.
    async fn register(&self, name: &str, port: u16, authority: &str) {
        let service = json!({"metadata": {"name": name}, "spec": {"type": "ExternalName",
            "externalName": "localhost", "ports": [{"port": port}]}});
        self.call("POST", SERVICES, &service).await;
        let group = format!("{name}.example.com");
        let registration = json!({"metadata": {"name": format!("v1.{group}")},
            "spec": {"group": group, "version": "v1",
                "groupPriorityMinimum": 2000, "versionPriority": 10,
                "caBundle": STANDARD.encode(authority),
                "service": {"namespace": "default", "name": name, "port": port}}});
        self.call("POST", APIS, &registration).await;
    }
}

/// An extension API server, the server in front of it, and what that measures.
struct Both {
    front: Running,
    metrics: Metrics,
    /// Of both certificates.
    authority: String,
    _extension: Running,
}

impl Both {
    /// Registers an extension, and waits until it is available.
    async fn start(extend: impl FnOnce(Builder) -> Builder) -> Self {
        let now = kubeplane_clock::real().now();
        let authority = Authority::generate("all", now).unwrap();
        let names = ["up.default.svc", "localhost"];
        let leaf = Certificate::new("up", Usage::Server).names(names);
        let leaf = authority.issue(&leaf, now).unwrap();
        let client = authority.issue(&Certificate::new("front", Usage::Client), now).unwrap();
        let server = |builder: Builder| {
            let tls = TlsOptions::from_pem(leaf.certificate.clone(), leaf.key.clone());
            let builder = builder.authenticate(Anyone).authorize(Anyone);
            builder.listen((Ipv4Addr::LOCALHOST, 0).into(), tls).build().unwrap()
        };
        let empty = || ApiServer::builder(Arc::new(MemoryStore::new()));
        let extension = running(server(extend(empty()))).await;
        let front = server(empty().resources(kubeplane_builtin::all()));
        let mut front = running(front).await;
        let (metrics, (own, supervision)) = (Metrics::new(), lifecycle());
        let identity = Identity::from_pem(&client.certificate, &client.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let aggregation = Aggregation::new(front.api.clone(), identity, provider);
        tokio::spawn(Box::new(aggregation.with_metrics(&metrics)).run(own));
        front.supervision.push(supervision);

        front.register("up", extension.port, authority.certificate()).await;
        front.available("True").await;
        Self {
            front,
            metrics,
            authority: authority.certificate().to_owned(),
            _extension: extension,
        }
    }
}

#[tokio::test]
async fn what_is_unavailable_is_measured() {
    let both =
        Both::start(|builder| builder.route("/apis/up.example.com/v1", Arc::new(Discovery))).await;
    let shown = both.metrics.encode_plain();
    assert!(
        shown.contains("aggregator_unavailable_apiservice{name=\"v1.up.example.com\"} 0"),
        "{shown}"
    );

    both.front.call("DELETE", &format!("{SERVICES}/up"), &json!({})).await;
    both.front.available("False").await;
    let shown = both.metrics.encode_plain();
    for line in [
        "aggregator_unavailable_apiservice{name=\"v1.up.example.com\"} 1",
        "aggregator_unavailable_apiservice_total{name=\"v1.up.example.com\",reason=\"ServiceNotFound\"} 1",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[tokio::test]
async fn an_extension_that_hangs_holds_up_no_other() {
    let both =
        Both::start(|builder| builder.route("/apis/up.example.com/v1", Arc::new(Discovery))).await;
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    both.front.register("hangs", port, &both.authority).await;
    // It is being looked at, and never answers.
    let held = tokio::time::timeout(DEADLINE, silent.accept()).await.unwrap().unwrap();
    both.front.call("DELETE", &format!("{SERVICES}/up"), &json!({})).await;
    both.front.available("False").await;
    assert_eq!(both.front.condition("v1.hangs.example.com").await, "");
    drop(held);
}

#[tokio::test]
async fn an_extension_without_openapi_v3_is_described_by_its_v2() {
    let both = Both::start(|builder| {
        let builder = builder.route("/apis/up.example.com/v1", Arc::new(Discovery));
        builder.route("/openapi/v2", Arc::new(Swagger))
    })
    .await;
    let delegated = both.front.api.registry().delegated();
    let own = &delegated[&GroupVersion::new("up.example.com", "v1")];
    let Described::Swagger(whole) = &own.openapi else { panic!("{:?}", own.openapi) };
    let whole: Value = serde_json::from_slice(whole).unwrap();
    assert_eq!(whole["info"]["title"], "Up");
    // Of OpenAPI v2 itself, only what concerns the group version is joined to the server's own.
    let paths: Vec<_> = own.swagger["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/apis/up.example.com/v1/"]);
}
