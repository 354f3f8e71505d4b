//! An extender of the scheduler: a webhook that says which nodes are left and which it likes best.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use axum::{Json, Router, routing::post};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams, runtime::wait::await_condition};
use kubeplane::{
    prelude::*,
    scheduler::{Extender, config::Configuration},
    testing::TestCluster,
};
use serde_json::{Value, json};

/// Refuses the first node: it is being repaired.
async fn filter(Json(question): Json<Value>) -> Json<Value> {
    let names = question["NodeNames"].as_array().cloned().unwrap_or_default();
    let left: Vec<_> = names.into_iter().filter(|name| name != "node-1").collect();
    Json(json!({"NodeNames": left, "FailedNodes": {"node-1": "node(s) were being repaired"}}))
}

/// Likes the third node best, from 0 to 10.
async fn prioritize(Json(question): Json<Value>) -> Json<Value> {
    let names = question["NodeNames"].as_array().cloned().unwrap_or_default();
    let score = |name: &Value| if name == "node-3" { 10 } else { 0 };
    let scores = names.iter().map(|name| json!({"Host": name, "Score": score(name)}));
    Json(scores.collect())
}

/// A scheduler's configuration, as a file would have it.
fn configuration(address: std::net::SocketAddr) -> String {
    format!(
        "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
extenders:
- urlPrefix: http://{address}
  filterVerb: filter
  prioritizeVerb: prioritize
  weight: 5
  nodeCacheCapable: true
  httpTimeout: 2s
"
    )
}

/// Runs a scheduler with the extender as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let configuration = Configuration::parse(configuration(listener.local_addr()?).as_bytes())?;
    let routes =
        Router::new().route("/filter", post(filter)).route("/prioritize", post(prioritize));
    let served = tokio::spawn(async move { axum::serve(listener, routes).await });
    let cluster = TestCluster::builder().controllers().nodes(3).start().await?;
    let mut scheduler = Scheduler::builder(cluster.client());
    for own in &configuration.extenders {
        let extender = Extender::new(own.clone(), kubeplane::clock::real()).await;
        scheduler = scheduler.extender(extender.map_err(anyhow::Error::msg)?);
    }
    let (client, mut shown) = (cluster.client(), Ok(Vec::new()));
    ControlPlane::new()
        .with(scheduler.build()?)
        .run_until(async { shown = show(client).await })
        .await?;
    cluster.stop().await?;
    served.abort();
    shown
}

async fn show(client: Client) -> anyhow::Result<Vec<String>> {
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut lines = Vec::new();
    for name in ["first", "second"] {
        let pod = json!({"metadata": {"name": name},
            "spec": {"containers": [{"name": "main", "image": "example"}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let is_placed = |pod: Option<&Pod>| pod.and_then(node).is_some();
        let placed = await_condition(pods.clone(), name, is_placed).await?;
        lines.push(format!("{name}: {}", placed.as_ref().and_then(node).unwrap_or_default()));
    }
    Ok(lines)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
