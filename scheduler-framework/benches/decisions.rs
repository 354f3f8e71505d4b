//! The engine alone: pods of one class, one after the other, on many nodes, with all default plugins and every node
//! scored. `cargo bench -p kubeplane-scheduler-framework --bench decisions [-- NODES PODS]` (5,000 and 50,000).
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "prints its findings")]

use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use kubeplane_clock::Seed;
use kubeplane_scheduler_framework::{
    Bind, BindVerdict, Cache, ClusterObjects, CycleState, Failure, Framework, Nomination, PodInfo,
    Profile, SchedulerPlugin, Score,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{sync::Arc, time::Instant};

/// Binds nothing: decisions are what is measured.
#[derive(Debug)]
struct Nowhere;

impl SchedulerPlugin for Nowhere {
    fn name(&self) -> &'static str {
        "Nowhere"
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

#[async_trait]
impl Bind for Nowhere {
    async fn bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> BindVerdict {
        BindVerdict::Skip
    }
}

/// A plugin of a user that cannot be followed: every node is asked for every pod.
#[derive(Debug)]
struct Opaque;

impl SchedulerPlugin for Opaque {
    fn name(&self) -> &'static str {
        "Opaque"
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Score for Opaque {
    fn score(
        &self,
        _: &CycleState,
        _: &PodInfo,
        _: &kubeplane_scheduler_framework::NodeInfo,
    ) -> i64 {
        1
    }
}

fn node(index: usize) -> Arc<Node> {
    let name = format!("node-{index}");
    let resources = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    let value = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": format!("zone-{}", index % 10)}},
        "status": {"allocatable": resources, "capacity": resources},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn pods(count: usize, labels: &Value, spec: &Value) -> Vec<Arc<PodInfo>> {
    let mut spec = spec.clone();
    spec["containers"] = json!([{"name": "pause", "image": "registry.k8s.io/pause:3.10.1",
        "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}}}]);
    let pod = json!({"metadata": {"namespace": "bench", "labels": labels}, "spec": spec});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let named = |index: usize| {
        let mut pod = pod.clone();
        pod.metadata.name = Some(format!("pod-{index}"));
        pod.metadata.uid = Some(format!("uid-{index}"));
        Arc::new(PodInfo::new(Arc::new(pod)))
    };
    (0..count).map(named).collect()
}

async fn run(name: &str, profile: Profile, nodes: usize, pods: Vec<Arc<PodInfo>>) {
    run_with(name, profile, nodes, pods, ClusterObjects::default()).await;
}

async fn run_with(
    name: &str,
    profile: Profile,
    nodes: usize,
    pods: Vec<Arc<PodInfo>>,
    objects: ClusterObjects,
) {
    let profile = profile.add(Nowhere, 1).percentage_of_nodes(100);
    let framework = Framework::new(profile, kubeplane_clock::real(), Seed::new(1)).unwrap();
    let mut cache = Cache::with_objects(Arc::new(objects));
    (0..nodes).for_each(|index| cache.set_node(node(index)));
    let (mut followed, mut placed) = (0, 0);
    let began = Instant::now();
    for pod in pods {
        let snapshot = cache.snapshot();
        let Ok(placement) = framework.schedule(&pod, &snapshot).await else { break };
        drop(snapshot);
        followed += usize::from(placement.followed);
        placed += 1;
        cache.assume(&placement.node, pod);
    }
    let took = began.elapsed();
    let rate = f64::from(placed) / took.as_secs_f64();
    println!(
        "{name:<28} {nodes:>7} nodes {placed:>7} pods {followed:>7} followed {took:>10.2?} {rate:>9.0}/s"
    );
}

/// Pods alike with a claim for a device each, of which every node has ten: devices are looked for on the best nodes only.
async fn claim(nodes: usize, count: usize) {
    let class = json!({"metadata": {"name": "gpu"},
        "spec": {"selectors": [{"cel": {"expression": "device.driver == 'bench'"}}]}});
    let slice = |index: usize| {
        let name = format!("node-{index}");
        let devices: Vec<_> = (0..10).map(|own| json!({"name": format!("d{own}")})).collect();
        read::<ResourceSlice>(
            json!({"metadata": {"name": name}, "spec": {"driver": "bench", "nodeName": name,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}, "devices": devices}}),
        )
    };
    let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu",
        "allocationMode": "ExactCount", "count": 1}});
    let claim = |index: usize| {
        read::<ResourceClaim>(
            json!({"metadata": {"namespace": "bench", "name": format!("claim-{index}"),
                "uid": format!("claim-{index}"), "ownerReferences": [{"apiVersion": "v1", "kind": "Pod",
                    "name": format!("pod-{index}"), "uid": format!("uid-{index}"), "controller": true}]},
            "spec": {"devices": {"requests": [request]}}}),
        )
    };
    let objects = ClusterObjects {
        device_classes: Arc::new(vec![read::<DeviceClass>(class)]),
        resource_slices: Arc::new((0..nodes).map(slice).collect::<Vec<_>>()),
        resource_claims: Arc::new((0..count).map(claim).collect::<Vec<_>>()),
        ..ClusterObjects::default()
    };
    let spec = json!({"resourceClaims": [{"name": "c", "resourceClaimTemplateName": "t"}]});
    let named = |(index, own): (usize, Arc<PodInfo>)| {
        let mut pod = Pod::clone(own.pod());
        let status = json!({"resourceClaimStatuses": [
            {"name": "c", "resourceClaimName": format!("claim-{index}")}]});
        pod.status = serde_json::from_value(status).unwrap();
        Arc::new(PodInfo::new(Arc::new(pod)))
    };
    let all = pods(count, &json!({"app": "bench"}), &spec).into_iter().enumerate();
    run_with("claims", Profile::default(), nodes, all.map(named).collect(), objects).await;
}

fn read<T: DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// Nodes full of pods that others push away: each decision finds victims, which leave at once.
async fn preempt(nodes: usize) {
    let profile = Profile::default().add(Nowhere, 1).percentage_of_nodes(100);
    let framework = Framework::new(profile, kubeplane_clock::real(), Seed::new(1)).unwrap();
    let mut cache = Cache::default();
    (0..nodes).for_each(|index| cache.set_node(node(index)));
    let of = |name: String, priority: i32, cpu: &str| {
        let pod = json!({"metadata": {"namespace": "bench", "name": name, "uid": name},
            "spec": {"priority": priority, "containers": [{"name": "pause",
                "resources": {"requests": {"cpu": cpu, "memory": "500Mi"}}}]}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    };
    for index in 0..4 * nodes {
        let name = format!("node-{}", index / 4);
        cache.set_pod(&name, of(format!("low-{index}"), 0, "900m"));
    }
    let (mut placed, began) = (0, Instant::now());
    for index in 0..nodes {
        let pod = of(format!("high-{index}"), 10, "3");
        let snapshot = cache.snapshot();
        let outcome = framework.schedule(&pod, &snapshot).await;
        drop(snapshot);
        let Err(Failure::Unschedulable(diagnosis)) = outcome else { break };
        let Nomination::Node(node) = diagnosis.nomination else { break };
        let number: usize = node["node-".len()..].parse().unwrap();
        (4 * number..4 * number + 4).for_each(|low| cache.remove_pod(&format!("low-{low}")));
        cache.assume(&node, pod);
        placed += 1;
    }
    let rate = f64::from(placed) / began.elapsed().as_secs_f64();
    println!("{:<28} {nodes:>7} nodes {placed:>7} pods {rate:>9.0}/s", "preemption");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|own| own.parse().ok()).collect();
    let (nodes, count) = match numbers[..] {
        [nodes, count, ..] => (nodes, count),
        _ if std::env::args().any(|own| own == "--bench") => (5_000, 50_000),
        // `cargo test --benches` only wants to know that it runs.
        _ => (60, 300),
    };
    let labels = json!({"app": "bench"});
    let selector = json!({"matchLabels": labels});
    let term = |key: &str| json!({"labelSelector": selector, "topologyKey": key});
    let spread = |key: &str, action: &str| {
        json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": key, "whenUnsatisfiable": action,
            "labelSelector": selector}]})
    };
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let zone = "topology.kubernetes.io/zone";
    let host = "kubernetes.io/hostname";
    let kinds = [
        ("basic", json!({})),
        ("spread (zone, required)", spread(zone, "DoNotSchedule")),
        ("spread (zone, preferred)", spread(zone, "ScheduleAnyway")),
        ("spread (host, preferred)", spread(host, "ScheduleAnyway")),
        (
            "affinity (zone, required)",
            json!({"affinity": {"podAffinity": {required: [term(zone)]}}}),
        ),
        (
            "affinity (host, preferred)",
            json!({"affinity": {"podAffinity": {preferred: [{"weight": 1, "podAffinityTerm": term(host)}]}}}),
        ),
        (
            "anti-affinity (host, preferred)",
            json!({"affinity": {"podAntiAffinity": {preferred: [{"weight": 1, "podAffinityTerm": term(host)}]}}}),
        ),
    ];
    for (name, spec) in kinds {
        run(name, Profile::default(), nodes, pods(count, &labels, &spec)).await;
    }
    let spec = json!({"affinity": {"podAntiAffinity": {required: [term(host)]}}});
    run("anti-affinity (host, required)", Profile::default(), nodes, pods(nodes, &labels, &spec))
        .await;
    preempt(nodes / 5).await;
    claim(nodes, count / 50).await;
    let opaque = Profile::default().add(Opaque, 1);
    run("basic, opaque plugin", opaque, nodes, pods(count / 250, &labels, &json!({}))).await;
}
