//! Pods, nodes and questions for the tests of plugins.

use crate::{
    ClusterObjects, CycleState, FilterVerdict, NodeInfo, PodInfo, PreFilterVerdict,
    PreScoreVerdict, SchedulerPlugin, Snapshot,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Labels from `key=value` pairs.
pub(super) fn labels(pairs: &str) -> BTreeMap<String, String> {
    let pairs = pairs.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A pod in the namespace `d` whose uid is its name.
pub(super) fn pod(name: &str, own: &str, spec: Value) -> Arc<PodInfo> {
    let (namespace, name) = name.split_once('/').unwrap_or(("d", name));
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    let value = json!({"metadata": {"name": name, "namespace": namespace, "uid": name,
        "labels": labels(own)}, "spec": spec});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(value).unwrap())))
}

/// A node with labels and pods.
pub(super) fn node(name: &str, own: &str, pods: &[Arc<PodInfo>]) -> Arc<NodeInfo> {
    let value = json!({"metadata": {"name": name, "labels": labels(own)},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
    let mut info = NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap()));
    for pod in pods {
        info.add_pod(pod.clone());
    }
    Arc::new(info)
}

/// What a plugin answers for each node: `ok`, or the start of why not.
pub(super) fn filter(
    plugin: &dyn SchedulerPlugin,
    pod: &PodInfo,
    nodes: &Snapshot,
) -> Vec<FilterVerdict> {
    let mut state = CycleState::of(nodes.clone());
    let point = plugin.as_filter().unwrap();
    match plugin.as_pre_filter().map(|point| point.pre_filter(&mut state, pod, nodes)) {
        Some(PreFilterVerdict::Skip) => vec![FilterVerdict::Fits; nodes.nodes().len()],
        Some(PreFilterVerdict::Continue) | None => {
            nodes.nodes().iter().map(|node| point.filter(&state, pod, node)).collect()
        }
        Some(PreFilterVerdict::Unresolvable(why)) => {
            vec![FilterVerdict::Unresolvable(vec![why]); nodes.nodes().len()]
        }
        other => panic!("{other:?}"),
    }
}

/// On which nodes the pod fits.
pub(super) fn fitting(plugin: &dyn SchedulerPlugin, pod: &PodInfo, nodes: &Snapshot) -> String {
    let verdicts = filter(plugin, pod, nodes);
    let fit = nodes.nodes().iter().zip(verdicts).filter(|(_, own)| *own == FilterVerdict::Fits);
    fit.map(|(node, _)| node.name()).collect::<Vec<_>>().join(" ")
}

/// The normalized scores, or `None` when the plugin has no opinion.
pub(super) fn scores(
    plugin: &dyn SchedulerPlugin,
    pod: &PodInfo,
    nodes: &Snapshot,
    candidates: &[Arc<NodeInfo>],
) -> Option<Vec<i64>> {
    let mut state = CycleState::of(nodes.clone());
    let prepared = plugin.as_pre_score().map(|own| own.pre_score(&mut state, pod, candidates));
    if prepared == Some(PreScoreVerdict::Skip) {
        return None;
    }
    let point = plugin.as_score().unwrap();
    let mut scores: Vec<_> = candidates.iter().map(|node| point.score(&state, pod, node)).collect();
    point.normalize(&state, pod, &mut scores);
    Some(scores)
}

/// Objects with these namespaces.
pub(super) fn namespaces(all: &[(&str, &str)]) -> Arc<ClusterObjects> {
    let namespace = |(name, own): &(&str, &str)| {
        let value = json!({"metadata": {"name": name, "labels": labels(own)}});
        Arc::new(serde_json::from_value(value).unwrap())
    };
    let all: Vec<_> = all.iter().map(namespace).collect();
    Arc::new(ClusterObjects { namespaces: Arc::new(all), ..ClusterObjects::default() })
}
