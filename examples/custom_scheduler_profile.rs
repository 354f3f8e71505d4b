//! Two profiles in one scheduler, as a configuration file has them: pods that name the one are spread over the nodes,
//! those that name the other go where most is taken already.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, api::PostParams, runtime::wait::await_condition};
use kubeplane::{
    prelude::*,
    scheduler::config::{Configuration, Registry},
    testing::TestCluster,
};
use serde_json::json;
use std::collections::BTreeMap;

/// What `kubeplane scheduler --config` reads.
const CONFIGURATION: &str = "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  plugins:
    score:
      disabled: [{name: '*'}]
      enabled: [{name: NodeResourcesFit}]
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
";

/// Runs a scheduler with both as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let cluster = TestCluster::builder().controllers().simulated_nodes(3).start().await?;
    let configuration = Configuration::parse(CONFIGURATION.as_bytes())?;
    let profiles = configuration.profiles(&Registry::new(cluster.client()))?;
    let scheduler = Scheduler::builder(cluster.client()).profiles(profiles).build()?;
    let (client, mut shown) = (cluster.client(), Ok(Vec::new()));
    ControlPlane::new().with(scheduler).run_until(async { shown = show(client).await }).await?;
    cluster.stop().await?;
    shown
}

async fn show(client: Client) -> anyhow::Result<Vec<String>> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 1..=3 {
        await_condition(nodes.clone(), &format!("simulated-{number}"), is_open).await?;
    }
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut lines = Vec::new();
    for profile in ["default-scheduler", "packing"] {
        let mut counts = BTreeMap::new();
        for number in 1..=6 {
            let name = format!("{profile}-{number}");
            pods.create(&PostParams::default(), &pod(&name, profile)?).await?;
            let is_placed = |pod: Option<&Pod>| pod.and_then(node).is_some();
            let placed = await_condition(pods.clone(), &name, is_placed).await?;
            let node = placed.as_ref().and_then(node).unwrap_or_default();
            *counts.entry(node.to_owned()).or_insert(0) += 1;
        }
        let counts = counts.iter().map(|(node, count)| format!("{count} on {node}"));
        lines.push(format!("{profile}: {}", counts.collect::<Vec<_>>().join(", ")));
    }
    Ok(lines)
}

/// Whether a node takes any pod.
fn is_open(node: Option<&Node>) -> bool {
    let spec = node.and_then(|node| node.spec.as_ref());
    node.is_some() && spec.and_then(|spec| spec.taints.as_ref()).is_none_or(Vec::is_empty)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn pod(name: &str, profile: &str) -> serde_json::Result<Pod> {
    let requests = json!({"cpu": "2", "memory": "16Gi"});
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"schedulerName": profile, "containers": [
            {"name": "main", "image": "example", "resources": {"requests": requests}},
        ]},
    }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
