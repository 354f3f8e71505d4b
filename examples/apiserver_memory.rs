//! An API server on memory, in the process of its clients: no port, no file, no certificate.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use kubeplane::{builtin, prelude::*};
use serde_json::json;
use std::sync::Arc;

/// Runs a server as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let server = ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(builtin::all())
        // Who is in the group system:masters may do everything; nobody else anything.
        .authorize(Masters)
        .build()?;
    let client = server.client();
    let mut shown = Ok(Vec::new());
    ControlPlane::new().with(server).run_until(async { shown = show(client).await }).await?;
    shown
}

async fn show(client: Client) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let greeting = json!({"metadata": {"name": "greeting"}, "data": {"text": "hello"}});
    let created = maps.create(&PostParams::default(), &serde_json::from_value(greeting)?).await?;
    lines.push(format!("created {}", text(&created)));

    let list = maps.list(&ListParams::default()).await?;
    lines.extend(list.iter().map(|map| format!("listed {}", text(map))));

    // A list says its version; a watch from there misses nothing that comes after it.
    let version = list.metadata.resource_version.context("a list has a version")?;
    let mut events = maps.watch(&WatchParams::default(), &version).await?.boxed();
    let change = Patch::Merge(json!({"data": {"text": "goodbye"}}));
    maps.patch("greeting", &PatchParams::default(), &change).await?;
    maps.delete("greeting", &DeleteParams::default()).await?;
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Modified(map) => lines.push(format!("saw the change to {}", text(&map))),
            WatchEvent::Deleted(map) => {
                lines.push(format!("saw the end of {}", text(&map)));
                break;
            }
            _ => {}
        }
    }
    Ok(lines)
}

fn text(map: &ConfigMap) -> String {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let text = map.data.as_ref().and_then(|data| data.get("text"));
    format!("{name}: {}", text.map_or("nothing", String::as_str))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
