//! A conversion webhook: the two versions of a kind say the same in different words, and this translates.
//!
//! `v1` has `spec.size` as a text, as in `3x4`; `v2` has `spec.width` and `spec.height`. The webhook is a route of an API
//! server of ours that has no kinds, which spares it a web server.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_trait::async_trait;
use http::{Response, request::Parts};
use k8s_openapi::{
    ByteString, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use kubeplane::{
    apiserver::{Api as Inside, Body, Route, body},
    core::{
        auth::{Attributes, Decision},
        status::{ApiError, ApiResult},
    },
    pki::{Authority, Request as Certificate, Usage},
    prelude::*,
    testing::TestCluster,
};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc};

/// One object in the wanted version.
fn converted(mut object: Value, wanted: &str) -> Result<Value, String> {
    let spec = object["spec"].as_object_mut().ok_or("there is no spec")?;
    if wanted.ends_with("/v2") {
        let size = spec.remove("size").unwrap_or_default();
        let (width, height) = size.as_str().unwrap_or_default().split_once('x').ok_or("no size")?;
        for (name, side) in [("width", width), ("height", height)] {
            let side: u32 = side.parse().map_err(|_| format!("{side:?} is no {name}"))?;
            spec.insert(name.to_owned(), side.into());
        }
    } else {
        let mut side = |name: &str| spec.remove(name).and_then(|side| side.as_u64()).unwrap_or(0);
        let size = format!("{}x{}", side("width"), side("height"));
        spec.insert("size".to_owned(), size.into());
    }
    object["apiVersion"] = wanted.into();
    Ok(object)
}

/// Answers a `ConversionReview`.
#[derive(Debug)]
struct Convert;

#[async_trait]
impl Route for Convert {
    async fn serve(&self, _: &Inside, _: &Parts, sent: Body) -> ApiResult<Response<Body>> {
        let review = serde_json::from_slice(&body::read(sent).await?);
        let mut review: Value = review.map_err(|error| ApiError::bad_request(error.to_string()))?;
        let request = review["request"].take();
        let wanted = request["desiredAPIVersion"].as_str().unwrap_or_default();
        let objects = request["objects"].as_array().into_iter().flatten().cloned();
        let all: Result<Vec<_>, _> = objects.map(|object| converted(object, wanted)).collect();
        let (result, objects) = match all {
            Ok(objects) => (json!({"status": "Success"}), objects),
            Err(why) => (json!({"status": "Failure", "message": why}), Vec::new()),
        };
        review["response"] =
            json!({"uid": request["uid"], "result": result, "convertedObjects": objects});
        Ok(Response::new(body::full(review.to_string())))
    }
}

/// The API server is all who ask, and it shows no certificate.
#[async_trait]
impl Authorizer for Convert {
    async fn authorize(&self, request: &Attributes) -> Decision {
        match request.path == "/convert" {
            true => Decision::Allow(String::new()),
            false => Decision::NoOpinion(String::new()),
        }
    }
}

/// The webhook on a loopback port, and the authority of its certificate, PEM.
pub(crate) fn webhook() -> anyhow::Result<(ApiServer, String)> {
    let now = kubeplane::clock::real().now();
    let authority = Authority::generate("webhooks", now)?;
    let names = Certificate::new("webhook", Usage::Server).addresses([Ipv4Addr::LOCALHOST.into()]);
    let own = authority.issue(&names, now)?;
    let server = ApiServer::builder(Arc::new(MemoryStore::new()))
        .authorize(Convert)
        .route("/convert", Arc::new(Convert))
        .listen((Ipv4Addr::LOCALHOST, 0).into(), TlsOptions::from_pem(own.certificate, own.key));
    Ok((server.build()?, authority.certificate().to_owned()))
}

/// The definition of the kind; `v1` is stored.
pub(crate) fn definition(port: u16, authority: &str) -> Value {
    let side = json!({"type": "integer", "minimum": 1});
    let version = |name: &str, stored: bool, spec: Value, column: &str| {
        json!({"name": name, "served": true, "storage": stored,
            "additionalPrinterColumns": [{"name": "Size", "type": "string", "jsonPath": column}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": spec}}}}})
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sheets.paper.example.com"},
        "spec": {
            "group": "paper.example.com", "scope": "Namespaced",
            "names": {"plural": "sheets", "singular": "sheet", "kind": "Sheet", "listKind": "SheetList"},
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {
                "url": format!("https://127.0.0.1:{port}/convert"), "caBundle": ByteString(authority.into())}}},
            "versions": [
                version("v1", true, json!({"size": {"type": "string"}}), ".spec.size"),
                version("v2", false, json!({"width": side, "height": side}), ".spec.width"),
            ],
        },
    })
}

/// Makes a sheet in one version and reads it in the other; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let (webhook, authority) = webhook()?;
    let (mut bound, mut shown) = (webhook.bound(), Ok(Vec::new()));
    let showing = async {
        let cluster = TestCluster::start().await?;
        let address = bound.wait_for(Option::is_some).await?.expect("it is bound");
        let lines = show(cluster.client(), definition(address.port(), &authority)).await?;
        cluster.stop().await?;
        anyhow::Ok(lines)
    };
    ControlPlane::new().with(webhook).run_until(async { shown = showing.await }).await?;
    shown
}

async fn show(client: Client, crd: Value) -> anyhow::Result<Vec<String>> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &serde_json::from_value(crd)?).await?;
    await_condition(crds, "sheets.paper.example.com", is_crd_established()).await?;
    let sheets = |version: &str| -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("paper.example.com", version, "Sheet");
        Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&kind))
    };
    let mut lines = Vec::new();
    let sent = [
        ("v1", "poster", json!({"size": "3x4"})),
        ("v2", "card", json!({"width": 5, "height": 2})),
    ];
    for (version, name, spec) in sent {
        let sheet = json!({"apiVersion": format!("paper.example.com/{version}"), "kind": "Sheet",
            "metadata": {"name": name}, "spec": spec});
        let made =
            sheets(version).create(&PostParams::default(), &serde_json::from_value(sheet)?).await?;
        lines.push(format!("sent {name} in {version}: {}", made.data["spec"]));
        for version in ["v1", "v2"] {
            let read = sheets(version).get(name).await?;
            lines.push(format!("read {name} in {version}: {}", read.data["spec"]));
        }
    }
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
