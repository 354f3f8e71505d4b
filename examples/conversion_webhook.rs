//! A conversion webhook: the two versions of a kind say the same in different words, and this translates.
//!
//! `v1` has `spec.size`, as in `3x4`; `v2` has `spec.width` and `spec.height`. A server without kinds serves the webhook.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use kubeplane::{
    auth::OpenPaths, extensions::ConversionWebhook, pki, prelude::*, testing::TestCluster,
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

/// The webhook on a loopback port, and the authority of its certificate, PEM.
pub(crate) fn webhook() -> anyhow::Result<(ApiServer, String)> {
    let now = kubeplane::clock::real().now();
    let authority = pki::Authority::generate("webhooks", now)?;
    let names = pki::Request::new("webhook", pki::Usage::Server);
    let own = authority.issue(&names.addresses([Ipv4Addr::LOCALHOST.into()]), now)?;
    let server = ApiServer::builder(Arc::new(MemoryStore::new()))
        .authorize(OpenPaths::new(["/convert"])) // API servers show no credentials
        .route("/convert", Arc::new(ConversionWebhook::new(converted)))
        .listen((Ipv4Addr::LOCALHOST, 0).into(), TlsOptions::from_pem(own.certificate, own.key));
    Ok((server.build()?, authority.certificate().to_owned()))
}

/// The definition of the kind; `v1` is stored.
pub(crate) fn definition(port: u16, authority: &str) -> anyhow::Result<Value> {
    let mut crd: Value = serde_json::from_str(include_str!("manifests/sheets.json"))?;
    crd["spec"]["conversion"]["webhook"]["clientConfig"] = json!({
        "url": format!("https://127.0.0.1:{port}/convert"),
        "caBundle": k8s_openapi::ByteString(authority.into())});
    Ok(crd)
}

/// Makes a sheet in one version and reads it in the other; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let (webhook, authority) = webhook()?;
    let (mut bound, mut shown) = (webhook.bound(), Ok(Vec::new()));
    let showing = async {
        let cluster = TestCluster::start().await?;
        let address = bound.wait_for(Option::is_some).await?.ok_or(anyhow::anyhow!("not bound"))?;
        show(cluster.client(), definition(address.port(), &authority)?).await
    };
    ControlPlane::new().with(webhook).run_until(async { shown = showing.await }).await?;
    shown
}

async fn show(client: Client, crd: Value) -> anyhow::Result<Vec<String>> {
    let (crds, new) = (Api::<CustomResourceDefinition>::all(client.clone()), PostParams::default());
    crds.create(&new, &serde_json::from_value(crd)?).await?;
    await_condition(crds, "sheets.paper.example.com", is_crd_established()).await?;
    let sheets = |version: &str| -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("paper.example.com", version, "Sheet");
        Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&kind))
    };
    let mut lines = Vec::new();
    let (poster, card) = (json!({"size": "3x4"}), json!({"width": 5, "height": 2}));
    for (version, name, spec) in [("v1", "poster", poster), ("v2", "card", card)] {
        let sheet = json!({"apiVersion": format!("paper.example.com/{version}"), "kind": "Sheet",
            "metadata": {"name": name}, "spec": spec});
        let made = sheets(version).create(&new, &serde_json::from_value(sheet)?).await?;
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
