//! Bindings that fail by chance: no pod is forgotten, no node takes more than it has, and no pod is where it must not be.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use kubeplane::{
    ControlPlane,
    clock::Seed,
    scheduler::{
        Bind, BindVerdict, CycleState, DefaultBinder, PodInfo, Profile, Scheduler, SchedulerPlugin,
    },
    testing::TestCluster,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(120);
const NODES: usize = 6;
/// Each node takes ten of them.
const PODS: usize = 55;
/// The first so many want none of each other.
const LONE: usize = 5;
const HOST: &str = "kubernetes.io/hostname";

/// Binds, but fails before or after it did in a third of the cases.
#[derive(Debug)]
struct Flaky {
    inner: DefaultBinder,
    seed: Seed,
}

impl SchedulerPlugin for Flaky {
    fn name(&self) -> &'static str {
        "Flaky"
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

#[async_trait]
impl Bind for Flaky {
    async fn bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> BindVerdict {
        match self.seed.below(6) {
            0 => BindVerdict::Error("the line broke".into()),
            1 => {
                let _ = self.inner.bind(state, pod, node).await;
                BindVerdict::Error("the answer was lost".into())
            }
            _ => self.inner.bind(state, pod, node).await,
        }
    }
}

fn node(index: usize) -> Node {
    let resources = json!({"cpu": "1", "memory": "1Gi", "pods": "20"});
    serde_json::from_value(json!({
        "metadata": {"name": format!("n{index}"), "labels": {HOST: format!("n{index}")}},
        "status": {"allocatable": resources, "capacity": resources},
    }))
    .unwrap()
}

fn pod(index: usize) -> Pod {
    let lone = json!({"lone": "yes"});
    let term = json!([{"topologyKey": HOST, "labelSelector": {"matchLabels": lone}}]);
    let apart =
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
    let (labels, affinity) = if index < LONE { (lone, apart) } else { (json!({}), json!({})) };
    serde_json::from_value(json!({
        "metadata": {"name": format!("p{index}"), "labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "affinity": affinity,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]},
    }))
    .unwrap()
}

/// How many pods each node has; none more than it can take.
async fn counts(pods: &Api<Pod>) -> BTreeMap<String, usize> {
    let (mut counts, mut lone) = (BTreeMap::new(), BTreeSet::new());
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        let alone = !node.is_empty() && pod.metadata.labels.is_some_and(|own| !own.is_empty());
        assert!(!alone || lone.insert(node.clone()), "two on {node} that want none of each other");
        *counts.entry(node).or_insert(0) += 1;
    }
    for (node, count) in &counts {
        assert!(node.is_empty() || *count <= 10, "{node} has {count} pods");
    }
    counts
}

/// Until all pods have a node.
async fn all_placed(pods: &Api<Pod>) {
    let all = async {
        while counts(pods).await.contains_key("") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, all).await;
    assert!(waited.is_ok(), "pods forgotten: {:?}", counts(pods).await);
}

async fn play(client: Client, seed: Seed) {
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client);
    for index in 0..NODES {
        nodes.create(&PostParams::default(), &node(index)).await.unwrap();
    }
    for index in 0..PODS {
        pods.create(&PostParams::default(), &pod(index)).await.unwrap();
    }
    all_placed(&pods).await;
    // Some leave while others come.
    for round in 0..20 {
        let leaves = format!("p{}", seed.below(PODS as u64));
        let _ = pods.delete(&leaves, &DeleteParams::default()).await;
        pods.create(&PostParams::default(), &pod(PODS + round)).await.unwrap();
        counts(&pods).await;
    }
    while pods.list(&ListParams::default()).await.unwrap().items.len() > NODES * 10 {
        let list = pods.list(&ListParams::default()).await.unwrap();
        let name = list.items[0].metadata.name.clone().unwrap();
        pods.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    all_placed(&pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_bindings_neither_lose_pods_nor_crowd_nodes() {
    let cluster = TestCluster::builder().controllers().start().await.unwrap();
    let seed = Seed::new(20_261_121);
    let binder = Flaky { inner: DefaultBinder::new(cluster.client()), seed: seed.clone() };
    let scheduler = Scheduler::builder(cluster.client())
        .profile(Profile::default().add(binder, 1))
        .backoff(Duration::from_millis(100), Duration::from_millis(400))
        .build()
        .unwrap();
    let client = cluster.client();
    ControlPlane::new().with(scheduler).run_until(play(client, seed)).await.unwrap();
    cluster.stop().await.unwrap();
}
