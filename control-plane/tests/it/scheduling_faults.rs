//! Bindings that fail, by chance and otherwise: no pod is forgotten, no node takes more than it has, no pod is where it
//! must not be, and room that was held for nothing goes to others.

use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{Event, Node, Pod},
    scheduling::v1::PriorityClass,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use kubeplane::{
    ControlPlane,
    clock::Seed,
    scheduler::{
        Bind, BindVerdict, CycleState, DefaultBinder, Permit, PermitVerdict, PodInfo, Profile,
        Scheduler, SchedulerPlugin,
    },
    testing::TestCluster,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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

/// Minds pods by their names: `refused` may not be bound, `patient` waits for long, `failing` fails once it is let,
/// `unwelcome` is not bound before that, and of `echoless` it does not know that it was bound.
#[derive(Debug)]
struct Moody {
    binder: DefaultBinder,
    fails: Arc<AtomicBool>,
}

impl SchedulerPlugin for Moody {
    fn name(&self) -> &'static str {
        "Moody"
    }

    fn as_permit(&self) -> Option<&dyn Permit> {
        Some(self)
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

impl Permit for Moody {
    fn permit(&self, _: &mut CycleState, pod: &PodInfo, _: &str) -> PermitVerdict {
        match pod.name() {
            "refused" => PermitVerdict::Reject("not today".into()),
            "patient" => PermitVerdict::Wait(Duration::from_secs(3600)),
            _ => PermitVerdict::Allow,
        }
    }
}

#[async_trait]
impl Bind for Moody {
    async fn bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> BindVerdict {
        if pod.name() == "unwelcome" && !self.fails.load(Ordering::Relaxed) {
            return BindVerdict::Unschedulable("not by me".into());
        }
        if pod.name() != "failing" {
            let bound = self.binder.bind(state, pod, node).await;
            let lost = || BindVerdict::Error("the answer was lost".into());
            return if pod.name() == "echoless" { lost() } else { bound };
        }
        while !self.fails.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        BindVerdict::Error("no luck".into())
    }
}

/// A pod of which a node takes no second.
fn large(name: &str, class: Option<&str>) -> Pod {
    let requests = json!({"cpu": "800m"});
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}],
            "priorityClassName": class,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]},
    }))
    .unwrap()
}

