//! The scenarios of the original's unit tests of single plugins, with what it answers and scores.

mod affinities;
mod amounts;
mod attach_limits;
mod company;
mod devices;
mod domains;
mod estimates;
mod fit_hints;
mod hints;
mod keeping_out;
mod limits_together;
mod neighbour_hints;
mod neighbours;
mod nodes;
mod room;
mod spreading;
mod spreading_hints;
mod volume_hints;
mod volumes;

use super::fixtures::{filter, pod, scores};
use crate::{FilterVerdict, NodeInfo, PodInfo, SchedulerPlugin, Snapshot};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// Objects of a kind, to be found by their names.
fn all<K: DeserializeOwned>(values: Vec<Value>) -> Arc<Vec<Arc<K>>> {
    let read = |own: Value| Arc::new(serde_json::from_value(own).unwrap());
    Arc::new(values.into_iter().map(read).collect())
}

/// A node as it is given, but for its name.
fn node(value: &Value, pods: &[Arc<PodInfo>]) -> Arc<NodeInfo> {
    let mut value = value.clone();
    value["metadata"]["name"] = json!("n");
    let mut info = NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap()));
    pods.iter().for_each(|own| info.add_pod(own.clone()));
    Arc::new(info)
}

fn offering(allocatable: &Value, pods: &[Arc<PodInfo>]) -> Arc<NodeInfo> {
    node(&json!({"status": {"allocatable": allocatable}}), pods)
}

/// With a container for each of these requests.
fn asking(name: &str, requests: &[Value]) -> Arc<PodInfo> {
    let container = |own: &Value| json!({"name": "c", "resources": {"requests": own}});
    let containers: Vec<_> = requests.iter().map(container).collect();
    pod(name, "", json!({"containers": containers}))
}

/// What a plugin says of one node: `ok`, or why not, after `full` where other pods leaving could help, else `never`.
fn said(plugin: &dyn SchedulerPlugin, pod: &PodInfo, node: &Arc<NodeInfo>) -> String {
    told(filter(plugin, pod, &Snapshot::new(vec![node.clone()])).remove(0))
}

fn told(verdict: FilterVerdict) -> String {
    match verdict {
        FilterVerdict::Fits => "ok".to_owned(),
        FilterVerdict::Unschedulable(reasons) => format!("full: {}", reasons.join(", ")),
        FilterVerdict::Unresolvable(reasons) => format!("never: {}", reasons.join(", ")),
        FilterVerdict::Error(why) => format!("error: {why}"),
    }
}

/// The normalized scores of nodes; `None` when the plugin has no opinion.
fn scored(
    plugin: &dyn SchedulerPlugin,
    pod: &PodInfo,
    nodes: &[Arc<NodeInfo>],
) -> Option<Vec<i64>> {
    scores(plugin, pod, &Snapshot::new(nodes.to_vec()), nodes)
}
