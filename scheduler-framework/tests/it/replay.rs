//! Scenarios as the scheduler's own types.

use crate::{
    reference::World,
    scenario::{Scenario, Volumes, bind},
};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use kubeplane_clock::Seed;
use kubeplane_scheduler_framework::{
    Bind, BindVerdict, ClusterObjects, CycleState, Framework, NodeInfo, PodInfo, Profile,
    SchedulerPlugin, Snapshot,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Binds nothing.
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

/// The default profile; nothing is bound.
pub(crate) fn framework(seed: u64) -> Framework {
    let profile = Profile::default().add(Nowhere, 1).percentage_of_nodes(100);
    Framework::new(profile, kubeplane_clock::real(), Seed::new(seed)).unwrap()
}

/// A pod as the API server would have completed it.
pub(crate) fn completed(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let priority = match pod["spec"]["priorityClassName"].as_str() {
        Some("middle") => 100,
        Some("high") => 1000,
        _ => 0,
    };
    pod["spec"]["priority"] = json!(priority);
    pod["metadata"]["uid"] = pod["metadata"]["name"].clone();
    // Each starts a second after the one before, so that preemption knows whom to prefer.
    let number: u64 =
        pod["metadata"]["name"].as_str().and_then(|name| name[1..].parse().ok()).unwrap();
    let (hours, minutes, seconds) = (number / 3600, number / 60 % 60, number % 60);
    pod["status"]["startTime"] = json!(format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}Z"));
    for kind in ["podAffinity", "podAntiAffinity"] {
        let own = pod["metadata"]["labels"].clone();
        // Reading must not make what is not there.
        let Some(affinity) = pod.pointer_mut(&format!("/spec/affinity/{kind}")) else { continue };
        for (_, terms) in affinity.as_object_mut().into_iter().flatten() {
            for term in terms.as_array_mut().into_iter().flatten() {
                let term = match term.get_mut("podAffinityTerm") {
                    Some(_) => &mut term["podAffinityTerm"],
                    None => term,
                };
                complete_term(term, &own);
            }
        }
    }
    pod
}

fn own_labels(labels: &Value) -> BTreeMap<String, String> {
    let all = labels.as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The API server turns `matchLabelKeys` into requirements of the selector.
fn complete_term(term: &mut Value, labels: &Value) {
    let labels = own_labels(labels);
    merge(term, "matchLabelKeys", "In", &labels);
    merge(term, "mismatchLabelKeys", "NotIn", &labels);
}

fn merge(term: &mut Value, field: &str, operator: &str, labels: &BTreeMap<String, String>) {
    let keys: Vec<_> = term[field].as_array().into_iter().flatten().cloned().collect();
    for key in keys.iter().filter_map(Value::as_str) {
        if let Some(value) = labels.get(key) {
            let requirement = json!({"key": key, "operator": operator, "values": [value]});
            match term["labelSelector"]["matchExpressions"].as_array_mut() {
                Some(all) => all.push(requirement),
                None => term["labelSelector"]["matchExpressions"] = json!([requirement]),
            }
        }
    }
}

/// The scheduler's picture of the world of the reference.
#[derive(Debug)]
pub(crate) struct Picture {
    nodes: Vec<Arc<NodeInfo>>,
    namespaces: Vec<Arc<Namespace>>,
    volumes: Volumes,
    objects: Arc<ClusterObjects>,
}

fn typed<K: serde::de::DeserializeOwned>(values: &[Value]) -> Vec<Arc<K>> {
    values.iter().map(|own| Arc::new(serde_json::from_value(own.clone()).unwrap())).collect()
}

pub(crate) fn info(pod: &Value) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod.clone()).unwrap())))
}

impl Picture {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let node = |own: &Value| {
            Arc::new(NodeInfo::new(Arc::new(serde_json::from_value(own.clone()).unwrap())))
        };
        let mut volumes = scenario.volumes.clone();
        for claim in &mut volumes.claims {
            let (namespace, name) = (&claim["metadata"]["namespace"], &claim["metadata"]["name"]);
            claim["metadata"]["uid"] = json!(format!("{namespace}/{name}"));
        }
        let mut picture = Self {
            nodes: scenario.nodes.iter().map(node).collect(),
            namespaces: typed(&scenario.namespaces),
            volumes,
            objects: Arc::default(),
        };
        picture.look();
        picture
    }

    fn look(&mut self) {
        let own = &self.volumes;
        self.objects = Arc::new(ClusterObjects {
            namespaces: Arc::new(self.namespaces.clone()),
            classes: Arc::new(typed(&own.classes)),
            csi_drivers: Arc::new(typed(&own.drivers)),
            csi_nodes: Arc::new(typed(&own.csi_nodes)),
            volumes: Arc::new(typed(&own.volumes)),
            claims: Arc::new(typed(&own.claims)),
            ..ClusterObjects::default()
        });
    }

    /// The claim `namespace/name` got a volume.
    pub(crate) fn bind(&mut self, claim: &str, volume: &str) {
        let (namespace, name) = claim.split_once('/').unwrap();
        let claim = self.volumes.claims.iter_mut().find(|own| {
            own["metadata"]["name"] == name && own["metadata"]["namespace"] == namespace
        });
        let volume = self.volumes.volumes.iter_mut().find(|own| own["metadata"]["name"] == volume);
        bind(claim.unwrap(), volume.unwrap());
        self.look();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.nodes.clone()).with_objects(self.objects.clone())
    }

    pub(crate) fn place(&mut self, node: usize, pod: Arc<PodInfo>) {
        Arc::make_mut(&mut self.nodes[node]).add_pod(pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        for node in &mut self.nodes {
            if node.pods().iter().any(|pod| pod.uid() == uid) {
                Arc::make_mut(node).remove_pod(uid);
            }
        }
    }
}

/// The world of the reference at the start.
pub(crate) fn world(scenario: &Scenario) -> World {
    World {
        namespaces: scenario.namespaces.clone(),
        nodes: scenario.nodes.clone(),
        placed: Vec::new(),
    }
}
