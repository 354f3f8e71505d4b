//! A score of your own in a scheduler profile: pods of one app go where others of it are already.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams, runtime::wait::await_condition};
use kubeplane::{
    prelude::*,
    scheduler::{CycleState, MAX_SCORE, NodeInfo, PodInfo, Score},
    testing::TestCluster,
};
use serde_json::json;
use std::collections::BTreeMap;

/// Scores nodes by whether a pod with the same `app` is there.
#[derive(Debug)]
struct Together;

impl SchedulerPlugin for Together {
    fn name(&self) -> &'static str {
        "Together"
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Score for Together {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let app = app(pod.pod());
        if node.pods().iter().any(|other| self::app(other.pod()) == app) { MAX_SCORE } else { 0 }
    }
}

fn app(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get("app").map(String::as_str)
}

/// Runs a scheduler with the plugin as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    // The nodes are simulated; the controllers tell the scheduler that they are ready.
    let cluster = TestCluster::builder().controllers().nodes(3).start().await?;
    let scheduler = Scheduler::builder(cluster.client())
        .profile(Profile::default().add(Together, 10))
        .build()?;
    let (client, mut shown) = (cluster.client(), Ok(Vec::new()));
    ControlPlane::new().with(scheduler).run_until(async { shown = show(client).await }).await?;
    cluster.stop().await?;
    shown
}

async fn show(client: Client) -> anyhow::Result<Vec<String>> {
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut lines = Vec::new();
    for app in ["red", "blue"] {
        let names: Vec<_> = (1..=6).map(|number| format!("{app}-{number}")).collect();
        for name in &names {
            pods.create(&PostParams::default(), &pod(name, app)?).await?;
        }
        let mut counts = BTreeMap::new();
        for name in &names {
            let is_placed = |pod: Option<&Pod>| pod.and_then(node).is_some();
            let placed = await_condition(pods.clone(), name, is_placed).await?;
            let node = placed.as_ref().and_then(node).unwrap_or_default();
            *counts.entry(node.to_owned()).or_insert(0) += 1;
        }
        let counts = counts.iter().map(|(node, count)| format!("{count} on {node}"));
        lines.push(format!("{app}: {}", counts.collect::<Vec<_>>().join(", ")));
    }
    Ok(lines)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn pod(name: &str, app: &str) -> serde_json::Result<Pod> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "example"}]},
    }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
