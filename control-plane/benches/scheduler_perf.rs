//! The original's scheduler_perf rows (test/integration/scheduler_perf) through the real API in one process: nodes and pods
//! are created, the scheduler binds, and what counts is how many pods a second get their node.
//! `cargo bench -p kubeplane --bench scheduler_perf [-- NODES PODS]` (500 and 1,000); `ROW=Basic` runs one.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "prints its findings"
)]

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    scheduling::v1::PriorityClass,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use kubeplane::{ControlPlane, clock::Seed, scheduler::Scheduler, testing::TestCluster};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How many requests of the load are on their way at once.
const AT_ONCE: usize = 32;

struct Row {
    name: &'static str,
    /// What pods that are there before have, and how many for each node.
    before: (Value, usize),
    /// What measured pods have.
    spec: Value,
}

fn node(index: usize) -> Node {
    let resources = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    let name = format!("node-{index}");
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": format!("zone-{}", index % 3)}},
        "status": {"allocatable": resources, "capacity": resources,
            "conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .unwrap()
}

fn pod(name: &str, spec: &Value) -> Pod {
    let mut spec = spec.clone();
    let mut requests = json!({"cpu": "100m", "memory": "500Mi"});
    if let Some(own) = spec.as_object_mut().and_then(|own| own.remove("requests")) {
        requests = own;
    }
    spec["containers"] = json!([{"name": "pause", "image": "registry.k8s.io/pause:3.10.1",
        "resources": {"requests": requests}}]);
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    spec["terminationGracePeriodSeconds"] = json!(0);
    let value = json!({"metadata": {"name": name, "labels": {"app": "perf"}}, "spec": spec});
    serde_json::from_value(value).unwrap()
}

async fn create(pods: &Api<Pod>, prefix: &str, count: usize, spec: &Value) {
    let one = |index: usize| {
        let pod = pod(&format!("{prefix}-{index}"), spec);
        async move { pods.create(&PostParams::default(), &pod).await.unwrap() }
    };
    stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).for_each(async |_| {}).await;
}

/// Waits until so many pods have a node.
async fn placed(pods: &Api<Pod>, count: usize) {
    loop {
        let list =
            pods.list_metadata(&ListParams::default().fields("spec.nodeName=")).await.unwrap();
        let all = pods.list_metadata(&ListParams::default()).await.unwrap();
        if all.items.len() - list.items.len() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn measure(client: Client, row: &Row, nodes: usize, count: usize) -> f64 {
    let all: Api<Node> = Api::all(client.clone());
    let make = |index: usize| {
        let (all, node) = (all.clone(), node(index));
        async move { all.create(&PostParams::default(), &node).await.unwrap() }
    };
    stream::iter(0..nodes).map(make).buffer_unordered(AT_ONCE).for_each(async |_| {}).await;
    let classes: Api<PriorityClass> = Api::all(client.clone());
    for (name, value) in [("low", 1), ("high", 1000)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        let class = serde_json::from_value(class).unwrap();
        classes.create(&PostParams::default(), &class).await.unwrap();
    }
    let pods: Api<Pod> = Api::default_namespaced(client);
    let before = nodes * row.before.1;
    create(&pods, "init", before, &row.before.0).await;
    placed(&pods, before).await;
    let began = Instant::now();
    create(&pods, "measured", count, &row.spec).await;
    let made = began.elapsed();
    if row.name == "Preemption" {
        // Each takes the places of others.
        placed_named(&pods, count).await;
    } else {
        placed(&pods, before + count).await;
    }
    let took = began.elapsed();
    println!("{:<24} created in {made:.2?}, placed in {took:.2?}", row.name);
    count as f64 / took.as_secs_f64()
}

/// Waits until all measured pods have a node.
async fn placed_named(pods: &Api<Pod>, count: usize) {
    loop {
        let list = pods.list(&ListParams::default()).await.unwrap();
        let own = list.items.iter().filter(|pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            name.starts_with("measured") && node.is_some()
        });
        if own.count() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rows() -> Vec<Row> {
    let selector = json!({"matchLabels": {"app": "perf"}});
    let term = |key: &str| json!({"labelSelector": selector, "topologyKey": key});
    let (host, zone) = ("kubernetes.io/hostname", "topology.kubernetes.io/zone");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let weighted = |key: &str| json!([{"weight": 1, "podAffinityTerm": term(key)}]);
    let spread = |action: &str| {
        json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": zone,
            "whenUnsatisfiable": action, "labelSelector": selector}]})
    };
    let row = |name, spec: Value| Row { name, before: (json!({}), 1), spec };
    let zones = json!([{"matchExpressions": [{"key": zone, "operator": "In", "values": ["zone-1", "zone-2"]}]}]);
    vec![
        row("Basic", json!({})),
        row(
            "NodeAffinity",
            json!({"affinity": {"nodeAffinity": {required: {"nodeSelectorTerms": zones}}}}),
        ),
        row("PodAffinity", json!({"affinity": {"podAffinity": {required: [term(zone)]}}})),
        Row {
            name: "PodAntiAffinity",
            before: (json!({}), 0),
            spec: json!({"affinity": {"podAntiAffinity": {required: [term(host)]}}}),
        },
        row(
            "PreferredPodAffinity",
            json!({"affinity": {"podAffinity": {preferred: weighted(host)}}}),
        ),
        row(
            "PreferredPodAntiAffinity",
            json!({"affinity": {"podAntiAffinity": {preferred: weighted(host)}}}),
        ),
        row("TopologySpreading", spread("DoNotSchedule")),
        row("PreferredTopologySpreading", spread("ScheduleAnyway")),
        Row {
            name: "Preemption",
            before: (json!({"priorityClassName": "low", "requests": {"cpu": "900m"}}), 4),
            spec: json!({"priorityClassName": "high", "requests": {"cpu": "3"}}),
        },
    ]
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|own| own.parse().ok()).collect();
    let measured = std::env::args().any(|own| own == "--bench");
    let (nodes, pods) = match numbers[..] {
        [nodes, pods, ..] => (nodes, pods),
        _ if measured => (500, 1000),
        // `cargo test --benches` only wants to know that it runs.
        _ => (5, 5),
    };
    let only = std::env::var("ROW").unwrap_or_default();
    for row in rows().iter().filter(|row| only.is_empty() || only == row.name) {
        let cluster = TestCluster::builder().controllers().start().await.unwrap();
        let client = cluster.client();
        let scheduler = Scheduler::builder(cluster.client()).seed(Seed::new(1)).build().unwrap();
        let pods = match row.name {
            "PodAntiAffinity" | "Preemption" => pods.min(nodes),
            _ => pods,
        };
        let mut rate = 0.0;
        ControlPlane::new()
            .with(scheduler)
            .run_until(async { rate = measure(client, row, nodes, pods).await })
            .await
            .unwrap();
        println!("{:<24} {nodes:>6} nodes {pods:>6} pods {rate:>8.0} pods/s", row.name);
        cluster.stop().await.unwrap();
    }
}
