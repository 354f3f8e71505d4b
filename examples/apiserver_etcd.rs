//! API servers on etcd: two of them share one, and what is written through one is seen through the other at once.
//! `cargo run --example apiserver_etcd [URL]`; the URL is http://127.0.0.1:2379 unless you say otherwise.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};
use kubeplane::{
    builtin,
    prelude::*,
    store_etcd::{EtcdOptions, EtcdStore},
};
use serde_json::json;
use std::sync::Arc;

/// A server of its own on the etcd there.
async fn server(url: &str) -> anyhow::Result<ApiServer> {
    let store = EtcdStore::connect(EtcdOptions::new([url])).await?;
    let builder = ApiServer::builder(Arc::new(store)).resources(builtin::all()).authorize(Masters);
    // Below a prefix of its own it leaves alone what others keep in the same etcd.
    Ok(builder.storage_prefix("/kubeplane-example").build()?)
}

/// Runs two servers as long as `show` takes; returns the lines shown.
pub(crate) async fn run(url: &str) -> anyhow::Result<Vec<String>> {
    let (one, two) = (server(url).await?, server(url).await?);
    let clients = (one.client(), two.client());
    let mut shown = Ok(Vec::new());
    let plane = ControlPlane::new().with(one).with(two);
    plane.run_until(async { shown = show(clients.0, clients.1).await }).await?;
    shown
}

async fn show(one: Client, two: Client) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let here: Api<ConfigMap> = Api::namespaced(one, "default");
    let there: Api<ConfigMap> = Api::namespaced(two, "default");
    let before = there.list(&ListParams::default()).await?;
    let version = before.metadata.resource_version.unwrap_or_default();
    let mut events = there.watch(&WatchParams::default(), &version).await?.boxed();

    let map = serde_json::from_value(json!({"metadata": {"name": "shared"}}))?;
    let created = here.create(&PostParams::default(), &map).await?;
    let found = there.get("shared").await?;
    let same = created.metadata.resource_version == found.metadata.resource_version;
    lines.push(format!("created through one, read through two: the same version, {same}"));

    here.delete("shared", &DeleteParams::default()).await?;
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(_) => lines.push("two watched it appear".to_owned()),
            WatchEvent::Deleted(_) => {
                lines.push("and go".to_owned());
                break;
            }
            _ => {}
        }
    }
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());
    run(&url).await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
