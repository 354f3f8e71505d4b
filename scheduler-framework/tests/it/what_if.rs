//! What if pods came or went: asked of a snapshot, from outside of a scheduler.

use crate::replay::{framework, info};
use kubeplane_scheduler_framework::{CycleState, NodeInfo, PodInfo, Snapshot, WhatIf};
use serde_json::{Value, json};
use std::sync::Arc;

fn pod(name: &str, app: &str, spec: &Value) -> Arc<PodInfo> {
    let mut spec = spec.clone();
    spec["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "1"}}}]);
    info(&json!({"metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": app}},
        "spec": spec}))
}

fn node(name: &str, pods: &[&Arc<PodInfo>]) -> Arc<NodeInfo> {
    let resources = json!({"cpu": "4", "memory": "8Gi", "pods": "10"});
    let value = json!({"metadata": {"name": name, "labels": {"zone": name}},
        "status": {"allocatable": resources, "capacity": resources}});
    let mut own = NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap()));
    pods.iter().for_each(|pod| own.add_pod((*pod).clone()));
    Arc::new(own)
}

/// Wants none of the pods `a` in its zone, and no more pods like itself in one zone than in another.
fn shy() -> Arc<PodInfo> {
    let of = |app: &str| json!({"matchLabels": {"app": app}});
    let apart = json!([{"topologyKey": "zone", "labelSelector": of("a")}]);
    let spread = json!([{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": of("shy")}]);
    let apart = json!({"requiredDuringSchedulingIgnoredDuringExecution": apart});
    pod(
        "shy",
        "shy",
        &json!({"affinity": {"podAntiAffinity": apart}, "topologySpreadConstraints": spread}),
    )
}

/// On which nodes the pod fits as they are.
fn fitting(what_if: &mut WhatIf<'_>) -> String {
    let nodes = what_if.nodes().nodes().iter();
    let fit = nodes.filter(|node| what_if.fits(node).unwrap().is_none()).map(|node| node.name());
    fit.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_was_only_thought_of_leaves_no_trace() {
    let (a, other) = (pod("a", "a", &json!({})), pod("b", "b", &json!({})));
    let nodes = Snapshot::new(vec![node("x", &[&a, &other]), node("y", &[]), node("z", &[])]);
    let (framework, own) = (framework(1), shy());
    let mut state = CycleState::of(nodes.clone());
    framework.what_if(&mut state, &own, &nodes, |what_if| {
        assert_eq!(fitting(what_if), "y z");
        let mut trial = what_if.on(&nodes.nodes()[0]);
        assert!(trial.fits().unwrap().is_some());
        assert!(trial.remove(&a));
        assert!(!trial.remove(&a), "it is not there any more");
        assert_eq!(trial.fits(), Ok(None), "the other is not in the way");
        trial.add(&a);
        assert!(trial.fits().unwrap().is_some(), "it is back");
        trial.remove(&a);
        assert_eq!(trial.node().pods().len(), 1);
        drop(trial);
        assert_eq!(fitting(what_if), "y z", "the pod is still there");

        let mut trial = what_if.on(&nodes.nodes()[1]);
        let twin = pod("twin", "shy", &json!({}));
        trial.add(&twin);
        let refusal = trial.fits().unwrap().unwrap();
        assert_eq!(refusal.plugin, "PodTopologySpread");
        trial.add(&a);
        trial.remove(&twin);
        assert_eq!(trial.fits().unwrap().unwrap().plugin, "InterPodAffinity");
        drop(trial);
        assert_eq!(fitting(what_if), "y z");
    });
    assert_eq!(nodes.nodes().iter().map(|node| node.pods().len()).sum::<usize>(), 2);
}
