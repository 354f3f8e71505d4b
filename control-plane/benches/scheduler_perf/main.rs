//! The original's scheduler_perf rows (test/integration/scheduler_perf) through the real API in one process: nodes and pods
//! are created, the scheduler binds, and what counts is how many pods a second get their node, from the first request
//! that makes one to the last binding.
//! `cargo bench -p kubeplane --bench scheduler_perf`; `ROW=Preemption` runs those whose name has it, `SCALE=10` with a
//! tenth of all nodes and pods.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "prints its findings"
)]

mod objects;
mod rows;

use futures::{StreamExt, stream};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service},
        scheduling::v1::PriorityClass,
        storage::v1::CSINode,
    },
    serde::{Serialize, de::DeserializeOwned},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, PostParams},
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use kubeplane::{ControlPlane, clock::Seed, scheduler::Scheduler, testing::TestCluster};
use objects::Template;
use rows::{Nodes, Pods, Row, Step, rows};
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How many requests of the load are on their way at once.
const AT_ONCE: usize = 64;

/// One run of a row.
struct Run {
    client: Client,
    scale: usize,
    /// What goes on beside the measured pods.
    beside: JoinSet<()>,
    nodes: usize,
    pods: usize,
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

async fn create<K>(api: &Api<K>, value: Value)
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    api.create(&PostParams::default(), &of(value)).await.unwrap();
}

async fn many(count: usize, one: impl AsyncFn(usize)) {
    let one = &one;
    let all = stream::iter(0..count).map(|index| one(index));
    all.buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
}

fn pod(name: &str, template: &Template) -> Value {
    json!({"metadata": {"name": name, "labels": template.labels, "finalizers": template.finalizers},
        "spec": template.spec})
}

impl Run {
    fn scaled(&self, count: usize) -> usize {
        count.div_ceil(self.scale)
    }

    fn all<K: Resource<Scope = ClusterResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn within<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(
        &self,
        namespace: &str,
    ) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn nodes(&mut self, own: &Nodes) {
        let count = if own.only.is_some() { 1 } else { self.scaled(own.count) };
        let (first, all) = (self.nodes, self.all::<Node>());
        let csi = self.all::<CSINode>();
        many(count, async |index| {
            let number = first + index;
            let name = own.only.map_or_else(|| format!("node-{number}"), str::to_owned);
            let zone = own.zones.get(number % own.zones.len().max(1)).copied();
            create(&all, objects::node(&name, zone, &own.more)).await;
            if let Some(most) = own.more["csi"].as_i64() {
                let driver = json!({"name": "ebs.csi.aws.com", "nodeID": name,
                    "allocatable": {"count": most}});
                let migrated = json!({"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs"});
                create(&csi, json!({"metadata": {"name": name, "annotations": migrated},
                    "spec": {"drivers": [driver]}}))
                .await;
            }
        })
        .await;
        self.nodes += count;
    }

    async fn namespaces(&self, prefix: &str, count: usize) {
        let all = self.all::<Namespace>();
        many(count, async |index| {
            let name = format!("{prefix}-{index}");
            let labels = if prefix == "deleted" { json!({}) } else { json!({"team": "devops"}) };
            create(&all, json!({"metadata": {"name": name, "labels": labels}})).await;
        })
        .await;
    }

    /// Creates pods and waits until they have their nodes; says how long that took.
    async fn pods(&mut self, own: &Pods) -> (Duration, Duration) {
        let (count, first) = (self.scaled(own.count), self.pods);
        self.pods += count;
        let pods = self.within::<Pod>(&own.namespace);
        let volumes = self.all::<PersistentVolume>();
        let claims = self.within::<PersistentVolumeClaim>(&own.namespace);
        let name = |index: usize| format!("pod-{}", first + index);
        if let Some(source) = &own.volume {
            many(count, async |index| {
                let (volume, claim) = objects::volume(&own.namespace, &name(index), source);
                create(&volumes, volume).await;
                create(&claims, claim).await;
            })
            .await;
        }
        let began = Instant::now();
        many(count, async |index| {
            let mut pod = pod(&name(index), &own.template);
            if own.volume.is_some() {
                let claim = json!({"claimName": name(index)});
                pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": claim}]);
            }
            create(&pods, pod).await;
        })
        .await;
        let made = began.elapsed();
        if own.waits {
            placed(&pods).await;
        }
        (made, began.elapsed())
    }

