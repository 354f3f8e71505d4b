//! The original's scheduler_perf rows (test/integration/scheduler_perf) through the real API in one process: nodes and pods
//! are created, the scheduler binds, and what counts is how many pods a second get their node, from the first request
//! that makes one to the last binding.
//! `cargo bench -p kubeplane --bench scheduler_perf`; `ROW=Preemption` runs those whose name has it, `SCALE=10` with a
//! tenth of all nodes and pods. As in the original, nodes are ready without anybody saying so: the admission steps
//! TaintNodesByCondition and ServiceAccount are off. Each line has the aim behind it; a row whose pods do not all get a
//! node within some minutes is told and left, and the run fails in the end.
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
use kubeplane::{
    ControlPlane, api::ApiOptions, clock::Seed, handlers::admission::AdmissionPlugins,
    scheduler::Scheduler, testing::TestCluster,
};
use objects::Template;
use rows::{Churn, Nodes, Pods, Row, Step, rows};
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How many requests of the load are on their way at once.
const AT_ONCE: usize = 64;
/// How long pods may take to get their nodes before a row is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// No row is to be slower, in pods a second.
const FLOOR: f64 = 1000.0;

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
    let object = of(value);
    for _ in 0..4 {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => return,
            // The try before was answered too late.
            Err(kube::Error::Api(status)) if status.code == 409 => return,
            // What it needs was made a moment ago.
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
    api.create(&PostParams::default(), &object).await.unwrap();
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
    /// Never too many for the nodes, of which there are at least as many as it takes.
    fn scaled(&self, count: usize) -> usize {
        (count / self.scale).max(1)
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
        let count = if own.only.is_some() { 1 } else { own.count.div_ceil(self.scale) };
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

    /// As many pods in each of the namespaces, or in the first few when there are fewer pods; says how many have no
    /// node.
    async fn everywhere(
        &mut self,
        prefix: &str,
        namespaces: usize,
        each: usize,
        of: &Template,
    ) -> usize {
        let all = self.scaled(namespaces * each);
        for index in 0..namespaces {
            let count = all / namespaces + usize::from(index < all % namespaces);
            let own = rows::pods(&format!("{prefix}-{index}"), 0, of.clone());
            self.make(&own, count).await;
        }
        let mut left = 0;
        for index in 0..namespaces {
            left += placed(&self.within(&format!("{prefix}-{index}"))).await;
        }
        left
    }

    /// Creates pods and waits until they have their nodes; says how long that took, and how many have none.
    async fn pods(&mut self, own: &Pods) -> (Duration, Duration, usize) {
        let count = self.scaled(own.count);
        let began = self.make(own, count).await;
        let made = began.elapsed();
        let left = match own.waits {
            true => placed(&self.within(&own.namespace)).await,
            false => 0,
        };
        (made, began.elapsed(), left)
    }

    /// Creates so many pods, and says when the first was.
    async fn make(&mut self, own: &Pods, count: usize) -> Instant {
        let first = self.pods;
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
        began
    }

    fn churn(&mut self, own: &Churn) {
        let (pods, own) = (self.within::<Pod>("sched-0"), own.clone());
        let (nodes, services) = (self.all::<Node>(), self.within::<Service>("sched-0"));
        self.beside.spawn(async move {
            for number in 0.. {
                let name = format!("churn-{number}");
                create(&pods, pod(&name, &own.template)).await;
                if own.again {
                    create(&nodes, objects::node(&name, None, &json!({}))).await;
                    let spec = json!({"selector": {"app": "foo"}, "ports": [{"port": 8080}]});
                    create(&services, json!({"metadata": {"name": name}, "spec": spec})).await;
                }
                tokio::time::sleep(own.every).await;
                if own.again {
                    let parameters = DeleteParams::default();
                    // Whoever took it away before did the same.
                    let _ = pods.delete(&name, &parameters).await;
                    let _ = nodes.delete(&name, &parameters).await;
                    let _ = services.delete(&name, &parameters).await;
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
                let _ = pods.delete(&name, &DeleteParams::default()).await;
                tokio::time::sleep(pause).await;
            }
        });
    }
}

/// Waits until no pod is without a node; says how many are so when all patience is at its end.
async fn placed(pods: &Api<Pod>) -> usize {
    let waiting = ListParams::default().fields("spec.nodeName=");
    let all = async {
        let first = waiting.clone().limit(1);
        while !pods.list_metadata(&first).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, all).await {
        Ok(()) => 0,
        Err(_) => pods.list_metadata(&waiting).await.unwrap().items.len(),
    }
}

/// How many pods a second got their node; `None` when not all did.
async fn run(client: Client, row: &Row, scale: usize) -> Option<f64> {
    let mut own = Run { client, scale, beside: JoinSet::new(), nodes: 0, pods: 0 };
    let classes = own.all::<PriorityClass>();
    for (name, value) in [("low", 1), ("high", 10)] {
        create(&classes, json!({"metadata": {"name": name}, "value": value})).await;
    }
    let mut rate = None;
    for step in &row.steps {
        match step {
            Step::Nodes(nodes) => own.nodes(nodes).await,
            Step::Namespaces(prefix, count) => own.namespaces(prefix, *count).await,
            Step::Service(namespace) => {
                let spec = json!({"selector": {"app": "scheduler-perf"}, "ports": [{"port": 80}]});
                let services = own.within::<Service>(namespace);
                create(&services, json!({"metadata": {"name": "service"}, "spec": spec})).await;
            }
            Step::Everywhere { prefix, namespaces, each, template } => {
                let left = own.everywhere(prefix, *namespaces, *each, template).await;
                if left > 0 {
                    println!("{:<72} {left} pods have no node", row.name);
                    return None;
                }
            }
            Step::Churn(churn) => own.churn(churn),
            Step::Delete(namespace, per_second) => own.delete(namespace, *per_second).await,
            Step::Pods(pods) => {
                let (made, took, left) = own.pods(pods).await;
                if left > 0 {
                    println!("{:<72} {left} pods have no node after {took:.0?}", row.name);
                    return None;
                }
                if pods.measured {
                    let count = own.scaled(pods.count);
                    let measured = count as f64 / took.as_secs_f64();
                    rate = Some(measured);
                    println!(
                        "{:<72} {:>6} nodes {count:>6} pods made in {made:>8.2?} placed in {took:>8.2?} {measured:>7.0}/s   aim {}",
                        row.name,
                        own.nodes,
                        aim(&row.name)
                    );
                }
            }
        }
    }
    rate
}

/// What is wanted of a row, on the machine where the original has run it too.
fn aim(row: &str) -> String {
    let hard = ["Affinity", "Spreading", "Preemption"];
    let times = match row {
        row if row.starts_with("SchedulingBasic") => Some(10),
        row if hard.iter().any(|kind| row.contains(kind)) => Some(30),
        _ => None,
    };
    let times = times.map(|times| format!(" and {times} times the original's"));
    format!("{FLOOR}/s{}", times.unwrap_or_default())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let measured = std::env::args().any(|own| own == "--bench");
    let scale = std::env::var("SCALE").ok().and_then(|own| own.parse().ok());
    // `cargo test --benches` only wants to know that it runs.
    let scale = scale.unwrap_or(if measured { 1 } else { 1000 });
    let only = std::env::var("ROW").unwrap_or_default();
    let mut rates = Vec::new();
    for row in rows().iter().filter(|row| row.name.contains(&only)) {
        let off = ["ServiceAccount", "TaintNodesByCondition"];
        let admission = AdmissionPlugins::new().switch(&[], &off).unwrap();
        let options = ApiOptions { admission, ..ApiOptions::default() };
        let cluster = TestCluster::builder().options(options).start().await.unwrap();
        let client = cluster.client();
        let scheduler = Scheduler::builder(cluster.client()).seed(Seed::new(1)).build().unwrap();
        let mut rate = None;
        ControlPlane::new()
            .with(scheduler)
            .run_until(async { rate = run(client, row, scale).await })
            .await
            .unwrap();
        rates.push(rate);
        cluster.stop().await.unwrap();
    }
    let slowest = rates.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let given_up = rates.iter().filter(|rate| rate.is_none()).count();
    println!("{} rows, slowest {slowest:.0}/s, aim {FLOOR}/s; {given_up} given up", rates.len());
    if given_up > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