/// Why a pod has no node, once it says so: reason and message.
async fn told(pods: &Api<Pod>, name: &str) -> (String, String) {
    let told = async {
        loop {
            let status = pods.get(name).await.unwrap().status.unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            if let Some(own) =
                conditions.find(|own| own.type_ == "PodScheduled" && own.status == "False")
            {
                break (own.reason.unwrap_or_default(), own.message.unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the pod says why it has no node")
}

async fn has_node(pods: &Api<Pod>, name: &str) {
    let placed = async {
        while pods.get(name).await.unwrap().spec.unwrap().node_name.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, placed).await;
    assert!(waited.is_ok(), "{name} has no node: {:#?}", pods.get(name).await.unwrap().status);
}

/// Plays with one node, and a scheduler that minds pods.
async fn with_moody(play: impl AsyncFnOnce(&TestCluster, Api<Pod>, Arc<AtomicBool>)) {
    let cluster = TestCluster::builder().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let moody = Moody { binder: DefaultBinder::new(cluster.client()), fails: fails.clone() };
    let scheduler = Scheduler::builder(cluster.client())
        .profile(Profile::default().add(moody, 1))
        .backoff(Duration::from_millis(100), Duration::from_millis(400))
        .build()
        .unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes.create(&PostParams::default(), &node(0)).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    ControlPlane::new().with(scheduler).run_until(play(&cluster, pods, fails)).await.unwrap();
    cluster.stop().await.unwrap();
}

const FULL: &str = "0/1 nodes are available: 1 Insufficient cpu.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_goes_to_others_at_once_when_a_binding_fails() {
    with_moody(async |_, pods, fails| {
        pods.create(&PostParams::default(), &large("failing", None)).await.unwrap();
        pods.create(&PostParams::default(), &large("second", None)).await.unwrap();
        let (reason, message) = told(&pods, "second").await;
        assert_eq!(reason, "Unschedulable");
        assert!(message.starts_with(FULL), "{message}");
        fails.store(true, Ordering::Relaxed);
        has_node(&pods, "second").await;
        assert!(pods.get("failing").await.unwrap().spec.unwrap().node_name.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_goes_to_others_at_once_when_a_waiting_pod_is_deleted() {
    with_moody(async |_, pods, _| {
        pods.create(&PostParams::default(), &large("patient", None)).await.unwrap();
        pods.create(&PostParams::default(), &large("second", None)).await.unwrap();
        assert!(told(&pods, "second").await.1.starts_with(FULL));
        pods.delete("patient", &DeleteParams::default()).await.unwrap();
        has_node(&pods, "second").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_permit_refuses_is_unschedulable_and_no_error() {
    with_moody(async |_, pods, _| {
        pods.create(&PostParams::default(), &large("refused", None)).await.unwrap();
        let expected = ("Unschedulable", "0/1 nodes are available: 1 not today.");
        let (reason, message) = told(&pods, "refused").await;
        assert_eq!((reason.as_str(), message.as_str()), expected);
        pods.create(&PostParams::default(), &large("second", None)).await.unwrap();
        has_node(&pods, "second").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_bind_refuses_is_told_in_its_words_and_tried_again_without_an_event() {
    with_moody(async |_, pods, fails| {
        pods.create(&PostParams::default(), &large("unwelcome", None)).await.unwrap();
        let (reason, message) = told(&pods, "unwelcome").await;
        assert_eq!((reason.as_str(), message.as_str()), ("Unschedulable", "not by me"));
        fails.store(true, Ordering::Relaxed);
        has_node(&pods, "unwelcome").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_binding_was_written_counts_as_bound_though_the_answer_was_lost() {
    with_moody(async |cluster, pods, _| {
        pods.create(&PostParams::default(), &large("echoless", None)).await.unwrap();
        pods.create(&PostParams::default(), &large("second", None)).await.unwrap();
        has_node(&pods, "echoless").await;
        assert!(told(&pods, "second").await.1.starts_with(FULL), "there is no room for two");
        let events: Api<Event> = Api::default_namespaced(cluster.client());
        let of_pod = ListParams::default().fields("involvedObject.name=echoless");
        let said = async {
            loop {
                let all = events.list(&of_pod).await.unwrap().items;
                assert!(
                    all.iter().all(|own| own.reason.as_deref() == Some("Scheduled")),
                    "{all:?}"
                );
                if !all.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, said).await.expect("the pod is said to be scheduled");
        let status = pods.get("echoless").await.unwrap().status.unwrap_or_default();
        let mut conditions = status.conditions.into_iter().flatten();
        assert!(conditions.all(|own| own.type_ != "PodScheduled" || own.status == "True"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_pod_gives_its_place_to_a_more_important_one_without_being_deleted() {
    with_moody(async |cluster, pods, _| {
        let classes: Api<PriorityClass> = Api::all(cluster.client());
        for (name, value) in [("low", 1), ("high", 10)] {
            let class = json!({"metadata": {"name": name}, "value": value});
            let class = serde_json::from_value(class).unwrap();
            classes.create(&PostParams::default(), &class).await.unwrap();
        }
        let patient = large("patient", Some("low"));
        let patient = pods.create(&PostParams::default(), &patient).await.unwrap();
        // That it waits is seen by another that has no room for it.
        pods.create(&PostParams::default(), &large("second", Some("low"))).await.unwrap();
        assert!(told(&pods, "second").await.1.starts_with(FULL));
        pods.delete("second", &DeleteParams::default()).await.unwrap();
        pods.create(&PostParams::default(), &large("third", Some("high"))).await.unwrap();
        has_node(&pods, "third").await;
        let now = pods.get("patient").await.unwrap();
        assert_eq!(now.metadata.uid, patient.metadata.uid, "it was not deleted");
        assert_eq!(now.metadata.deletion_timestamp, None);
        assert_eq!(now.spec.unwrap().node_name, None);
    })
    .await;
}