    fn churn(&mut self, template: &Template, every: Duration, again: bool) {
        let (pods, template) = (self.within::<Pod>("sched-0"), template.clone());
        self.beside.spawn(async move {
            for number in 0.. {
                let name = format!("churn-{number}");
                create(&pods, pod(&name, &template)).await;
                tokio::time::sleep(every).await;
                if again {
                    pods.delete(&name, &DeleteParams::default()).await.unwrap();
                }
            }
        });
    }

    async fn delete(&mut self, namespace: &str, per_second: u64) {
        let pods = self.within::<Pod>(namespace);
        let all = pods.list_metadata(&ListParams::default()).await.unwrap();
        let pause = Duration::from_secs(1) / u32::try_from(per_second).unwrap();
        self.beside.spawn(async move {
            for own in all.items {
                let name = own.metadata.name.unwrap_or_default();
                pods.delete(&name, &DeleteParams::default()).await.unwrap();
                tokio::time::sleep(pause).await;
            }
        });
    }
}

/// Waits until no pod is without a node.
async fn placed(pods: &Api<Pod>) {
    let waiting = ListParams::default().fields("spec.nodeName=").limit(1);
    while !pods.list_metadata(&waiting).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many pods a second got their node.
async fn run(client: Client, row: &Row, scale: usize) -> f64 {
    let mut own = Run { client, scale, beside: JoinSet::new(), nodes: 0, pods: 0 };
    let classes = own.all::<PriorityClass>();
    for (name, value) in [("low", 1), ("high", 10)] {
        create(&classes, json!({"metadata": {"name": name}, "value": value})).await;
    }
    let mut rate = 0.0;
    for step in &row.steps {
        match step {
            Step::Nodes(nodes) => own.nodes(nodes).await,
            Step::Namespaces(prefix, count) => own.namespaces(prefix, *count).await,
            Step::Service(namespace) => {
                let spec = json!({"selector": {"app": "scheduler-perf"}, "ports": [{"port": 80}]});
                let services = own.within::<Service>(namespace);
                create(&services, json!({"metadata": {"name": "service"}, "spec": spec})).await;
            }
            Step::Churn { template, every, again } => own.churn(template, *every, *again),
            Step::Delete(namespace, per_second) => own.delete(namespace, *per_second).await,
            Step::Pods(pods) => {
                let (made, took) = own.pods(pods).await;
                if pods.measured {
                    let count = own.scaled(pods.count);
                    rate = count as f64 / took.as_secs_f64();
                    println!(
                        "{:<72} {:>6} nodes {count:>6} pods made in {made:>8.2?} placed in {took:>8.2?} {rate:>7.0}/s",
                        row.name, own.nodes
                    );
                }
            }
        }
    }
    rate
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let measured = std::env::args().any(|own| own == "--bench");
    let scale = std::env::var("SCALE").ok().and_then(|own| own.parse().ok());
    // `cargo test --benches` only wants to know that it runs.
    let scale = scale.unwrap_or(if measured { 1 } else { 1000 });
    let only = std::env::var("ROW").unwrap_or_default();
    let mut slowest = f64::MAX;
    for row in rows().iter().filter(|row| row.name.contains(&only)) {
        let cluster =
            TestCluster::builder().controllers_named("serviceaccount-controller").start().await;
        let cluster = cluster.unwrap();
        let client = cluster.client();
        let scheduler = Scheduler::builder(cluster.client()).seed(Seed::new(1)).build().unwrap();
        let mut rate = 0.0;
        ControlPlane::new()
            .with(scheduler)
            .run_until(async { rate = run(client, row, scale).await })
            .await
            .unwrap();
        slowest = slowest.min(rate);
        cluster.stop().await.unwrap();
    }
    println!("slowest: {slowest:.0}/s");
}
