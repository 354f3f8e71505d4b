//! An extension API server: a kind of its own, served behind the API server of a cluster.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_trait::async_trait;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kube::Client;
use kubeplane::{
    aggregation::{DelegatedAuthorizer, ExtensionAccess},
    apiserver::{Body, Handler, HandlerRequest},
    core::{
        GroupResource, GroupVersionKind, Object,
        definition::{Column, Form, Subresource, Verb},
        status::ApiResult,
    },
    openapi::OpenApi,
    pki::{Authority, Request as Certificate, Usage},
    prelude::*,
};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc};

const GROUP: &str = "hello.example.com";

/// The hooks of the kind, and what serves its subresource.
#[derive(Debug)]
struct Greetings;

impl Strategy for Greetings {
    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), object.text(&["text"]).into()]
    }
}

#[async_trait]
impl Handler for Greetings {
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>> {
        let (resource, info) = (request.resource.group_resource(), &request.info);
        let greeting = request.api.get(&resource, &info.namespace, &info.name).await?;
        let shout = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Shout",
            "text": format!("{}!", greeting.text(&["text"]).to_uppercase())});
        request.respond(StatusCode::OK, &Object::from_value(shout).unwrap_or_default())
    }
}

fn definition() -> Definition {
    let kind = |kind: &'static str| GroupVersionKind::new(GROUP, "v1", kind);
    Definition {
        columns: vec![Column::name(), Column::new("Text", "string", "What is said")],
        subresources: vec![Subresource {
            name: "shout".into(),
            kind: kind("Shout"),
            verbs: vec![Verb::Get].into(),
            form: Form::Handler,
        }],
        ..Definition::new(kind("Greeting"), "greetings", Arc::new(Greetings))
    }
}

/// The extension on a loopback port, and the authority of its certificate; `client` is one of the server in front.
pub(crate) async fn extension(client: &Client, port: u16) -> anyhow::Result<(ApiServer, String)> {
    let clock = kubeplane::clock::real();
    let authority = Authority::generate("extensions", clock.now())?;
    let names = Certificate::new("hello", Usage::Server).names(["hello.default.svc"]);
    let own = authority.issue(&names, clock.now())?;
    let access = ExtensionAccess::load(client, clock.clone()).await?;
    let mut builder = ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(vec![Arc::new(definition())])
        .handler(GroupResource::new(GROUP, "greetings"), "shout", Arc::new(Greetings))
        .authenticate(access.request_header)
        .authenticate(access.certificates)
        .authorize(DelegatedAuthorizer::new(client.clone(), clock))
        .listen((Ipv4Addr::LOCALHOST, port).into(), TlsOptions::from_pem(own.certificate, own.key));
    for (path, route) in OpenApi::routes() {
        builder = builder.route(path, route);
    }
    Ok((builder.build()?, authority.certificate().to_owned()))
}

/// What leads from the server in front to the extension: a Service and an APIService.
pub(crate) fn registration(port: u16, authority: &str) -> [Value; 2] {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hello", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}});
    let api = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{GROUP}")},
        "spec": {"group": GROUP, "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 10,
            "caBundle": k8s_openapi::ByteString(authority.into()),
            "service": {"namespace": "default", "name": "hello", "port": port}}});
    [service, api]
}

/// Serves behind the cluster of `KUBECONFIG`, on this machine; what it prints is for `kubectl apply -f -`.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (server, authority) = extension(&Client::try_default().await?, 7443).await?;
    registration(7443, &authority).iter().for_each(|object| println!("---\n{object}"));
    Ok(ControlPlane::new().with(server).run_until(shutdown_signal()).await?)
}
